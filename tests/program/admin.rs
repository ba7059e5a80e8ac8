//! What an operator sees of a running server.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::common::{Server, certs, debian_python, fail, latchkey, run, succeed, until};

fn curl(server: &Server, identity: &str, page: &str) -> String {
    let (cert, key) = (format!("certs/{identity}.pem"), format!("certs/{identity}-key.pem"));
    let url = format!("https://{}{page}", server.address("admin"));
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "%{http_code}", "--cacert", "certs/ca.pem", "--cert", &cert, "--key", &key, &url]);
    succeed(command.current_dir(server.dir.path()))
}

/// The sample `name` as Prometheus's own client library reads it.
fn sample(server: &Server, name: &str) -> u64 {
    let url = format!("https://{}/metrics", server.address("admin"));
    let mut command = debian_python("metrics.py");
    command.args([&url, "certs/ca.pem", "certs/client.pem", "certs/client-key.pem"]);
    let samples = succeed(command.current_dir(server.dir.path()));
    let sample = samples.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    assert!(sample.is_some(), "no {name} in {samples}");
    sample.and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn prometheus_reads_what_the_server_counts() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let call = |arguments: &[&str]| {
        let mut command = latchkey();
        command.arg("call").arg(format!("https://{}", server.address("xmlrpc"))).args(arguments);
        run(command.args(["--ca", "certs/ca.pem"]).current_dir(server.dir.path()))
    };
    let before = sample(&server, "latchkey_requests_total{}");
    assert!(call(&["set", "spam", "1"]).status.success());
    assert!(call(&["get", "spam"]).status.success());
    assert!(!call(&["get", "ham"]).status.success());
    // The question that told the count before was not counted in it, nor is the one that tells it now.
    assert_eq!(sample(&server, "latchkey_requests_total{}"), before + 3 + 1);
    assert_eq!(sample(&server, "latchkey_keys{}"), 1);
    assert_eq!(sample(&server, "latchkey_key_misses_total{}"), 1);
    assert_eq!(sample(&server, "latchkey_connections_open{}"), 1, "only the one that asks");
    assert!(sample(&server, "latchkey_connections_ended_total{reason=peer_closed}") >= 3);
    assert!(sample(&server, "latchkey_tls_handshakes_total{kind=full}") >= 3);
    let expiry = sample(&server, "latchkey_certificate_expiry_timestamp_seconds{listener=2,protocol=admin}");
    assert!(expiry > sample(&server, "latchkey_start_time_seconds{}"));
}

#[test]
fn prometheus_reads_how_durable_the_keys_are() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--data", "data"]);
    let mut command = latchkey();
    command.arg("call").arg(format!("https://{}", server.address("xmlrpc"))).args(["set", "spam", "1"]);
    succeed(command.args(["--ca", "certs/ca.pem"]).current_dir(server.dir.path()));
    assert_eq!(sample(&server, "latchkey_durable_group{}"), 1, "it was acknowledged");
    for name in ["writes_refused", "unsynced_bytes", "backup_failed", "compactions_total", "compaction_failures_total"]
    {
        assert_eq!(sample(&server, &format!("latchkey_{name}{{}}")), 0, "{name}");
    }
}

#[test]
fn pages_answer_in_http() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    assert_eq!(curl(&server, "client", "/health"), "ok\n200");
    assert!(curl(&server, "client", "/").contains("/metrics"));
    assert!(curl(&server, "client", "/nowhere").ends_with("404"));
    let url = format!("https://{}/metrics", server.address("admin"));
    let mut post = Command::new("curl");
    post.args(["-s", "-i", "--cacert", "certs/ca.pem", "-d", "x", &url]).current_dir(server.dir.path());
    let answer = succeed(&mut post);
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("Allow: GET, HEAD"), "{answer}");
}

#[test]
fn rules_must_grant_the_counters_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost --san IP:127.0.0.1");
    certs(dir.path(), "client monitor");
    certs(dir.path(), "client writer");
    let rules =
        "[[rule]]\ncn = \"monitor\"\ngrant = [\"metrics\"]\n[[rule]]\ncn = \"writer\"\ngrant = [\"write\", \"read\"]\n";
    std::fs::write(dir.path().join("rules.toml"), rules).expect("rules");
    let line = "--admin 127.0.0.1:0 --resp 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem \
                --client-ca certs/ca.pem --authorize rules.toml";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    assert!(curl(&server, "writer", "/metrics").ends_with("403"));
    assert_eq!(curl(&server, "writer", "/health"), "ok\n200");
    let metrics = curl(&server, "monitor", "/metrics");
    assert!(metrics.contains("latchkey_denials_total 1\n") && metrics.ends_with("200"), "{metrics}");
}

#[test]
fn counters_are_not_shown_to_the_network_without_tls() {
    let mut command = latchkey();
    let text = fail(command.args(["serve", "--admin", "plain://0.0.0.0:0"]), 2);
    assert!(text.contains("--admin") && text.contains("--allow-plain"), "{text}");
}

/// Silent clients take every place there is; the operator is answered all the same.
fn watch_when_full(server: &Server, crowd: usize) {
    let resp = server.address("resp");
    let crowd: Vec<_> = (0..crowd).map(|_| TcpStream::connect(&resp).expect("the backlog takes it")).collect();
    until(|| sample(server, "latchkey_connections_refused_total{}") > 0);
    assert_eq!(curl(server, "client", "/health"), "ok\n200");
    drop(crowd);
}

#[test]
fn a_full_server_still_tells_how_it_is() {
    const LISTENERS: [&str; 4] = ["--resp", "plain://127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for limit in [["--max-connections", "3"], ["--max-connections-per-address", "3"], ["--max-client-memory", "1m"]] {
        let server = Server::start_in(tempfile::tempdir().expect("a folder"), &[&LISTENERS, &limit[..]].concat());
        // A megabyte is full of a thousand silent clients or so.
        watch_when_full(&server, if limit[0] == "--max-client-memory" { 2000 } else { 10 });
    }
}

#[test]
fn a_server_without_descriptors_still_tells_how_it_is() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_latchkey"), "serve"]);
    command.args(["--resp", "plain://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 2);
    watch_when_full(&server, 100);
    let said = server.logged("fd limit");
    assert!(said.contains("fd limit 64 allows 21 clients") && said.contains("ulimit -n"), "{said}");
}

#[test]
fn silent_sockets_take_no_operators_place() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--max-connections", "2", "--admin-connections", "4"]);
    let admin = server.address("admin");
    // They fill the places of clients too, where those who find no operator's place would go.
    let _clients: Vec<_> = (0..8).map(|_| TcpStream::connect(server.address("echo")).expect("connect")).collect();
    let silent: Vec<_> = (0..30).map(|_| TcpStream::connect(&admin).expect("connect")).collect();
    for _ in 0..12 {
        assert_eq!(curl(&server, "client", "/health"), "ok\n200");
    }
    assert!(sample(&server, "latchkey_admin_handshakes_displaced_total{}") >= 26);
    drop(silent);
}

#[test]
fn an_operator_behind_the_places_takes_a_clients() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--max-connections", "1", "--admin-connections", "1"]);
    let ask = |operator: &mut crate::common::tls::Tls| {
        operator.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            operator.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        String::from_utf8_lossy(&answer[..12]).into_owned()
    };
    // All knock before one of them has a place.
    let mut operators: Vec<_> = (0..2).map(|_| crate::common::tls::connect(&server, "admin")).collect();
    assert_eq!(ask(&mut operators[1]), "HTTP/1.1 200");
    let mut second = crate::common::tls::connect(&server, "admin");
    assert_eq!(ask(&mut second), "HTTP/1.1 200", "the place of a client");
    let mut third = crate::common::tls::connect(&server, "admin");
    assert_eq!(ask(&mut third), "HTTP/1.1 200", "the place of an older operator");
    let end = operators[1].read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)), "it is closed: {end:?}");
    assert_eq!(ask(&mut second), "HTTP/1.1 200", "a client's place is not taken back");
}

/// Operators that are admitted at no cost and ask nothing keep no other operator out.
#[test]
fn operators_that_stay_silent_give_way() {
    for (scheme, protocol) in [("tls", "https"), ("plain", "http")] {
        let admin = if scheme == "tls" { "127.0.0.1:0" } else { "plain://127.0.0.1:0" };
        let server = Server::start(&["--admin", admin, "--max-connections", "2", "--admin-connections", "4"]);
        let address = server.address_at("admin", scheme);
        let shake = |protocol: &str| {
            let mut tls = crate::common::tls::connect(&server, protocol);
            tls.flush().expect("a handshake");
            tls
        };
        let clients = [shake("echo"), shake("echo")];
        let (mut silent, mut silent_in_plain) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            if scheme == "tls" {
                silent.push(shake("admin"));
            } else {
                silent_in_plain.push(TcpStream::connect(&address).expect("connect"));
            }
        }
        for _ in 0..12 {
            let mut command = Command::new("curl");
            command.args(["-s", "--cacert", "certs/ca.pem", &format!("{protocol}://{address}/health")]);
            assert_eq!(succeed(command.current_dir(server.dir.path())), "ok", "{scheme}");
        }
        drop((clients, silent, silent_in_plain));
    }
}

#[test]
fn limits_on_addresses_hold_for_operators_and_are_counted_apart() {
    let limits = ["--admin", "127.0.0.1:0", "--max-handshakes-per-address", "3"];
    let server = Server::start(&limits);
    let silent: Vec<_> = (0..9).map(|_| TcpStream::connect(server.address("echo")).expect("connect")).collect();
    until(|| sample(&server, "latchkey_connections_ended_total{reason=address_limit}") == 6);
    let knocking: Vec<_> = (0..9).map(|_| TcpStream::connect(server.address("admin")).expect("connect")).collect();
    let mut refused = knocking.last().expect("nine");
    assert_eq!(refused.read(&mut [0]).expect("closed"), 0);
    drop((silent, knocking));
    until(|| sample(&server, "latchkey_connections_ended_total{reason=address_limit}") == 12);
}

#[test]
fn cas_whose_certificates_are_not_checked_for_revocation_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for line in [
        "init --name one",
        "server localhost --san IP:127.0.0.1",
        "client client",
        "revoke",
        "init --dir other --name two",
    ] {
        certs(dir.path(), line);
    }
    let line = "--echo 127.0.0.1:0 --admin 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-ca certs/ca.pem \
                --client-ca other/ca.pem --crl certs/crl.pem";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    server.logged("revocation not checked for 1 CA: CN=two; pass --crl");
    assert_eq!(sample(&server, "latchkey_revocation_unchecked{issuer=CN=two}"), 1);
    let expiry = sample(&server, "latchkey_revocation_list_expiry_timestamp_seconds{issuer=CN=one}");
    assert!(expiry > sample(&server, "latchkey_start_time_seconds{}"));
}
