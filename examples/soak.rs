//! The server at full load over all protocols, with mutual TLS and clients that come and go, for a given time: do its
//! memory, descriptors and latency stay constant?
//!
//! ```sh
//! cargo build --release && cargo run --release --example soak -- 30    # minutes
//! ```
//!
//! Every ten seconds it prints the server's resources and latency, at the end a verdict. It fails if resident memory
//! grows, if descriptors stay open, or if the 99th percentile of latency gets worse. Other work on the machine affects
//! the latter: leave it alone meanwhile.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program beside the loop, in real time")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Duration of one round of load; the percentile is that of a round.
const ROUND: Duration = Duration::from_secs(10);

/// How long clients live that leave without close_notify.
const VISIT: Duration = Duration::from_secs(2);

/// Samples before this share of the run are warm-up, which fills the table and the allocator's pools.
const WARM: f64 = 0.25;

/// Maximum growth of resident memory after the warm-up.
const GROWTH: f64 = 1.05;

/// Maximum growth of the load generators' memory: it does not count for the verdict, but shows whether their latencies
/// are reliable.
const CLIENT_GROWTH: f64 = 1.25;

/// Maximum growth of the 99th percentile.
const SLOWDOWN: f64 = 1.5;

/// The server's certificate is renewed every this many rounds.
const ROUNDS_PER_CERTIFICATE: usize = 6;

/// Number of keys, all of which exist soon.
const KEYS: &str = "20000";

#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: u64,
    resident: u64,
    /// Resident memory of the load generators together.
    clients: u64,
    descriptors: u64,
    requests: f64,
    p99_us: f64,
}

/// A child that is killed when it is dropped.
struct Running(Child);

impl Running {
    /// Resident memory, in bytes.
    fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.0.id()))?;
        Ok(statm.split_whitespace().nth(1).ok_or("statm")?.parse::<u64>()? * 4096)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    program: PathBuf,
    dir: PathBuf,
    server: Running,
    /// Echo, XML-RPC, RESP.
    addresses: Vec<String>,
}

impl Site {
    fn start(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut program = env::current_exe()?;
        program.pop();
        program.pop();
        program.push("latchkey");
        for args in [&["init"][..], &["server", "localhost", "--san", "IP:127.0.0.1"], &["client", "visitor"]] {
            let made = Command::new(&program).arg("certs").args(args).current_dir(dir).output();
            let made = made.map_err(|error| format!("{}: {error}: build it first", program.display()))?;
            if !made.status.success() {
                return Err(String::from_utf8_lossy(&made.stderr).into());
            }
        }
        let any = "127.0.0.1:0";
        let mut command = Command::new(&program);
        command.args(["serve", "--echo", any, "--xmlrpc", any, "--resp", any, "--log-level", "warn"]).current_dir(dir);
        command.args(["--cert", "certs/localhost.pem", "--key", "certs/localhost-key.pem"]);
        command.args(["--client-ca", "certs/ca.pem"]);
        let child = command.stdout(Stdio::piped()).stderr(fs::File::create(dir.join("server.txt"))?).spawn();
        let mut server = Running(child?);
        let output = server.0.stdout.take().ok_or("no stdout")?;
        let mut addresses = Vec::new();
        for line in BufReader::new(output).lines().take(3) {
            addresses.push(line?.rsplit_once('/').ok_or("no address")?.1.to_owned());
        }
        Ok(Self { program, dir: dir.to_owned(), server, addresses })
    }

    fn address(&self, index: usize) -> Result<&str, Box<dyn Error>> {
        Ok(self.addresses.get(index).ok_or("the server did not start")?)
    }

    /// Replaces the server's certificate; it is reloaded at run time.
    fn renew(&self) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new(&self.program);
        command.args(["certs", "server", "localhost", "--san", "IP:127.0.0.1", "--force"]).current_dir(&self.dir);
        let made = command.output()?;
        if made.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&made.stderr).into()) }
    }

    /// Starts one kind of load for `seconds`.
    fn load(&self, kind: &str, listener: usize, seconds: u64, options: &[&str]) -> Result<Running, Box<dyn Error>> {
        let mut command = Command::new(&self.program);
        command.args(["load", kind, self.address(listener)?, "--ca", "certs/ca.pem"]);
        command.args(["--cert", "certs/visitor.pem", "--key", "certs/visitor-key.pem"]);
        command.arg("--duration").arg(format!("{seconds}s")).args(options).current_dir(&self.dir);
        let errors = fs::File::options().create(true).append(true).open(self.dir.join(format!("load-{kind}.txt")))?;
        Ok(Running(command.stdout(Stdio::null()).stderr(errors).spawn()?))
    }

    fn descriptors(&self) -> Result<u64, Box<dyn Error>> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.server.0.id()))?.count() as u64)
    }

    /// One round, beside `others`: full load over RESP, with new connections each time.
    fn round(&self, begun: Instant, others: &[Running]) -> Result<Sample, Box<dyn Error>> {
        let report = self.dir.join("round.json");
        let options = ["--connections", "50", "--pipeline", "4", "--keys", KEYS, "--json", "round.json"];
        let mut load = self.load("resp", 2, ROUND.as_secs(), &options)?;
        // These are killed: their connections end without close_notify.
        let visitors = [
            self.load("echo", 0, ROUND.as_secs(), &["--connections", "20", "--rate", "200"])?,
            self.load("xmlrpc", 1, ROUND.as_secs(), &["--connections", "20", "--rate", "200", "--keys", KEYS])?,
        ];
        thread::sleep(VISIT);
        drop(visitors);
        // In the middle of the round, when all its connections are open.
        thread::sleep((ROUND / 2).saturating_sub(VISIT));
        let (resident, descriptors) = (self.server.resident()?, self.descriptors()?);
        let clients = others.iter().map(Running::resident).sum::<Result<u64, _>>()? + load.resident()?;
        load.0.wait()?;
        let said = fs::read_to_string(&report).map_err(|error| format!("a round of load left no report: {error}"))?;
        let report: serde_json::Value = serde_json::from_str(&said)?;
        let number =
            |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_f64).ok_or("no such number");
        let errors =
            report.pointer("/errors").and_then(serde_json::Value::as_object).ok_or("no errors in the report")?;
        if errors.values().any(|count| count.as_u64() != Some(0)) {
            return Err(format!("requests failed: {errors:?}").into());
        }
        let seconds = begun.elapsed().as_secs();
        Ok(Sample {
            seconds,
            resident,
            clients,
            descriptors,
            requests: number("/requests")?,
            p99_us: number("/latency_us/p99")?,
        })
    }
}

/// The median.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Prints the changes between the beginning and the end; returns whether all are within their limits.
fn judge(samples: &[Sample], descriptors_before: u64, descriptors_after: u64) -> bool {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let warm = (samples.len() as f64 * WARM) as usize;
    let steady = samples.get(warm..).unwrap_or_default();
    let (early, late) = steady.split_at(steady.len() / 2);
    let middle = |samples: &[Sample], of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
    let mut well = true;
    let mut compare = |what: &str, of: fn(&Sample) -> f64, unit: f64, factor: f64| {
        let (before, after) = (middle(early, of) / unit, middle(late, of) / unit);
        let fine = after <= before * factor;
        well &= fine;
        println!("{}: {what} {before:.1} -> {after:.1} (limit: {factor} times)", if fine { "ok" } else { "BAD" });
    };
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
    compare("resident MiB", |sample| sample.resident as f64, f64::from(1 << 20), GROWTH);
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
    compare("resident MiB of the load", |sample| sample.clients as f64, f64::from(1 << 20), CLIENT_GROWTH);
    compare("p99 us", |sample| sample.p99_us, 1.0, SLOWDOWN);
    let fine = descriptors_after <= descriptors_before;
    println!("{}: descriptors {descriptors_before} -> {descriptors_after}", if fine { "ok" } else { "BAD" });
    well && fine
}

fn soak(minutes: u64) -> Result<bool, Box<dyn Error>> {
    let dir = env::temp_dir().join(format!("latchkey-soak-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let site = Site::start(&dir)?;
    let (begun, length) = (Instant::now(), Duration::from_secs(60 * minutes));
    let descriptors = site.descriptors()?;
    println!("server {}, {minutes} minutes, files in {}", site.server.0.id(), dir.display());
    println!("{:>7} {:>9} {:>9} {:>6} {:>10} {:>9}", "seconds", "RSS MiB", "load MiB", "fds", "requests/s", "p99 us");
    // Clients that come and go all the time, with full handshakes and resumptions, and some that stay.
    let longer = length.as_secs() + 600;
    let mut churn = [
        site.load("handshake", 0, longer, &["--rate", "40", "--connections", "4", "--resume", "mix"])?,
        site.load("xmlrpc", 1, longer, &["--rate", "200", "--connections", "8", "--keys", KEYS])?,
        site.load("echo", 0, longer, &["--rate", "500", "--connections", "20"])?,
    ];
    let mut samples = Vec::new();
    while begun.elapsed() < length {
        if samples.len() % ROUNDS_PER_CERTIFICATE == ROUNDS_PER_CERTIFICATE - 1 {
            site.renew()?;
        }
        let sample = site.round(begun, &churn)?;
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
        let [mebibytes, clients] = [sample.resident, sample.clients].map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!(
            "{:>7} {mebibytes:>9.1} {clients:>9.1} {:>6} {:>10.0} {:>9.0}",
            sample.seconds,
            sample.descriptors,
            sample.requests / ROUND.as_secs_f64(),
            sample.p99_us
        );
        samples.push(sample);
        for load in &mut churn {
            if let Some(status) = load.0.try_wait()? {
                return Err(format!("a load that was to stay has ended: {status}, see {}", dir.display()).into());
            }
        }
    }
    drop(churn);
    // The last connections close.
    thread::sleep(Duration::from_secs(5));
    let well = judge(&samples, descriptors, site.descriptors()?);
    drop(site);
    fs::remove_dir_all(&dir)?;
    Ok(well)
}

fn main() -> ExitCode {
    let minutes = env::args().nth(1).map_or(Ok(30), |minutes| minutes.parse());
    match minutes.map_err(Into::into).and_then(soak) {
        Ok(true) => {
            println!("verdict: stable");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("verdict: not stable");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
