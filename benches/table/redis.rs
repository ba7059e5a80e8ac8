//! The same keys in Debian's `redis-server`, loaded as clients do: by pipelined `SET`s over a socket.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Report, TURN, key, rss_of, value};

/// A process that is killed with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Redis {
    process: Killed,
    stream: TcpStream,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let process = Killed(command.stdout(Stdio::null()).spawn().expect("redis-server (Debian: redis-server)"));
        let connected = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let stream = connected.expect("redis-server listens");
        stream.set_nodelay(true).expect("a socket option");
        Self { process, stream }
    }

    /// CPU time of the serving thread, in nanoseconds.
    fn cpu_time(&self) -> u64 {
        let pid = self.process.0.id();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("Linux");
        text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number")
    }

    fn turn(&mut self, requests: &[u8], replies: usize) {
        self.stream.write_all(requests).expect("it takes requests");
        let mut answers = vec![0; 5 * replies];
        self.stream.read_exact(&mut answers).expect("it answers");
        assert!(answers.chunks(5).all(|answer| answer == b"+OK\r\n"));
    }
}

/// Loads `keys` twice, each time into a new server.
pub(crate) fn load(keys: u64) {
    let mut report = Report::new("redis-server", keys);
    for life in 0..2 {
        let mut redis = Redis::start();
        let before = rss_of(redis.process.0.id());
        let mut clock = report.begin();
        let mut last = redis.cpu_time();
        for first in (0..keys).step_by(usize::try_from(TURN).expect("a small number")) {
            let numbers = first..keys.min(first + TURN);
            let mut requests = Vec::new();
            for number in numbers.clone() {
                let mut head = String::new();
                let _ = write!(head, "*3\r\n$3\r\nSET\r\n${}\r\n", key(number).len());
                requests.extend_from_slice(head.as_bytes());
                requests.extend_from_slice(&key(number));
                requests.extend_from_slice(format!("\r\n${}\r\n", value(number).len()).as_bytes());
                requests.extend_from_slice(&value(number));
                requests.extend_from_slice(b"\r\n");
            }
            redis.turn(&requests, numbers.count());
            let now = redis.cpu_time();
            clock.book("turn of 128 inserts", now - last);
            last = now;
        }
        if life == 0 {
            report.rss = rss_of(redis.process.0.id()).saturating_sub(before);
        }
    }
    report.print();
}
