//! Echo over real sockets: size, half-close, back-pressure, neighbours, drain.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{PATIENCE, Server, latchkey, python, succeed, threads};

fn plain(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.address("echo")).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

fn start_plain(arguments: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    let threads = threads();
    let threads: Vec<&str> = threads.iter().map(String::as_str).collect();
    Server::start_in(dir, &[&["--echo", "plain://127.0.0.1:0"], arguments, &threads].concat())
}

#[test]
fn fifty_megabytes_come_back_byte_for_byte() {
    let server = Server::start(&[]);
    let port = server.port("echo").to_string();
    let printed = succeed(python("echo_bulk.py").args([&port, &server.certificate("ca.pem")]));
    assert_eq!(printed, "52428800 True");
    server.logged("reason=\"peer_closed\"");
}

#[test]
fn half_close_is_honoured() {
    let server = start_plain(&[]);
    let mut socket = plain(&server);
    socket.write_all(b"all of it").expect("send");
    socket.shutdown(Shutdown::Write).expect("shutdown");
    let mut back = String::new();
    socket.read_to_string(&mut back).expect("the echo and then the end");
    assert_eq!(back, "all of it");
}

#[test]
fn connect_echoes_stdin_to_stdout() {
    let server = Server::start(&[]);
    let payload: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut connect = latchkey();
    connect.args(["connect", &server.address("echo").replace("127.0.0.1", "localhost")]);
    connect.args(["--ca", &server.certificate("ca.pem")]);
    let mut child = connect.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start");
    let (mut input, sent) = (child.stdin.take().expect("stdin"), payload.clone());
    #[expect(clippy::disallowed_methods, reason = "one writes while the other reads")]
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut back = Vec::new();
    child.stdout.take().expect("stdout").read_to_end(&mut back).expect("read");
    writer.join().expect("thread").expect("write");
    assert!(child.wait().expect("wait").success());
    assert!(back == payload, "{} of {} bytes", back.len(), payload.len());
}

#[test]
fn openssl_gets_an_echo_in_both_protocol_versions() {
    let server = Server::start(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Command::new("sh");
        openssl.arg("-c").arg(format!(
            "(echo hello; sleep 1) | openssl s_client {version} -quiet -no_ign_eof -verify_return_error -connect {} -CAfile {}",
            server.address("echo"),
            server.certificate("ca.pem"),
        ));
        assert_eq!(succeed(&mut openssl), "hello", "{version}");
    }
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_buffer_and_its_neighbour_nothing() {
    let server = start_plain(&["--write-timeout", "2s"]);
    let before = server.resident();
    let mut greedy = plain(&server);
    greedy.set_write_timeout(Some(Duration::from_millis(300))).expect("timeout");
    let mut sent = 0;
    while let Ok(count) = greedy.write(&[7; 16_384]) {
        sent += count;
        assert!(sent < 1 << 30, "the server takes bytes without end");
    }
    let growth = server.resident().saturating_sub(before);
    assert!(growth < 16 << 20, "{growth} bytes for one client that does not read");

    let mut neighbour = plain(&server);
    neighbour.write_all(b"me too").expect("send");
    let mut back = [0; 6];
    neighbour.read_exact(&mut back).expect("the echo");
    assert_eq!(&back, b"me too");
    server.logged("reason=\"stalled\"");
}

#[test]
fn silent_and_half_spoken_clients_hold_up_nobody_and_are_dropped_in_time() {
    let server = Server::start(&["--handshake-timeout", "2s"]);
    let address = server.address("echo");
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).expect("connect")).collect();
    let mut half_spoken = TcpStream::connect(&address).expect("connect");
    half_spoken.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 1, 2, 3, 4]).expect("send");
    let port = server.port("echo").to_string();
    let printed = succeed(python("recipe_echo.py").args([&port, &server.certificate("ca.pem")]));
    assert_eq!(printed, "12\nb'Hello World?'");
    server.logged("reason=\"handshake_timeout\"");
    drop(silent);
}

#[test]
fn sigterm_finishes_what_was_received_and_exits_with_zero() {
    let mut server = Server::start(&[]);
    let mut child = python("drain.py");
    child.args([&server.port("echo").to_string(), &server.certificate("ca.pem"), &server.pid().to_string()]);
    assert_eq!(succeed(&mut child), "received 2000000 then end of stream");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_client_over_the_limit_is_told_so() {
    let server = start_plain(&["--max-connections", "2"]);
    let held: Vec<_> = (0..2).map(|_| plain(&server)).collect();
    for mut socket in &held {
        socket.write_all(b"x").expect("send");
        socket.read_exact(&mut [0]).expect("served");
    }
    let mut words = String::new();
    plain(&server).read_to_string(&mut words).expect("read");
    assert!(words.contains("refused"), "{words}");
    drop(held);
    server.logged("reason=\"refused\"");
}

#[test]
fn an_idle_client_is_dropped_when_asked_for() {
    let server = start_plain(&["--idle-timeout", "1s"]);
    let mut words = Vec::new();
    plain(&server).read_to_end(&mut words).expect("a proper end");
    server.logged("reason=\"idle\"");
}

/// Whether TCP watches the server's end of this connection: the timer in proc_pid_net_tcp(5) is then that of keepalive.
fn is_watched(client: &TcpStream) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let ports = |socket: std::net::SocketAddr| format!(":{:04X}", socket.port());
    let (local, remote) =
        (ports(client.peer_addr().expect("an address")), ports(client.local_addr().expect("an address")));
    let timer = table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_it = columns.next()?.ends_with(&local) && columns.next()?.ends_with(&remote);
        is_it.then(|| columns.nth(2).map(str::to_owned))?
    });
    timer.expect("the server's end").starts_with("02:")
}

#[test]
fn tcp_watches_clients_unless_that_is_off() {
    for (flags, wanted) in [(&[][..], true), (&["--tcp-keepalive", "off"], false)] {
        let server = start_plain(flags);
        let mut socket = plain(&server);
        socket.write_all(b"x").expect("send");
        socket.read_exact(&mut [0]).expect("the echo");
        // Another timer may run for a moment: that of a byte whose receipt is not confirmed.
        crate::common::until(|| is_watched(&socket) == wanted);
    }
}
