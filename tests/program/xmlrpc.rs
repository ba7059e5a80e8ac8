//! XML-RPC over HTTPS against the clients that people have: Python's `xmlrpc.client` and `http.client`, curl, OpenSSL.

use std::fs;
use std::process::Command;

use crate::common::{Server, python, succeed};

fn start(arguments: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    Server::start_in(dir, &[&["--xmlrpc", "127.0.0.1:0"], arguments].concat())
}

/// A Python client of this project against `server`.
fn client(server: &Server, script: &str, more: &[&str]) -> String {
    let port = server.port("xmlrpc").to_string();
    succeed(python(script).args([&port, &server.certificate("ca.pem")]).args(more))
}

#[test]
fn every_value_comes_back_as_itself() {
    assert_eq!(client(&start(&[]), "xmlrpc_values.py", &[]), "42");
}

#[test]
fn documents_are_judged_as_expat_judges_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(dir, &["--xmlrpc", "plain://127.0.0.1:0"]);
    let port = server.port("xmlrpc").to_string();
    let printed = succeed(python("xmlrpc_documents.py").args([&port, "1", "1500"]));
    assert!(printed.ends_with("refused of 1500"), "{printed}");
}

#[test]
fn faults_are_those_of_pythons_server_word_for_word() {
    let server = start(&[]);
    let mut pythons = python("upstream_xmlrpc.py");
    pythons.args([server.certificate("server.pem"), server.certificate("server-key.pem")]);
    let pythons = Server::spawn(pythons, tempfile::tempdir().expect("a folder"), 1);
    let port = pythons.listening().first().expect("a port");
    let theirs = succeed(python("xmlrpc_faults.py").args([port, &server.certificate("ca.pem")]));
    assert_eq!(theirs.lines().count(), 27, "{theirs}");
    assert_eq!(client(&server, "xmlrpc_faults.py", &[]), theirs);
}

#[test]
fn faults_have_the_standard_codes_when_asked() {
    let printed = client(&start(&["--faults", "standard"]), "xmlrpc_faults.py", &[]);
    for line in [
        "get 'spam': -32500 no such key: 'spam'",
        "unknown: -32601 method \"spam\" is not supported",
        "'': -32700 no element found: line 1, column 0",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
}

#[test]
fn multicall_introspection_and_one_connection_for_all_calls() {
    let printed = client(&start(&[]), "xmlrpc_session.py", &[]);
    let expected = "None 1 True\n\
         1 <class 'KeyError'>:'b'\n\
         delete exists get keys set system.getCapabilities system.listMethods system.methodHelp \
         system.methodSignature system.multicall\n\
         [['boolean', 'string'], ['boolean', 'base64']] get(name)\n\
         The value under the key, with the type it was set with. A missing key is a fault. Reads the store.\n\
         one connection";
    assert_eq!(printed, expected);
}

#[test]
fn a_client_whose_idle_connection_was_closed_never_notices() {
    let server = start(&["--idle-timeout", "1s"]);
    let printed = client(&server, "xmlrpc_session.py", &["idle"]);
    assert_eq!(printed.lines().last(), Some("99 after a new connection"));
    server.logged("reason=\"idle\"");
}

#[test]
fn http_is_spoken_in_all_its_ways() {
    let printed = client(&start(&[]), "xmlrpc_http.py", &[]);
    assert_eq!(printed.lines().count(), 10, "{printed}");
}

/// `curl`, silent but for errors, verifying the server.
fn curl(server: &Server, more: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "--max-time", "60", "--cacert", "certs/ca.pem"]).args(more.split_whitespace());
    command.arg(format!("https://localhost:{}/RPC2", server.port("xmlrpc"))).current_dir(server.dir.path());
    command
}

#[test]
fn curl_calls_in_every_way_it_has() {
    let server = start(&[]);
    let call =
        "<methodCall><methodName>exists</methodName><params><param><value>x</value></param></params></methodCall>";
    fs::write(server.dir.path().join("call.xml"), call).expect("written");
    for flags in [
        "",
        "--http1.1",
        "--http1.0",
        "--http2",
        "--no-alpn",
        "--tlsv1.2 --tls-max 1.2",
        "--tlsv1.3",
        "--compressed",
        "-H Transfer-Encoding:chunked",
        "-H Expect:100-continue --expect100-timeout 50",
        "--cert certs/client.pem --key certs/client-key.pem",
        "--ciphers ECDHE-ECDSA-CHACHA20-POLY1305 --tls-max 1.2",
        "--curves P-256",
    ] {
        let answer = succeed(curl(&server, flags).args(["--data-binary", "@call.xml"]));
        assert!(answer.contains("<boolean>0</boolean>"), "{flags}: {answer}");
    }
    let told = crate::common::run(curl(&server, "-v --http2").args(["--data-binary", "@call.xml"]));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("http/1.1"), "ALPN leads a client of HTTP/2 to HTTP/1.1: {told}");
}

#[test]
fn curl_uploads_and_downloads_a_large_value() {
    let server = start(&[]);
    let value = "0123456789abcdef".repeat(1 << 20);
    let params = format!("<params><param><value>big</value></param><param><value>{value}</value></param></params>");
    let set = format!("<methodCall><methodName>set</methodName>{params}</methodCall>");
    let get = set.replace(&format!("<param><value>{value}</value></param>"), "").replace(">set<", ">get<");
    fs::write(server.dir.path().join("set.xml"), set).expect("written");
    fs::write(server.dir.path().join("get.xml"), get).expect("written");
    // For so large a body curl waits for `100 Continue` of its own accord, unless it sends chunks.
    for flags in ["-H Expect:100-continue --expect100-timeout 50", "-H Transfer-Encoding:chunked -T set.xml -X POST"] {
        let mut upload = curl(&server, flags);
        if !flags.contains("-T") {
            upload.args(["--data-binary", "@set.xml"]);
        }
        let answer = succeed(&mut upload);
        assert!(answer.contains("<nil/>"), "{flags}: {answer}");
        for flags in ["", "--compressed"] {
            let answer = succeed(curl(&server, flags).args(["--data-binary", "@get.xml"]));
            assert!(answer.contains(&value), "{flags}: {} bytes", answer.len());
        }
    }
}

/// What `openssl s_client` says of a GET that ends its connection.
fn s_client(server: &Server, flags: &str) -> String {
    let mut shell = Command::new("sh");
    shell.current_dir(server.dir.path()).arg("-c").arg(format!(
        r"printf 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' |
          openssl s_client -ign_eof -verify_return_error -connect {} -CAfile certs/ca.pem {flags} 2>&1",
        server.address("xmlrpc"),
    ));
    succeed(&mut shell)
}

#[test]
fn openssl_agrees_on_http_1_1_and_resumes() {
    let server = start(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let full = s_client(&server, &format!("{version} -alpn h2,http/1.1 -sess_out {version}.pem"));
        assert!(full.contains("ALPN protocol: http/1.1") && full.contains("HTTP/1.1 405"), "{full}");
        assert!(full.contains("New, TLSv1"), "{full}");
        let resumed = s_client(&server, &format!("{version} -alpn http/1.1 -sess_in {version}.pem"));
        assert!(resumed.contains("Reused, TLSv1") && resumed.contains("HTTP/1.1 405"), "{resumed}");
    }
    let many = s_client(&server, "-tls1_2 -reconnect");
    assert_eq!(many.matches("Reused, TLSv1.2").count(), 5, "{many}");
}
