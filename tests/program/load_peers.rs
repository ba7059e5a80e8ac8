//! The load harness against servers of others: Redis, nginx, and Python's XML-RPC server over TLS.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{Server, certs, free_port, latchkey, python, run};
use serde_json::Value;

/// A folder with a CA, a server's certificate and three clients'.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for what in ["init", "server localhost", "client --dir clients alice", "client --dir clients bob"] {
        if what.contains("clients") {
            fs::create_dir_all(dir.path().join("clients")).expect("a folder");
            for name in ["ca.pem", "ca-key.pem"] {
                fs::copy(dir.path().join("certs").join(name), dir.path().join("clients").join(name)).expect("copied");
            }
        }
        certs(dir.path(), what);
    }
    // What is left there is identities only.
    for name in ["ca.pem", "ca-key.pem"] {
        fs::remove_file(dir.path().join("clients").join(name)).expect("removed");
    }
    dir
}

/// Starts a server that listens at `port` when it is ready.
fn start(command: Command, dir: tempfile::TempDir, port: u16) -> Server {
    let server = Server::spawn(command, dir, 0);
    crate::common::until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

fn redis(auth_clients: &str) -> (Server, u16) {
    let (dir, port) = (folder(), free_port());
    let mut command = Command::new("redis-server");
    // Its stdout has no reader.
    command.args([
        "--logfile",
        "redis.txt",
        "--port",
        "0",
        "--save",
        "",
        "--bind",
        "127.0.0.1",
        "--tls-port",
        &port.to_string(),
    ]);
    command.args(["--tls-cert-file", "certs/localhost.pem", "--tls-key-file", "certs/localhost-key.pem"]);
    command.args(["--tls-ca-cert-file", "certs/ca.pem", "--tls-auth-clients", auth_clients]);
    (start(command, dir, port), port)
}

fn nginx(settings: &str) -> (Server, u16) {
    let (dir, port) = (folder(), free_port());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path tmp;"));
    let configuration = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{ worker_connections 200; }}
         http {{ access_log off; {}
           server {{ listen 127.0.0.1:{port} ssl; ssl_certificate certs/localhost.pem;
             ssl_certificate_key certs/localhost-key.pem; {settings} location / {{ return 200 'ok'; }} }} }}",
        temporary.join(" ")
    );
    // Paths to certificates count from the configuration's folder, others from the prefix.
    fs::write(dir.path().join("nginx.conf"), configuration).expect("written");
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(dir.path());
    (start(command, dir, port), port)
}

fn load(dir: &Path, protocol: &str, port: u16, arguments: &str) -> Output {
    let target = format!("localhost:{port}");
    // The machine may be busy with other tests, and then this client is the bottleneck: not what is tested here.
    let usual = "--ca certs/ca.pem --warmup 0s --timeout 60s --allow client-bound";
    let mut command = latchkey();
    command.args(["load", protocol, &target]).args(usual.split(' ')).args(arguments.split(' ')).current_dir(dir);
    run(&mut command)
}

/// Runs a load and reads its report.
fn report(server: &Server, protocol: &str, port: u16, arguments: &str) -> (Option<i32>, Value) {
    let output = load(server.dir.path(), protocol, port, &format!("{arguments} --json -"));
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("a report"))
}

#[test]
fn redis_over_tls_is_loaded_and_verified() {
    let (server, port) = redis("no");
    let arguments = "--requests 2000 --connections 4 --pipeline 5 --ratio 1:1 --keys 20 --distribution zipf:0.99 \
                     --value-size 10:1,2000:1";
    let (code, report) = report(&server, "resp", port, arguments);
    assert_eq!((code, &report["requests"]), (Some(0), &2000.into()), "{report}");
    assert!(report["misses"].as_u64().is_some_and(|misses| misses < 500), "{report}");
    let (code, report) = self::report(&server, "resp", port, "--requests 500 --rate 5000 --connections 4 --pq off");
    assert_eq!((code, &report["requests"], &report["asked_per_s"]), (Some(0), &500.into(), &5000.0.into()), "{report}");
}

#[test]
fn redis_with_client_certificates_accepts_each_identity() {
    let (server, port) = redis("yes");
    let (code, report) = report(&server, "resp", port, "--requests 100 --connections 4 --identities clients");
    assert_eq!((code, &report["requests"]), (Some(0), &100.into()), "{report}");

    let refused = load(server.dir.path(), "resp", port, "--requests 10 --connections 1");
    let table = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(3), "{table}");
    assert!(table.contains("does it want a client certificate (--cert, --key)"), "{table}");

    let empty = load(server.dir.path(), "resp", port, "--requests 10 --identities certs/ca.pem");
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("--identities"));
}

#[test]
fn nginx_shakes_hands_in_full_and_resumed_over_both_versions() {
    let (server, port) = nginx("ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;");
    for version in ["1.2", "1.3"] {
        let arguments = format!("--requests 40 --connections 4 --tls {version} --resume");
        let (code, full) = report(&server, "handshake", port, &format!("{arguments} full"));
        assert_eq!((code, &full["handshakes"]["full"]), (Some(0), &40.into()), "{version}: {full}");
        let (code, resumed) = report(&server, "handshake", port, &format!("{arguments} tickets"));
        let made = &resumed["handshakes"];
        assert_eq!((code, &made["full"], &made["resumed"]), (Some(0), &4.into(), &36.into()), "{version}: {resumed}");
    }
    // Every second handshake after a client's first may be full.
    let (code, mixed) = report(&server, "handshake", port, "--requests 21 --connections 1 --resume mix");
    let made = &mixed["handshakes"];
    assert_eq!((code, &made["full"], &made["resumed"]), (Some(0), &11.into(), &10.into()), "{mixed}");
}

#[test]
fn a_hello_retry_request_is_counted_with_its_group() {
    let (server, port) = nginx("ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1;");
    let (code, report) = report(&server, "handshake", port, "--requests 10 --connections 2");
    let made = &report["handshakes"];
    assert_eq!((code, &made["hrr"], &made["groups"]["secp384r1"]), (Some(0), &10.into(), &10.into()), "{report}");
}

#[test]
fn a_server_without_tickets_fails_not_resumed() {
    let (server, port) = nginx("ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache off;");
    let output = load(server.dir.path(), "handshake", port, "--requests 10 --connections 1 --resume tickets");
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{table}");
    assert!(table.contains("9 failed: not_resumed: the server did not resume"), "{table}");
}

/// Python answers each call with HTTP/1.0 and closes.
#[test]
fn a_server_that_closes_after_each_answer_is_connected_to_again() {
    let dir = folder();
    let mut command = python("upstream_xmlrpc.py");
    command.arg(dir.path().join("certs/localhost.pem")).arg(dir.path().join("certs/localhost-key.pem"));
    let server = Server::spawn(command, dir, 1);
    let port = server.listening().first().expect("a port").parse().expect("a number");
    let (code, report) = report(&server, "xmlrpc", port, "--requests 60 --connections 2 --ratio 1:1 --keys 4");
    assert_eq!((code, &report["requests"], &report["errors"]), (Some(0), &60.into(), &serde_json::json!({})));
    // The first two connections replaced none; the last two may be opened without use, just before the run ends.
    let again = report["reconnections"].as_u64().expect("a number");
    assert!((58..=60).contains(&again), "{report}");
    let full = report["handshakes"]["full"].as_u64().expect("a number");
    assert_eq!(full, again + 2, "{report}");
    // A client of such a server waits for its handshake as well as for its answer: both are in the latency.
    let (latency, service) = (report["latency_us"]["mean"].as_f64(), report["service_us"]["mean"].as_f64());
    assert!(latency > service, "{report}");

    let call = "--requests 10 --connections 1 --method exists --argument nothing";
    let (code, report) = self::report(&server, "xmlrpc", port, call);
    assert_eq!((code, &report["requests"], &report["settings"]["method"]), (Some(0), &10.into(), &"exists".into()));
    let unknown = load(server.dir.path(), "xmlrpc", port, "--requests 5 --connections 1 --method none");
    assert_eq!(unknown.status.code(), Some(3), "{}", String::from_utf8_lossy(&unknown.stdout));
}
