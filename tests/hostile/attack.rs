//! A server under siege: an honest client beside the hostile ones, and an eye on what the server takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::{PATIENCE, Server, latchkey, until};
use crate::honest::{Destination, Honest};

/// What a server may take beside what its clients hold: the loop's own buffers (16 MiB of spares above all), the body
/// of the request at work and what is decoded from it, code that is paged in, and what the allocator keeps.
const ALLOWANCE: usize = 64 << 20;

/// The server and those who watch it.
pub(crate) struct Attack {
    pub(crate) server: Server,
    pub(crate) destination: Destination,
    pub(crate) resp: String,
    pub(crate) xmlrpc: String,
    name: &'static str,
    descriptors: usize,
    resident: usize,
    watch: Watch,
    honest: Honest,
}

struct Watch {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// How much longer, and with how many more, a run for more than the usual is.
pub(crate) fn scale() -> usize {
    std::env::var("HOSTILE_SCALE").map_or(1, |scale| scale.parse().expect("HOSTILE_SCALE is a number"))
}

impl Attack {
    /// Starts the server with `arguments`, and the honest client.
    pub(crate) fn begin(name: &'static str, arguments: &[&str]) -> Self {
        let mut command = latchkey();
        command.arg("serve").args(arguments);
        Self::around(name, command, true)
    }

    /// As [`begin`](Self::begin), but the honest client makes no new connections on the way.
    pub(crate) fn without_newcomers(name: &'static str, arguments: &[&str]) -> Self {
        let mut command = latchkey();
        command.arg("serve").args(arguments);
        Self::around(name, command, false)
    }

    /// Begins with a shell's `ulimit -n`, which leaves the honest client no new connections.
    pub(crate) fn with_descriptors(name: &'static str, descriptors: usize) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_latchkey"), "serve"]);
        Self::around(name, command, false)
    }

    fn around(name: &'static str, mut command: Command, renews: bool) -> Self {
        let any = "127.0.0.1:0";
        let plain = "plain://127.0.0.1:0";
        command.args(["--resp", any, "--resp", plain, "--xmlrpc", any, "--xmlrpc", plain, "--echo", plain]);
        let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 5);
        let address = |what: &str| {
            let line = server.listening().iter().find_map(|line| line.strip_prefix(&format!("listening {what}://")));
            line.expect(what).to_owned()
        };
        let destination = Destination {
            resp: address("resp tls"),
            xmlrpc: address("xmlrpc tls"),
            ca: server.certificate("ca.pem"),
            renews,
        };
        let (descriptors, resident) = (descriptors(server.pid()), server.resident());
        let watch = Watch::begin(server.pid());
        let honest = Honest::start(destination.clone());
        let (resp, xmlrpc) = (address("resp plain"), address("xmlrpc plain"));
        Self { server, destination, resp, xmlrpc, name, descriptors, resident, watch, honest }
    }

    /// A connection without TLS to a listener of the same kind.
    pub(crate) fn plain(address: &str) -> TcpStream {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        stream
    }

    /// The hostile clients are gone: the server must be as it was, and the honest client must have been served. `held` is
    /// what clients were allowed to hold. Returns the server for more to be asked of it.
    pub(crate) fn end(self, held: usize) -> Server {
        let Self { mut server, destination, name, descriptors: own, resident, watch, honest, .. } = self;
        let report = honest.stop();
        let growth = watch.end().saturating_sub(resident);
        println!("{name}: honest client: {report:?}; {} MiB of growth", growth >> 20);
        assert!(report.rounds > 0);
        until(|| descriptors(server.pid()) == own);
        let mut asks = destination.resp();
        until(|| {
            let info = info(&mut asks);
            // Its own connection, and no other, counts: of what RESP knows, and of what all clients hold.
            let memory: usize = field(&info, "mem_clients_normal");
            field(&info, "connected_clients") == 1 && memory < 32 << 10
        });
        drop(asks);
        assert!(growth < held + ALLOWANCE, "{name}: {growth} bytes of growth, {held} were for clients");
        assert_eq!(server.stop(), Some(0));
        server
    }
}

/// `INFO` of a RESP connection.
fn info(client: &mut (impl Read + Write)) -> String {
    client.write_all(b"INFO\r\n").expect("send");
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).expect("an answer in time");
        assert!(count > 0, "the server hangs up on INFO");
        text.extend_from_slice(&piece[..count]);
        let whole = String::from_utf8_lossy(&text);
        if let Some((head, body)) = whole.split_once("\r\n") {
            let length: usize = head.trim_start_matches('$').parse().expect("a bulk string");
            if body.len() >= length + 2 {
                return whole.into_owned();
            }
        }
    }
}

/// A field of `INFO`.
fn field(info: &str, name: &str) -> usize {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server lives").count()
}

impl Watch {
    fn begin(pid: u32) -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, seen) = (Arc::clone(&stop), Arc::clone(&peak));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("the server lives");
                let pages: usize = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
                seen.fetch_max(pages * 4096, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, peak, thread }
    }

    /// The most resident memory that was seen.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server lived throughout");
        self.peak.load(Ordering::Relaxed)
    }
}
