//! SIGTERM and SIGINT in the middle of things: what was received is answered, every client is told good-bye, and the
//! program ends with 0, within its deadline.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::tls::{self, Tls, dial};
use crate::common::{Server, signal, until};

/// All three protocols over TLS, with `arguments`.
fn start(arguments: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    let listeners = ["--echo", "127.0.0.1:0", "--xmlrpc", "127.0.0.1:0", "--resp", "127.0.0.1:0"];
    Server::start_in(dir, &[&listeners, arguments].concat())
}

/// Asks the server to stop, and waits until it has begun to.
fn stop(server: &Server, name: &str) {
    signal(server.pid(), name);
    server.logged("stopping: no new connections");
}

/// Reads to the end of the stream, which must be announced by close_notify: without, rustls reports an error.
fn rest(client: &mut Tls) -> String {
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).expect("close_notify, then the end of the stream");
    String::from_utf8(heard).expect("text")
}

/// A client that has been served once, and waits.
fn open(server: &Server, protocol: &str) -> Tls {
    let mut client = tls::connect(server, protocol);
    let (asks, answer): (&[u8], &[u8]) = match protocol {
        "echo" => (b"hello", b"hello"),
        "resp" => (b"PING\r\n", b"+PONG\r\n"),
        _ => (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 405 "),
    };
    client.write_all(asks).expect("ask");
    let mut heard = vec![0; answer.len()];
    client.read_exact(&mut heard).expect("answer");
    assert_eq!(heard, answer);
    client
}

#[test]
fn idle_clients_get_a_final_reply_at_either_signal() {
    for name in ["TERM", "INT"] {
        let mut server = start(&[]);
        let mut clients = ["echo", "xmlrpc", "resp"].map(|protocol| open(&server, protocol));
        let address = server.address("echo");
        stop(&server, name);
        until(|| TcpStream::connect(&address).is_err());
        let heard = clients.each_mut().map(rest);
        assert_eq!((&heard[0][..], &heard[2][..]), ("", ""));
        drop(clients);
        assert_eq!(server.end(), Some(0), "{name}");
        let log = server.log();
        assert_eq!(log.iter().filter(|line| line.contains("reason=\"shutdown\"")).count(), 3, "{log:#?}");
    }
}

#[test]
fn an_upload_is_finished_and_answered() {
    let mut server = start(&[]);
    let value = "spam".repeat(100_000);
    let params = format!("<params><param><value>big</value></param><param><value>{value}</value></param></params>");
    let set = format!("<methodCall><methodName>set</methodName>{params}</methodCall>");
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{set}", set.len());
    let command = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n{value}\r\n", value.len());
    let mut uploads = [("xmlrpc", post), ("resp", command)].map(|(protocol, request)| {
        let mut client = tls::connect(&server, protocol);
        let (first, second) = request.split_at(request.len() / 2);
        client.write_all(first.as_bytes()).expect("half");
        (client, second.to_owned())
    });
    // Half a request is not what one waits for to end: both are still open when the other half comes.
    stop(&server, "TERM");
    for (client, second) in &mut uploads {
        client.write_all(second.as_bytes()).expect("the other half");
    }
    let answers = uploads.each_mut().map(|(client, _)| rest(client));
    assert!(answers[0].starts_with("HTTP/1.1 200 OK\r\n") && answers[0].contains("<nil/>"), "{}", answers[0]);
    assert_eq!(answers[1], "+OK\r\n");
    drop(uploads);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_pipelined_batch_is_answered_to_its_last_request() {
    let mut server = start(&[]);
    let mut client = open(&server, "resp");
    let mut http = open(&server, "xmlrpc");
    // More than one turn of the loop serves one client, and more than a record holds.
    client.write_all("PING\r\n".repeat(5000).as_bytes()).expect("send");
    http.write_all("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500).as_bytes()).expect("send");
    stop(&server, "TERM");
    assert_eq!(rest(&mut client), "+PONG\r\n".repeat(5000));
    assert_eq!(rest(&mut http).matches("HTTP/1.1 204 ").count(), 500);
    drop((client, http));
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_slow_reader_gets_all_of_its_reply() {
    let mut server = start(&[]);
    let mut client = open(&server, "resp");
    let value = "0123456789".repeat(1 << 20);
    client
        .write_all(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n{value}\r\n", value.len()).as_bytes())
        .expect("set");
    let mut heard = [0; 5];
    client.read_exact(&mut heard).expect("OK");
    client.write_all(b"GET big\r\n").expect("get");
    // The first of it is here, and the rest does not fit into what the system keeps for a socket.
    client.read_exact(&mut [0; 1]).expect("the first byte");
    stop(&server, "TERM");
    let heard = rest(&mut client);
    assert_eq!(heard.len(), value.len() + format!("{}\r\n\r\n", value.len()).len());
    assert!(heard.ends_with(&format!("{value}\r\n")));
    drop(client);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_handshake_under_way_is_finished_and_told_good_bye() {
    let mut server = start(&[]);
    let mut client = tls::connect(&server, "echo");
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).expect("memory");
    client.sock.write_all(&hello[..100]).expect("half a hello");
    let mut waits = open(&server, "echo");
    stop(&server, "TERM");
    client.sock.write_all(&hello[100..]).expect("the other half");
    assert_eq!(rest(&mut client), "");
    assert!(!client.conn.is_handshaking());
    assert_eq!(rest(&mut waits), "");
    drop((client, waits));
    assert_eq!(server.end(), Some(0));
}

#[test]
fn nobody_holds_up_the_end_beyond_its_deadline() {
    let mut server = start(&["--drain-timeout", "1s"]);
    let silent = dial(&server.address("echo"));
    let mut half = open(&server, "xmlrpc");
    half.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").expect("a head without its body");
    let mut greedy = open(&server, "echo");
    greedy.sock.set_write_timeout(Some(std::time::Duration::from_millis(300))).expect("timeout");
    while greedy.write(&[7; 16_384]).is_ok() {}
    stop(&server, "TERM");
    assert_eq!(server.end(), Some(0));
    let log = server.log();
    assert_eq!(log.iter().filter(|line| line.contains("reason=\"shutdown\"")).count(), 3, "{log:#?}");
    drop((silent, half, greedy));
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let mut server = start(&["--drain-timeout", "1h"]);
    let mut half = open(&server, "xmlrpc");
    half.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").expect("a head without its body");
    stop(&server, "TERM");
    signal(server.pid(), "TERM");
    assert_eq!(server.end(), None, "it is the signal that ends it");
}

#[test]
fn requests_in_the_accept_queue_are_answered_at_sigterm() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = ["--echo", "plain://127.0.0.1:0", "--resp", "plain://127.0.0.1:0", "--echo", "127.0.0.1:0"];
    let mut server = Server::start_in(dir, &plain);
    let config = tls::config(&server);
    // All of it happens while the server stands still: it finds the signal first, and 300 clients in its queues.
    signal(server.pid(), "STOP");
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let [mut echo, mut resp] = ["echo", "resp"].map(|protocol| dial(&server.address_at(protocol, "plain")));
            echo.write_all(b"hello").expect("ask");
            resp.write_all(b"PING\r\n").expect("ask");
            let mut shaken = tls::wrap(&config, dial(&server.address_at("echo", "tls")));
            let mut hello = Vec::new();
            shaken.conn.write_tls(&mut hello).expect("memory");
            shaken.sock.write_all(&hello).expect("a hello");
            (echo, resp, shaken)
        })
        .collect();
    signal(server.pid(), "TERM");
    signal(server.pid(), "CONT");
    for (mut echo, mut resp, mut shaken) in clients {
        for (client, answer) in [(&mut echo, "hello"), (&mut resp, "+PONG\r\n")] {
            let mut heard = String::new();
            client.read_to_string(&mut heard).expect("an answer and a proper end");
            assert_eq!(heard, answer);
        }
        assert_eq!(rest(&mut shaken), "");
        assert!(!shaken.conn.is_handshaking());
    }
    assert_eq!(server.end(), Some(0));
}

#[test]
fn silent_connections_do_not_delay_the_exit() {
    let mut server = start(&["--handshake-timeout", "1h", "--drain-timeout", "1h"]);
    let silent: Vec<_> = (0..50).map(|_| dial(&server.address("echo"))).collect();
    // They have been accepted, some of them at least; the others are in the queue.
    drop(open(&server, "echo"));
    stop(&server, "TERM");
    for mut client in silent {
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    }
    assert_eq!(server.end(), Some(0));
}
