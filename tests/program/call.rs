//! `call` and `connect` against servers that are slow, that speak first, and that send what acts on a terminal.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Server, certs, fail, latchkey, python, run, wait};

/// A server of `tls_peer.py` that misbehaves in one way, with the CA's file.
fn peer(way: &str) -> (Server, String) {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    let mut command = python("tls_peer.py");
    let file = |name: &str| dir.path().join("certs").join(name).display().to_string();
    command.args([file("localhost.pem"), file("localhost-key.pem"), way.to_owned()]);
    let ca = file("ca.pem");
    (Server::spawn(command, dir, 1), ca)
}

fn call(server: &Server, way: &str, ca: &str) -> Command {
    let mut command = latchkey();
    let url = format!("https://localhost:{}", server.port(way));
    command.args(["call", &url, "get", "k", "--ca", ca]);
    command
}

#[test]
fn an_answer_has_a_deadline_of_its_own_however_it_drips() {
    for way in ["slow", "drip"] {
        let (server, ca) = peer(way);
        let begun = Instant::now();
        let told = fail(call(&server, way, &ca).args(["--timeout", "500ms"]), 1);
        assert!(told.contains("did not answer in time") && told.contains("--timeout"), "{way}: {told}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{way}");
    }
}

/// What a command says of a server whose handshake never ends, and brings a byte now and then.
fn dripped_on(arguments: impl FnOnce(u16) -> Vec<String>, patience: Duration) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut child = latchkey().args(arguments(port)).stderr(Stdio::piped()).spawn().expect("latchkey");
    let (mut socket, _) = listener.accept().expect("a client");
    // A record of a handshake that never ends.
    let mut bytes = [22, 3, 3, 64, 0, 2, 0, 63, 252].into_iter().chain(std::iter::repeat(0));
    let end = Instant::now() + patience;
    while child.try_wait().expect("wait").is_none() {
        let is_late = Instant::now() >= end;
        if is_late {
            child.kill().expect("killed");
        }
        assert!(!is_late, "it goes on for as long as bytes come");
        let _ = socket.write_all(&[bytes.next().unwrap_or(0)]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_handshake_that_drips_does_not_put_off_the_deadline() {
    let call = |port| {
        ["call", &format!("https://localhost:{port}"), "x", "--connect-timeout", "500ms"].map(str::to_owned).to_vec()
    };
    let told = dripped_on(call, Duration::from_secs(30));
    assert!(told.contains("in time"), "{told}");
}

#[test]
fn a_handshake_that_drips_does_not_hold_up_the_doctor() {
    let check = |port| ["certs", "check", &format!("localhost:{port}")].map(str::to_owned).to_vec();
    let told = dripped_on(check, Duration::from_mins(1));
    assert!(told.contains("does not answer a TLS handshake"), "{told}");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let (server, ca) = peer("control");
    let told = fail(&mut call(&server, "control", &ca), 1);
    assert!(told.contains("HTTP 500") && told.contains("\\u{1b}[2J"), "{told}");
    assert!(!told.trim_end().contains(char::is_control), "{told:?}");
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let (server, ca) = peer("greet");
    let mut child = latchkey()
        .args(["connect", &format!("localhost:{}", server.port("greet")), "--ca", &ca])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("latchkey");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a greeting");
    assert_eq!(line, "220 ready\r\n");
    child.stdin.take().expect("stdin").write_all(b"hello\n").expect("typed");
    wait(&mut child);
}

#[test]
fn results_on_a_terminal_hold_no_controls() {
    let server = Server::start(&[]);
    let url = format!("https://localhost:{}", server.port("xmlrpc"));
    let tls = ["--ca", &server.certificate("ca.pem")];
    let call = |arguments: &[&str]| run(latchkey().args(["call", &url]).args(arguments).args(tls));
    assert!(call(&["set", "k", "\u{9b}31m\u{7f}\u{202e}x"]).status.success());
    let output = call(&["get", "k"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "\"\\u009b31m\\u007f\\u202ex\"");
}

#[test]
fn a_number_that_cannot_be_exact_is_refused() {
    let told = fail(latchkey().args(["call", "https://localhost:1", "set", "k", "9223372036854775808"]), 2);
    assert!(told.contains("9223372036854775808 exceeds 64 bits"), "{told}");
}

#[test]
fn words_and_no_rust_for_what_is_written_wrongly() {
    for (line, parts) in [
        ("call HTTPS://user:pw@localhost:1 x", &["password"][..]),
        ("serve --echo :7352", &["the host is missing", "127.0.0.1:7352"]),
        ("connect user@localhost:1", &["password"]),
        ("serve --echo no-such-host.invalid:1", &["cannot be resolved"]),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let output = run(latchkey().args(line.split(' ')).current_dir(dir.path()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && parts.iter().all(|part| told.contains(part)), "{line}: {told}");
    }
}
