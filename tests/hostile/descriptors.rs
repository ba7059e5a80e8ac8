//! What the system gives a process runs out: descriptors, and the reader of its log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::attack::{Attack, descriptors, scale};
use crate::common::{PATIENCE, Server, certs, latchkey, run, signal, until, wait};
use crate::honest::Destination;

/// Whether a new client is answered at once.
fn is_served(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut reply = [0; 7];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"+PONG\r\n"
}

fn fill_and_leave(name: &'static str, limit: usize) {
    let attack = Attack::with_descriptors(name, limit);
    let (mut held, mut told) = (Vec::new(), 0);
    for _ in 0..limit + 100 {
        let mut stream = Attack::plain(&attack.resp);
        stream.write_all(b"PING\r\n").expect("the backlog takes it");
        held.push(stream);
    }
    for stream in &mut held {
        let mut words = Vec::new();
        let mut piece = [0; 100];
        if let Ok(count) = stream.read(&mut piece) {
            words.extend_from_slice(&piece[..count]);
        }
        told += usize::from(words.starts_with(b"-ERR max number of clients reached"));
    }
    assert!(told > 0, "nobody was told that there are too many");
    assert!(descriptors(attack.server.pid()) <= limit);
    drop(held);
    until(|| is_served(&attack.resp));
    attack.server.logged("reason=\"refused\"");
    attack.end(0);
}

#[test]
fn sixty_four_descriptors_are_filled_and_left_again() {
    fill_and_leave("64 descriptors", 64);
}

#[test]
fn two_thousand_descriptors_are_filled_and_left_again() {
    fill_and_leave("2000 descriptors", 2000);
}

#[test]
fn when_the_system_gives_no_descriptor_accepting_pauses_and_resumes() {
    let attack = Attack::without_newcomers("no descriptors", &[]);
    let pid = attack.server.pid();
    let mut first = Attack::plain(&attack.resp);
    first.write_all(b"PING\r\n").expect("send");
    first.read_exact(&mut [0; 7]).expect("an answer");
    drop(first);
    // Somebody takes away what it has not used yet, so that there is less than the server was promised at start.
    let limit = descriptors(pid) + 4;
    let status = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={limit}")])
        .status()
        .expect("prlimit (tests/install installs what the tests need)");
    assert!(status.success());
    for _ in 0..10 * scale() {
        // Each that is too many hears so at once: it is taken by the reserve descriptor, and closed.
        let crowd: Vec<_> = (0..10).map(|_| Attack::plain(&attack.resp)).collect();
        std::thread::sleep(Duration::from_millis(50));
        drop(crowd);
    }
    attack.server.logged("accepting pauses");
    until(|| is_served(&attack.resp));
    assert!(descriptors(pid) <= limit);
    attack.end(0);
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = latchkey();
    command.args(["serve", "--resp", "127.0.0.1:0", "--echo", "plain://127.0.0.1:0", "--admin"]);
    command.arg("plain://127.0.0.1:0").current_dir(dir.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("latchkey starts");
    // The pipe is there, and stays unread.
    let _errors = child.stderr.take().expect("stderr");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut address = |what: &str| {
        let line = lines.next().expect("a line").expect("text");
        line.strip_prefix(what).unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let echo = address("listening echo plain://");
    let resp = address("listening resp tls://");
    let admin = address("listening admin plain://");
    // More than the pipe and the queue hold: each end of a connection is a line.
    for _ in 0..12_000 {
        let mut stream = TcpStream::connect(&echo).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.write_all(b"x").expect("send");
        stream.read_exact(&mut [0]).expect("an echo in time");
    }
    let ca = dir.path().join("certs/ca.pem").display().to_string();
    let destination = Destination { xmlrpc: resp.clone(), resp, ca, renews: true };
    assert_eq!(Destination::ask(&mut destination.resp(), "PING", 7), b"+PONG\r\n");
    let mut counters = TcpStream::connect(&admin).expect("connect");
    counters.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("send");
    let mut told = String::new();
    counters.read_to_string(&mut told).expect("counters");
    let dropped = told.lines().find_map(|line| line.strip_prefix("latchkey_log_lines_dropped_total "));
    assert!(dropped.and_then(|count| count.parse().ok()).is_some_and(|count: u64| count > 1_000), "{told}");
    signal(child.id(), "TERM");
    assert_eq!(wait(&mut child).code(), Some(0));
}

/// A certificate with a subject of 7 KB, of no CA that is known here. (Of one above 16 KB no name is read at all.)
#[test]
fn a_name_that_a_client_has_chosen_makes_no_long_line() {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    let subject = format!("/O={}", "0".repeat(60)).repeat(100);
    let config =
        "[req]\ndistinguished_name = name\nx509_extensions = leaf\n[name]\n[leaf]\nbasicConstraints = CA:FALSE\n";
    std::fs::write(dir.path().join("leaf.cnf"), config).expect("written");
    let mut openssl = Command::new("openssl");
    let request =
        "req -x509 -config leaf.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out long.pem";
    openssl.args(request.split(' '));
    run(openssl.args(["-subj", &subject]).current_dir(dir.path()));
    let line = "--resp 127.0.0.1:0 --client-ca certs/ca.pem --max-handshake 64k --cert certs/localhost.pem \
                --key certs/localhost-key.pem";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-cert", "long.pem", "-key", "key.pem", "-connect", &server.address("resp")]);
    run(client.current_dir(server.dir.path()));
    let line = server.logged("reason=\"certificate\"");
    assert!(line.contains("O=000000000000") && line.contains("..."), "{line}");
    assert!(line.len() < 800, "{} bytes: {line}", line.len());
}
