//! Linked connections, seen from inside: what is counted, and what a service may do when a server is not there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::limits::Limits;
use latchkey::internals::net::mio::MioNet;
use latchkey::internals::net::{Address, Lookup, Target};
use latchkey::internals::server::{ListenerConfig, Security, Server};
use latchkey::internals::services::{Splice, UpstreamSecurity};

/// A hang guard.
const PATIENCE: Duration = Duration::from_mins(1);

/// An address that nobody listens on.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], crate::common::free_port()).into()
}

fn splice(to: &[SocketAddr], limits: Limits) -> (Server<MioNet, Splice>, Lookup) {
    let (target, lookup) = Target::new(to.iter().copied().map(Address::Tcp).collect());
    let address = ([127, 0, 0, 1], 0).into();
    let listener = ListenerConfig::new(address, Security::Plain);
    let service = Splice::new(target, UpstreamSecurity::Plain, false);
    let server = Server::new(MioNet::new().expect("poller"), service, vec![listener], limits);
    (server.expect("a listener"), lookup)
}

/// A client that says `words` and returns what it hears until the end of the stream.
fn client(server: &Server<MioNet, Splice>, words: &'static [u8]) -> JoinHandle<Vec<u8>> {
    let address = *server.addresses().expect("addresses").first().expect("one");
    thread::spawn(move || {
        let mut socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut heard = Vec::new();
        // One that is turned away may be reset before its words are out.
        let _ = socket.write_all(words);
        let _ = socket.read_to_end(&mut heard);
        heard
    })
}

fn run_until(server: &mut Server<MioNet, Splice>, done: impl Fn(&Server<MioNet, Splice>) -> bool) {
    while !done(server) {
        server.turn().expect("a turn");
    }
}

#[test]
fn the_next_address_is_tried_and_what_was_said_meanwhile_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = [nobody(), nobody(), listener.local_addr().expect("address")];
    let (mut server, _lookup) = splice(&to, Limits::default());
    let answering = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let mut question = [0; 9];
        socket.read_exact(&mut question).expect("the question");
        socket.write_all(&question).expect("answer");
    });
    let client = client(&server, b"patiently");
    run_until(&mut server, |server| server.metrics().disconnects(Disconnect::PeerClosed) == 1);
    assert_eq!(client.join().expect("client"), b"patiently");
    answering.join().expect("upstream");
    assert_eq!((server.metrics().dialed, server.metrics().unreachable), (3, 2));
}

#[test]
fn when_no_address_answers_the_client_is_closed_and_counted_and_the_name_looked_up_again() {
    let (mut server, lookup) = splice(&[nobody(), nobody()], Limits::default());
    let clients = [client(&server, b"anybody?"), client(&server, b"")];
    run_until(&mut server, |server| server.metrics().disconnects(Disconnect::Upstream) == 2);
    for client in clients {
        assert_eq!(client.join().expect("client"), b"");
    }
    let metrics = server.metrics();
    assert_eq!((metrics.accepted, metrics.dialed, metrics.unreachable), (2, 4, 4));
    assert_eq!(server.connections(), 0);
    drop(server);
    let mut asked = 0;
    lookup.run(|| {
        asked += 1;
        Ok(Vec::new())
    });
    assert_eq!(asked, 1);
}

#[test]
fn a_half_closed_connection_on_which_nothing_moves_is_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = listener.local_addr().expect("address");
    let limits = Limits { half_close_timeout: Duration::from_millis(50), ..Limits::default() };
    let (mut server, _lookup) = splice(&[to], limits);
    let client = client(&server, b"?");
    // The server ends at once, and the client goes on reading to that end.
    let hanging_up = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("accept");
        socket.shutdown(std::net::Shutdown::Write).expect("finish");
        socket
    });
    run_until(&mut server, |server| server.metrics().accepted == 1 && server.connections() == 0);
    assert_eq!(client.join().expect("client"), b"");
    drop(hanging_up.join().expect("upstream"));
}

#[test]
fn connections_to_the_server_are_not_clients() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = listener.local_addr().expect("address");
    let (mut server, _lookup) = splice(&[to], Limits { connections: 2, refusals: 0, ..Limits::default() });
    let clients = [client(&server, b"1"), client(&server, b"2")];
    run_until(&mut server, |server| server.metrics().dialed == 2);
    assert_eq!((server.connections(), server.metrics().refused), (2, 0));
    let closing = thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept().expect("accept"));
        }
    });
    run_until(&mut server, |server| server.connections() == 0);
    closing.join().expect("upstream");
    for client in clients {
        client.join().expect("client");
    }
}

#[test]
fn two_full_directions_do_not_wait_for_each_other() {
    /// More than all buffers on the way take, in the kernel and here.
    const BYTES: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = listener.local_addr().expect("address");
    let (mut server, _lookup) = splice(&[to], Limits { output_bytes: 10_000, ..Limits::default() });
    // Like many a server, this one reads nothing before it has got rid of what it has to say.
    let talking = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        socket.set_write_timeout(Some(PATIENCE)).expect("timeout");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket.write_all(&vec![1; BYTES]).expect("the client reads");
        let mut heard = vec![0; BYTES];
        socket.read_exact(&mut heard).expect("all that was said meanwhile");
    });
    let address = *server.addresses().expect("addresses").first().expect("one");
    let mut reading = TcpStream::connect(address).expect("connect");
    reading.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut writing = reading.try_clone().expect("clone");
    let sending = thread::spawn(move || {
        writing.set_write_timeout(Some(PATIENCE)).expect("timeout");
        writing.write_all(&vec![2; BYTES]).expect("the server reads, in the end");
    });
    let reading = thread::spawn(move || {
        // The server is full of what this client says before it hears the first word.
        thread::sleep(Duration::from_millis(500));
        let mut heard = vec![0; BYTES];
        reading.read_exact(&mut heard).expect("all of it");
    });
    run_until(&mut server, |server| server.metrics().accepted == 1 && server.connections() == 0);
    for each in [talking, sending, reading] {
        each.join().expect("no hang");
    }
}
