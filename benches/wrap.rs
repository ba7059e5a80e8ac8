//! `latchkey wrap` beside HAProxy (mode tcp) and stunnel, in front of the same plain redis-server: CPU for a request, for
//! a handshake, and memory for an idle connection. Needs `haproxy`, `stunnel4`, `redis-server`, `redis-benchmark`.
//!
//! ```sh
//! cargo bench --bench wrap
//! ```
#![expect(
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench may stop and may read the clock, and its counts are small"
)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use latchkey::cli::development::{DevelopmentIdentities, development_identities};
use latchkey::client::Client;
use latchkey::tls::{ClientOptions, ClientPolicy};

const REQUESTS: u32 = 200_000;
const HANDSHAKES: u32 = 1_000;
const IDLE: usize = 1_000;

/// A process that is killed when dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// User and system time used so far, in seconds (proc(5), stat).
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("fields");
        let ticks: u32 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("ticks")).sum();
        f64::from(ticks) / 100.0
    }

    /// Resident memory, in KiB.
    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("KiB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one wrapper costs.
struct Cost {
    name: &'static str,
    request_us: f64,
    handshake_us: f64,
    idle_kib: f64,
}

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
    let certs = dir.path().join("certs");
    let identities = development_identities(&certs, now).expect("certificates");
    let redis_port = free_port();
    let mut redis = Command::new("redis-server");
    let _redis = Process::start(redis.args(["--save", "", "--port", &redis_port.to_string()]));
    wait_for(redis_port);

    let costs = [
        measure("latchkey", dir.path(), &identities, redis_port, latchkey),
        measure("haproxy", dir.path(), &identities, redis_port, haproxy),
        measure("stunnel", dir.path(), &identities, redis_port, stunnel),
    ];
    println!("{:10} {:>16} {:>18} {:>22}", "", "CPU us/request", "CPU us/handshake", "KiB/idle connection");
    for cost in &costs {
        println!("{:10} {:16.2} {:18.0} {:22.1}", cost.name, cost.request_us, cost.handshake_us, cost.idle_kib);
    }
    let [ours, others @ ..] = &costs;
    for other in others {
        println!(
            "latchkey / {}: CPU a request {:.2}, CPU a handshake {:.2}, memory a connection {:.2}",
            other.name,
            ours.request_us / other.request_us,
            ours.handshake_us / other.handshake_us,
            ours.idle_kib / other.idle_kib,
        );
    }
}

fn measure(
    name: &'static str,
    dir: &Path,
    identities: &DevelopmentIdentities,
    redis_port: u16,
    start: fn(&Path, u16, u16) -> Command,
) -> Cost {
    let port = free_port();
    let wrapper = Process::start(&mut start(dir, port, redis_port));
    wait_for(port);
    let options = ClientOptions { ca: vec![identities.ca.clone()], ..ClientOptions::default() };
    let policy = ClientPolicy::new(&options).expect("a client");

    // The first ones pay for what is set up once.
    let connect = || handshake(port, &policy);
    let warm: Vec<_> = (0..50).map(|_| connect()).collect();
    drop(warm);
    let before = wrapper.cpu();
    (0..HANDSHAKES).for_each(|_| drop(connect()));
    sleep(Duration::from_millis(200));
    let handshake_us = (wrapper.cpu() - before) * 1e6 / f64::from(HANDSHAKES);

    let before = wrapper.resident();
    let idle: Vec<_> = (0..IDLE).map(|_| connect()).collect();
    sleep(Duration::from_millis(500));
    let idle_kib = (wrapper.resident() - before) / idle.len() as f64;
    drop(idle);

    let before = wrapper.cpu();
    let mut load = Command::new("redis-benchmark");
    load.args(["-p", &port.to_string(), "--tls", "--cacert"]).arg(dir.join("certs/ca.pem"));
    load.args(["-c", "50", "-d", "32", "-t", "set,get", "-q", "-n", &(REQUESTS / 2).to_string()]);
    let done = load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("redis-benchmark");
    assert!(done.success(), "redis-benchmark against {name}");
    let request_us = (wrapper.cpu() - before) * 1e6 / f64::from(REQUESTS);
    Cost { name, request_us, handshake_us, idle_kib }
}

fn handshake(port: u16, policy: &ClientPolicy) -> Client<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    Client::handshake(stream, policy.clone(), "localhost".try_into().expect("a name")).expect("handshake")
}

fn latchkey(dir: &Path, port: u16, redis: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.current_dir(dir).args(["wrap", "--log-level", "off", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--to", &format!("127.0.0.1:{redis}")]);
    command
}

fn haproxy(dir: &Path, port: u16, redis: u16) -> Command {
    let read = |name: &str| fs::read_to_string(dir.join("certs").join(name)).expect("certificates");
    let pair = dir.join("haproxy.pem");
    fs::write(&pair, read("server.pem") + &read("server-key.pem")).expect("a file");
    let config = format!(
        "global\n maxconn 4000\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 10m\n \
         timeout server 10m\nlisten wrap\n bind 127.0.0.1:{port} ssl crt {}\n server redis 127.0.0.1:{redis}\n",
        pair.display()
    );
    fs::write(dir.join("haproxy.cfg"), config).expect("a file");
    let mut command = Command::new("haproxy");
    command.current_dir(dir).args(["-db", "-f", "haproxy.cfg"]);
    command
}

fn stunnel(dir: &Path, port: u16, redis: u16) -> Command {
    let config = format!(
        "foreground = yes\npid =\ndebug = 3\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[wrap]\n\
         accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{redis}\ncert = {0}/server.pem\nkey = {0}/server-key.pem\n",
        dir.join("certs").display()
    );
    fs::write(dir.join("stunnel.conf"), config).expect("a file");
    let mut command = Command::new("stunnel4");
    command.current_dir(dir).arg("stunnel.conf");
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

fn wait_for(port: u16) {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("nobody listens on port {port}");
}
