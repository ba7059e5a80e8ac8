//! Several loops on real threads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use latchkey::{Exchange, Limits, ListenerConfig, MioNet, Security, Served, Servers, Service};

/// A hang guard.
const PATIENCE: Duration = Duration::from_mins(1);

/// Answers each byte with the index of the loop that serves it; panics at `!`.
struct WhichLoop(u8);

impl Service for WhichLoop {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, (): &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        assert_ne!(input.first(), Some(&b'!'), "the service is asked to panic");
        exchange.reply().push(b'0' + self.0);
        Served::Used(1)
    }
}

fn servers() -> Servers<MioNet, WhichLoop> {
    let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
    let poller = || MioNet::new().expect("a poller");
    let service = |index| WhichLoop(u8::try_from(index).expect("few"));
    Servers::new(poller(), vec![poller(), poller()], service, vec![listener], Limits::default()).expect("a free port")
}

/// A client, and the loop that serves it.
fn connect(servers: std::net::SocketAddr) -> (TcpStream, u8) {
    let mut socket = TcpStream::connect(servers).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket.write_all(b"?").expect("send");
    let mut answer = [0];
    socket.read_exact(&mut answer).expect("an answer");
    (socket, answer[0] - b'0')
}

#[test]
fn connections_are_served_by_all_loops_alike() {
    let mut servers = servers();
    let (address, handle) = (servers.addresses()[0], servers.handle());
    let running = std::thread::spawn(move || servers.run());
    let clients: Vec<_> = (0..30).map(|_| connect(address)).collect();
    let mut counts = [0; 3];
    for (_, index) in &clients {
        counts[usize::from(*index)] += 1;
    }
    assert_eq!(counts, [10, 10, 10]);
    handle.stop();
    drop(clients);
    running.join().expect("no panic").expect("no error");
}

#[test]
fn a_panic_on_one_loop_ends_all_of_them() {
    let mut servers = servers();
    let address = servers.addresses()[0];
    let running = std::thread::spawn(move || servers.run());
    let mut clients: Vec<_> = (0..3).map(|_| connect(address)).collect();
    clients[2].0.write_all(b"!").expect("send");
    let panic = running.join().expect_err("the panic of the loop");
    let message = panic.downcast_ref::<String>().expect("its message");
    assert!(message.contains("the service is asked to panic"), "{message}");
}
