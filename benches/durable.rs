//! Acknowledged writes and how long they take, beside redis-server with `appendfsync always`: both over TLS, on the same
//! disk, by the same client, in turn. And how long reads take meanwhile, and alone. Needs `redis-server`,
//! `redis-benchmark`.
//!
//! ```sh
//! cargo bench --bench durable
//! ```
#![expect(clippy::panic, clippy::disallowed_methods, reason = "a bench may stop, and drives real servers")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use latchkey::cli::development::development_identities;

const CONNECTIONS: &str = "50";

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site<'a> {
    port: String,
    certs: &'a Path,
    _process: Process,
}

/// What `redis-benchmark` tells: requests per second, and the 99th percentile in milliseconds.
#[derive(Clone, Copy)]
struct Result {
    rate: f64,
    p99: f64,
}

impl Site<'_> {
    fn benchmark(&self, test: &str, requests: u32, pipeline: &str, connections: &str) -> Command {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port, "--tls", "--cacert"]).arg(self.certs.join("ca.pem"));
        command.args(["-c", connections, "-n", &requests.to_string(), "-P", pipeline, "-t", test, "-r", "100000"]);
        command.args(["-d", "32", "--csv"]).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn run(&self, test: &str, requests: u32, pipeline: &str, connections: &str) -> Result {
        let output = self.benchmark(test, requests, pipeline, connections).output().expect("redis-benchmark");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = told.lines().last().unwrap_or_else(|| panic!("no result"));
        let field = |index: usize| {
            let field = line.split(',').nth(index).unwrap_or_else(|| panic!("no result in {line}"));
            field.trim_matches('"').parse().unwrap_or_else(|_| panic!("no number in {line}"))
        };
        Result { rate: field(1), p99: field(6) }
    }
}

fn main() {
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
    let certs = folder.path().join("certs");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    development_identities(&certs, now).expect("certificates");
    println!("{CONNECTIONS} connections, TLS, values of 32 bytes; rates in requests per second, p99 in ms");
    for pipeline in ["1", "16"] {
        let requests = if pipeline == "1" { 100_000 } else { 800_000 };
        let mut rates = Vec::new();
        for server in ["latchkey", "redis"] {
            let site = start(server, folder.path(), &certs);
            let alone = site.run("get", 50_000, "1", "5");
            // Reads while others write: the writers run for as long as the readers do.
            let mut writers = site.benchmark("set", requests, pipeline, CONNECTIONS).spawn().expect("redis-benchmark");
            let meanwhile = site.run("get", 20_000, "1", "5");
            let _ = writers.wait();
            let result = site.run("set", requests, pipeline, CONNECTIONS);
            println!(
                "{server:>9}, pipeline {pipeline:>2}: {:>8.0} writes/s, p99 {:>6.2}; GET p99 {:.2} alone, {:.2} among writes",
                result.rate, result.p99, alone.p99, meanwhile.p99
            );
            rates.push(result.rate);
        }
        if let [ours, theirs] = rates[..] {
            println!("           pipeline {pipeline:>2}: {:.2} times redis-server", ours / theirs);
        }
    }
}

fn start<'a>(server: &str, folder: &Path, certs: &'a Path) -> Site<'a> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port().to_string();
    let data = folder.join(server);
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir(&data).expect("a folder");
    let mut command;
    if server == "redis" {
        command = Command::new("redis-server");
        command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file"]);
        command.arg(certs.join("server.pem")).arg("--tls-key-file").arg(certs.join("server-key.pem"));
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]).arg(&data);
    } else {
        command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.args(["serve", "--log-level", "warn", "--resp", &format!("127.0.0.1:{port}"), "--cert"]);
        command.arg(certs.join("server.pem")).arg("--key").arg(certs.join("server-key.pem")).arg("--data").arg(&data);
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
    let process = Process(child);
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Site { port, certs, _process: process }
}
