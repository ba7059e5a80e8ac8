//! `--threads`: several loops in one process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::common::{PATIENCE, Server, fail, latchkey, run, signal, succeed, until};

const CLIENTS: usize = 60;

fn dial(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

/// Sends `bytes` and expects them back.
fn exchange(socket: &mut TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).expect("send");
    let mut back = vec![0; bytes.len()];
    socket.read_exact(&mut back).expect("the echo");
    assert_eq!(back, bytes);
}

fn metric(server: &Server, name: &str) -> u64 {
    let page = succeed(Command::new("curl").args(["-sS", &format!("http://{}/metrics", server.address("admin"))]));
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().expect("a number")
}

#[test]
fn clients_of_all_threads_are_served_counted_and_drained() {
    let dir = tempfile::tempdir().expect("a folder");
    let line = "--echo plain://127.0.0.1:0 --admin plain://127.0.0.1:0 --threads 3 --max-connections 60";
    let mut server = Server::start_in(dir, &line.split(' ').collect::<Vec<_>>());
    let address = server.address("echo");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| dial(&address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, format!("client {number}").as_bytes());
    }
    let mut refused = String::new();
    dial(&address).read_to_string(&mut refused).expect("the refusal, and the end");
    assert_eq!(refused, "connection refused: refused\n", "the limit counts the clients of all threads");
    // What other loops have counted is published every tenth of a second.
    let bytes: u64 = (0..CLIENTS).map(|number| format!("client {number}").len() as u64).sum();
    until(|| metric(&server, "latchkey_received_bytes_total") >= bytes);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("threads");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.expect("a thread").path().join("comm")).unwrap_or_default()
    };
    let loops = tasks.map(name).filter(|name| name.starts_with("loop-")).count();
    assert_eq!(loops, 3);

    signal(server.pid(), "TERM");
    server.logged("stopping: no new connections");
    for client in &mut clients {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("a proper end");
        assert_eq!(rest, b"");
    }
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_session_resumes_on_any_thread() {
    let dir = tempfile::tempdir().expect("a folder");
    let line = "--echo 127.0.0.1:0 --threads 3";
    let server = Server::start_in(dir, &line.split(' ').collect::<Vec<_>>());
    let ca = server.certificate("ca.pem");
    let options = "--requests 40 --connections 4 --resume tickets --warmup 0s".split(' ');
    let report = server.dir.path().join("report.json");
    let report = report.to_str().expect("a path");
    let address = server.address("echo");
    let _ = run(latchkey().args(["load", "handshake", &address, "--ca", &ca, "--json", report]).args(options));
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(report).expect("a report")).expect("JSON");
    let made = &report["handshakes"];
    assert_eq!((&made["full"], &made["resumed"]), (&4.into(), &36.into()), "each client's first only is full");
}

#[test]
fn many_threads_start_under_a_low_soft_limit_of_descriptors() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_latchkey");
    command.args(["-c", "ulimit -Sn 128; exec \"$@\"", "sh", program, "serve", "--echo", "plain://127.0.0.1:0"]);
    command.args(["--threads", "64"]);
    let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 1);
    exchange(&mut dial(&server.address("echo")), b"served");
}

#[test]
fn a_number_of_threads_is_checked() {
    let said = fail(latchkey().args(["serve", "--resp", "127.0.0.1:0", "--threads", "2"]), 2);
    assert!(said.contains("--threads: keys are served by one thread"), "{said}");
    let said = fail(latchkey().args(["wrap", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1", "--threads", "0"]), 2);
    assert!(said.contains("must be from 1 to 512"), "{said}");
}
