//! What sockets do that no protocol speaks of: urgent data, and buffers that take more than their reader has read.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::{PATIENCE, Server, latchkey, signal, tls};

fn serve(arguments: &[&str]) -> Server {
    Server::start_in(tempfile::tempdir().expect("a folder"), arguments)
}

/// `latchkey wrap` in front of `to`.
fn wrap(to: &str, arguments: &[&str]) -> Server {
    let mut command = latchkey();
    command.args(["wrap", "--listen", "127.0.0.1:0", "--to", to]).args(arguments);
    Server::spawn(command, tempfile::tempdir().expect("a folder"), 1)
}

/// What does `work` while the process `pid` stands still, so that all of it is there at once when it goes on.
fn while_it_stands_still(server: &Server, work: impl FnOnce()) {
    signal(server.pid(), "STOP");
    work();
    signal(server.pid(), "CONT");
}

/// Sends `before`, a byte of urgent data (RFC 9293, 3.8.5), and `behind`.
fn send_urgently(socket: &TcpStream, before: &[u8], behind: &[u8]) {
    let mut socket = socket;
    socket.write_all(before).expect("send");
    assert_eq!(socket2::SockRef::from(socket).send_out_of_band(b"!").expect("send"), 1);
    socket.write_all(behind).expect("send");
}

#[test]
fn urgent_data_hides_nothing_behind_it() {
    let server = serve(&["--echo", "plain://127.0.0.1:0", "--echo", "127.0.0.1:0"]);
    let mut client = tls::dial(&server.address_at("echo", "plain"));
    for _ in 0..3 {
        while_it_stands_still(&server, || send_urgently(&client, b"before ", b"behind"));
        let mut heard = [0; 13];
        client.read_exact(&mut heard).expect("all of it comes back");
        assert_eq!(&heard, b"before behind");
    }
    // In the middle of a hello, and of a record.
    let mut client = tls::connect(&server, "echo");
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).expect("memory");
    while_it_stands_still(&server, || send_urgently(&client.sock, &hello[..100], &hello[100..]));
    client.write_all(b"hello").expect("a handshake");
    let mut heard = [0; 5];
    client.read_exact(&mut heard).expect("an echo");
    client.conn.writer().write_all(b"again").expect("memory");
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).expect("memory");
    while_it_stands_still(&server, || send_urgently(&client.sock, &record[..10], &record[10..]));
    client.read_exact(&mut heard).expect("an echo");
    assert_eq!(&heard, b"again");
}

#[test]
fn urgent_data_stops_neither_direction_of_a_link() {
    let inner = TcpListener::bind("127.0.0.1:0").expect("bind");
    let tls = wrap(&inner.local_addr().expect("address").to_string(), &[]);
    let plain = wrap(&tls.address("wrap"), &["--originate", "--ca", &tls.certificate("ca.pem")]);
    let client = tls::dial(&plain.address("wrap"));
    (&client).write_all(b"?").expect("ask");
    let (server, _) = inner.accept().expect("a connection");
    server.set_read_timeout(Some(PATIENCE)).expect("timeout");
    (&server).read_exact(&mut [0]).expect("a question");
    for (from, to, between) in [(&client, &server, &plain), (&server, &client, &tls)] {
        while_it_stands_still(between, || send_urgently(from, b"before ", b"behind"));
        let (mut to, mut heard) = (to, [0; 13]);
        to.read_exact(&mut heard).expect("all of it");
        assert_eq!(&heard, b"before behind");
    }
}

/// Reads for some seconds, `piece` bytes every 20 ms, and then the rest of `bytes` at once.
fn sip(mut reader: impl Read, piece: usize, bytes: usize) -> usize {
    let (mut buffer, mut heard) = (vec![0; 1 << 20], 0);
    for step in 0.. {
        let piece = if step < 200 { piece } else { buffer.len() };
        if step < 200 {
            thread::sleep(Duration::from_millis(20));
        }
        match reader.read(buffer.get_mut(..piece).expect("smaller")) {
            Ok(0) | Err(_) => break,
            Ok(count) => heard += count,
        }
        if heard == bytes {
            break;
        }
    }
    heard
}

/// More than a socket takes of a peer that reads nothing (net.ipv4.tcp_wmem, and half of tcp_rmem, in its usual size).
const MUCH: usize = 12 << 20;

/// Every 20 ms: a socket that holds megabytes becomes writable after seconds; what is required is a kilobyte a second.
const PIECE: usize = 12_000;

/// The same for a Unix socket, which holds two hundred kilobytes.
const UNIX_PIECE: usize = 2_000;

#[test]
fn a_steady_reader_is_not_stalled_by_what_its_socket_holds() {
    let server = serve(&["--echo", "plain://127.0.0.1:0", "--write-timeout", "1s", "--max-output", "64m"]);
    let client = tls::dial(&server.address("echo"));
    let sender = client.try_clone().expect("clone");
    let sending = thread::spawn(move || (&sender).write_all(&vec![7; MUCH]));
    assert_eq!(sip(&client, PIECE, MUCH), MUCH, "{:#?}", server.seen());
    sending.join().expect("thread").expect("sent");
}

#[test]
fn a_steady_server_behind_a_wrapper_is_not_stalled_by_what_its_socket_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("server.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
    let tcp_address = tcp.local_addr().expect("address").to_string();
    let serving = [
        thread::spawn(move || sip(tcp.accept().expect("a connection").0, PIECE, MUCH)),
        thread::spawn(move || sip(unix.accept().expect("a connection").0, UNIX_PIECE, MUCH)),
    ];
    for (to, serving) in [tcp_address, format!("unix:{}", path.display())].into_iter().zip(serving) {
        let wrapper = wrap(&to, &["--write-timeout", "1s", "--idle-timeout", "2s"]);
        let config = tls::config(&wrapper);
        let mut client = tls::wrap(&config, tls::dial(&wrapper.address("wrap")));
        client.write_all(&vec![7; MUCH]).expect("sent");
        assert_eq!(serving.join().expect("thread"), MUCH, "{to}");
    }
}

#[test]
fn a_burst_beyond_the_queue_of_a_unix_socket_is_served_to_the_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("server.sock");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("socket");
    listener.bind(&socket2::SockAddr::unix(&path).expect("short")).expect("bind");
    listener.listen(1).expect("listen");
    let wrapper = wrap(&format!("unix:{}", path.display()), &["--connect-timeout", "1m"]);
    let config = tls::config(&wrapper);
    let mut clients: Vec<_> = (0..20).map(|_| tls::wrap(&config, tls::dial(&wrapper.address("wrap")))).collect();
    for client in &mut clients {
        client.write_all(b"?").expect("ask");
    }
    // Nobody is accepted before all have come; the server dials when a client's handshake is done, which it has no part in.
    thread::sleep(Duration::from_millis(300));
    let serving = thread::spawn(move || {
        for _ in 0..20 {
            let (mut socket, _) = listener.accept().expect("a connection");
            socket.read_exact(&mut [0]).expect("a question");
            socket.write_all(b"!").expect("an answer");
        }
    });
    for client in &mut clients {
        client.read_exact(&mut [0]).expect("an answer");
    }
    serving.join().expect("served");
    drop(wrapper);
}
