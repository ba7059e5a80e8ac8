//! Acknowledged writes and their latency, compared with redis-server with `appendfsync always`: both over TLS, on the
//! same disk, with the same client, in turn. And the latency of reads meanwhile, and alone. Needs `redis-server`,
//! `redis-benchmark`.
//!
//! The same without `--data` is measured too: it separates the cost of durability from that of the loop, the client and
//! the machine's cores.
//!
//! ```sh
//! cargo bench --bench durable
//! ```
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench may stop, and drives real servers"
)]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use latchkey::internals::cli::development::development_identities;
use serde_json::Value;

const WRITERS: &str = "50";
const READERS: &str = "5";
/// Rounds per server; medians are reported.
const ROUNDS: usize = 5;
/// A write rate that every server sustains easily, so that readers compete with the same work.
const STEADY: &str = "20000";

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Latchkey,
    /// The same without `--data`.
    Memory,
    Redis,
}

const SERVERS: [Server; 3] = [Server::Latchkey, Server::Memory, Server::Redis];

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Latchkey => "latchkey",
            Self::Memory => "in memory",
            Self::Redis => "redis",
        }
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct RunningServer<'a> {
    server: Server,
    port: String,
    certs: &'a Path,
    process: Process,
}

/// A client's result: requests per second, and the 99th percentile in milliseconds.
#[derive(Clone, Copy)]
struct Told {
    rate: f64,
    p99: f64,
}

impl RunningServer<'_> {
    /// A running `latchkey load`.
    fn load(&self, connections: &str, ratio: &str, words: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.args(["load", "resp", &format!("127.0.0.1:{}", self.port), "--ca"]).arg(self.certs.join("ca.pem"));
        command.args(["--connections", connections, "--ratio", ratio, "--warmup", "0s"]).args(words);
        command.args(["--allow", "client-bound", "--allow", "sent-less", "--json", "-"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("latchkey load")
    }

    fn reads(&self, words: &[&str]) -> Told {
        told(self.load(READERS, "0:1", words))
    }

    fn writes(&self, pipeline: &str, requests: &str) -> Told {
        told(self.load(WRITERS, "1:0", &["--pipeline", pipeline, "--requests", requests]))
    }

    /// Reads among writes: the writers begin before the readers, and end after them.
    fn reads_among(&self, writers: &[&str]) -> Told {
        let writing = self.load(WRITERS, "1:0", &[&["--duration", "2s"], writers].concat());
        std::thread::sleep(Duration::from_millis(400));
        let reading = self.reads(&["--duration", "1s"]);
        told(writing);
        reading
    }

    /// The rate reported by `redis-benchmark`, which uses twice as much CPU per request.
    fn redis_benchmark(&self, pipeline: &str, requests: &str) -> f64 {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port, "--tls", "--cacert"]).arg(self.certs.join("ca.pem"));
        command.args(["-c", WRITERS, "-n", requests, "-P", pipeline, "-t", "set", "-r", "100000", "-d", "32", "--csv"]);
        let output = command.stderr(Stdio::null()).output().expect("redis-benchmark");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = told.lines().last().and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok());
        rate.unwrap_or_else(|| panic!("no result in {told}"))
    }

    /// Prints the latency of reads, alone and among writes.
    fn tell_of_reads(&self, pipeline: &str) {
        let alone = self.reads(&["--duration", "1s"]).p99;
        let steady = self.reads_among(&["--pipeline", pipeline, "--rate", STEADY]).p99;
        let most = self.reads_among(&["--pipeline", pipeline]).p99;
        let name = self.server.name();
        print!("{name:>9}, pipeline {pipeline:>2}: GET p99 {alone:.2} alone, {steady:.2} among {STEADY} writes/s, ");
        println!("{most:.2} among writes at full rate");
    }

    /// CPU time of the server, in microseconds (`proc_pid_stat(5)`; ticks are hundredths of a second).
    fn cpu_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id())).expect("it runs");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<f64>().expect("a number") * 10_000.0).sum()
    }
}

fn told(load: Child) -> Told {
    let output = load.wait_with_output().expect("latchkey load");
    assert!(output.status.success(), "the load failed: {}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number in {report}"));
    Told { rate: number(&report["answered_per_s"]), p99: number(&report["latency_us"]["p99"]) / 1000.0 }
}

fn main() {
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
    let certs = folder.path().join("certs");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    development_identities(&certs, now).expect("certificates");
    println!("{WRITERS} connections write values of 32 bytes over TLS; rates in requests per second, p99 in ms");
    for (pipeline, requests) in [("1", "60000"), ("16", "500000")] {
        let all = SERVERS.map(|server| start(server, folder.path(), &certs));
        let mut writes = SERVERS.map(|_| Writes::default());
        // In turn, so that disturbances of the machine affect all of them.
        for _ in 0..ROUNDS {
            all.iter().zip(&mut writes).for_each(|(running, writes)| writes.measure(running, pipeline, requests));
        }
        let rates = writes.map(|writes| writes.tell(pipeline));
        for running in &all {
            running.tell_of_reads(pipeline);
        }
        let [(ours, by_other), (_, most), (theirs, theirs_by_other)] = rates;
        let (ratio, other, most) = (ours / theirs, by_other / theirs_by_other, most / theirs_by_other);
        println!("pipeline {pipeline}: {ratio:.2} of redis; by redis-benchmark {other:.2}, and in memory {most:.2}\n");
    }
}

/// The writes to one server, round by round.
#[derive(Default)]
struct Writes {
    name: &'static str,
    told: Vec<Told>,
    /// CPU time of the server per write, in microseconds.
    cpu_time: Vec<f64>,
    by_other: Vec<f64>,
}

impl Writes {
    fn measure(&mut self, running: &RunningServer<'_>, pipeline: &str, requests: &str) {
        self.name = running.server.name();
        let before = running.cpu_time();
        let told = running.writes(pipeline, requests);
        let count: f64 = requests.parse().expect("a number");
        self.cpu_time.push((running.cpu_time() - before) / count);
        self.told.push(told);
        self.by_other.push(running.redis_benchmark(pipeline, requests));
    }

    /// Prints it. Returns the median rate by either client.
    fn tell(self, pipeline: &str) -> (f64, f64) {
        let rate = median(self.told.iter().map(|told| told.rate));
        let p99 = median(self.told.iter().map(|told| told.p99));
        let (cpu_time, other) = (median(self.cpu_time), median(self.by_other));
        let name = self.name;
        print!(
            "{name:>9}, pipeline {pipeline:>2}: {rate:>8.0} writes/s, p99 {p99:.2}, CPU time {cpu_time:.2} us each; "
        );
        println!("by redis-benchmark {other:.0}");
        (rate, other)
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn start<'a>(server: Server, folder: &Path, certs: &'a Path) -> RunningServer<'a> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port().to_string();
    let data = folder.join(server.name());
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir(&data).expect("a folder");
    let mut command;
    if server == Server::Redis {
        command = Command::new("redis-server");
        command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file"]);
        command.arg(certs.join("server.pem")).arg("--tls-key-file").arg(certs.join("server-key.pem"));
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]).arg(&data);
    } else {
        command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.args(["serve", "--log-level", "warn", "--resp", &format!("127.0.0.1:{port}"), "--cert"]);
        command.arg(certs.join("server.pem")).arg("--key").arg(certs.join("server-key.pem"));
        if server == Server::Latchkey {
            command.arg("--data").arg(&data);
        }
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
    let process = Process(child);
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    RunningServer { server, port, certs, process }
}
