//! The examples, one against the other.

#[path = "../../examples/client.rs"]
#[allow(dead_code, reason = "its main is not run here")]
mod client;
#[path = "../../examples/key_value_server.rs"]
#[allow(dead_code, reason = "its main is not run here")]
mod key_value_server;
#[path = "../../examples/line_server.rs"]
#[allow(dead_code, reason = "its main is not run here")]
mod line_server;

use std::path::Path;

use latchkey::internals::cli::development::development_identities;
use latchkey::internals::tls::ClientOptions;

/// Lines that count as somebody's work: neither blank nor comment.
fn is_code(line: &&str) -> bool {
    !line.trim().is_empty() && !line.trim().starts_with("//")
}

#[test]
fn a_service_for_a_new_protocol_takes_forty_lines() {
    let text = include_str!("../../examples/line_server.rs");
    let (_, service) = text.split_once("/// The service").expect("the service");
    let (service, _) = service.split_once("fn main").expect("main");
    let lines = service.lines().skip(1).filter(is_code).count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn the_line_server_answers_the_client_in_order_and_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let made = development_identities(Path::new(dir.path()), now.as_secs()).expect("certificates");
    let (cert, key) = made.server;
    let mut server = line_server::serve(([127, 0, 0, 1], 0).into(), cert, key, made.ca.clone()).expect("a server");
    let port = server.addresses().expect("addresses")[0].port();
    let handle = server.handle();
    let running = std::thread::spawn(move || server.run());

    let known = ClientOptions { ca: vec![made.ca], identity: Some(made.client), ..ClientOptions::default() };
    let ask = |options: &ClientOptions, lines: &[&str]| client::ask("localhost", port, options, lines);
    let answers = ask(&known, &["SLOW", "hello", "WHO", "QUIT", "unheard"]).expect("answers");
    assert_eq!(answers, ["at last", "HELLO", "client"]);
    let endless = "x".repeat(2000);
    assert_eq!(ask(&known, &["before", &endless]).expect("a proper end"), ["BEFORE"]);
    let stranger = ClientOptions { identity: None, ..known };
    assert!(ask(&stranger, &["hello"]).is_err(), "a client without a certificate was served");

    handle.stop();
    running.join().expect("no panic").expect("it stops");
}

#[test]
fn the_key_value_server_answers_clients_with_a_certificate_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let made = development_identities(Path::new(dir.path()), now.as_secs()).expect("certificates");
    let (cert, key) = made.server;
    let address = ([127, 0, 0, 1], 0).into();
    let mut server = key_value_server::serve(address, cert, key, made.ca.clone()).expect("a server");
    let port = server.addresses().expect("addresses")[0].port();
    let handle = server.handle();
    let running = std::thread::spawn(move || server.run());

    let known = ClientOptions { ca: vec![made.ca], identity: Some(made.client), ..ClientOptions::default() };
    let commands = ["SET greeting hello", "GET greeting"];
    assert_eq!(client::ask("localhost", port, &known, &commands).expect("replies"), ["+OK", "$5", "hello"]);
    let stranger = ClientOptions { identity: None, ..known };
    assert!(client::ask("localhost", port, &stranger, &commands).is_err(), "a client without a certificate was served");

    handle.stop();
    running.join().expect("no panic").expect("it stops");
}
