use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::*;
use crate::net::{AcceptError, Delivery, Event, Net};
use crate::testing::deliver;

/// A client and a server that has accepted it.
struct SocketPair {
    network: Network,
    net: SimNet,
    client: SimSocket,
    server: SimSocket,
}

const TOKEN: usize = 7;

impl SocketPair {
    fn new(faults: NetFaults) -> Self {
        let network = Network::new(1, faults);
        let mut net = network.host();
        let listener = net.listen(([10, 0, 0, 2], 80).into(), 1).expect("a free address");
        let client = network.host().connect(&listener.address.into(), None).expect("begun");
        let mut pair_net = net.clone();
        deliver(&network);
        assert_eq!(take_events(&mut pair_net).len(), 1);
        let (mut server, _) = net.accept(&listener).expect("one is waiting");
        assert!(matches!(net.accept(&listener), Err(AcceptError::Empty)));
        net.register(&mut server, TOKEN).expect("registered");
        let first = take_events(&mut net);
        assert_eq!(first, [Event { token: TOKEN, readable: false, writable: true, read_closed: false, urgent: false }]);
        Self { network, net, client, server }
    }

    fn events(&mut self) -> Vec<Event> {
        take_events(&mut self.net)
    }
}

fn take_events(net: &mut SimNet) -> Vec<Event> {
    let mut events = Vec::new();
    net.poll(&mut events, Some(Duration::ZERO)).expect("a poll that need not sleep");
    events
}

#[test]
fn data_and_fin_are_one_event_and_it_is_not_repeated() {
    let mut pair = SocketPair::new(NetFaults::none());
    pair.client.write_all(b"last words").expect("room");
    pair.client.shutdown_write().expect("open");
    deliver(&pair.network);
    assert_eq!(
        pair.events(),
        [Event { token: TOKEN, readable: true, writable: true, read_closed: true, urgent: false }]
    );
    assert_eq!(pair.events(), []);
    let mut buffer = [0; 100];
    assert_eq!(pair.server.read(&mut buffer).expect("data"), 10);
    assert_eq!(pair.server.read(&mut buffer).expect("end"), 0);
    assert_eq!(pair.events(), []);
}

#[test]
fn a_full_window_is_reported_writable_when_it_is_read() {
    let mut faults = NetFaults::none();
    faults.window = 9;
    let mut pair = SocketPair::new(faults);
    assert_eq!(pair.server.write(&[1; 20]).expect("room"), 9);
    assert_eq!(pair.server.write(&[1]).expect_err("full").kind(), ErrorKind::WouldBlock);
    deliver(&pair.network);
    assert_eq!(pair.events(), []);
    assert_eq!(pair.client.read(&mut [0; 2]).expect("data"), 2);
    assert_eq!(pair.events(), [], "less than a third is free");
    assert_eq!(pair.client.read(&mut [0; 1]).expect("data"), 1);
    assert_eq!(
        pair.events(),
        [Event { token: TOKEN, readable: false, writable: true, read_closed: false, urgent: false }]
    );
}

#[test]
fn a_short_write_by_fault_is_followed_by_an_event() {
    let mut faults = NetFaults::none();
    faults.set(NetFault::ShortWrite, 1.0);
    let mut pair = SocketPair::new(faults);
    match pair.server.write(&[1; 20]) {
        Ok(count) => assert!(count < 20),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
    deliver(&pair.network);
    assert!(pair.events().iter().any(|event| event.writable));
    assert!(pair.network.injected().contains_key(&NetFault::ShortWrite));
}

#[test]
fn dropping_a_socket_with_unread_bytes_resets_its_peer() {
    let mut pair = SocketPair::new(NetFaults::none());
    pair.client.write_all(b"unheard").expect("room");
    deliver(&pair.network);
    drop(pair.server);
    deliver(&pair.network);
    assert_eq!(pair.client.read(&mut [0; 1]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!(pair.client.read(&mut [0; 1]).expect("then nothing"), 0);
    assert!(!pair.client.is_disturbed(), "the peer caused it, not a fault");
    drop(pair.client);
    assert_eq!(pair.network.open_ends(), 0);
}

#[test]
fn a_poll_that_would_sleep_returns_would_block_until_its_timeout() {
    let network = Network::new(1, NetFaults::none());
    let mut net = network.host();
    let wake = net.waker();
    let second = Duration::from_secs(1);
    assert!(net.is_awake());
    assert_eq!(net.poll(&mut Vec::new(), Some(second)).expect_err("sleeps").kind(), ErrorKind::WouldBlock);
    let (halfway, until) = (network.now() + second / 2, network.now() + second);
    assert_eq!((net.is_awake(), net.wakes_at()), (false, Some(until)));
    network.advance_to(halfway);
    assert!(net.poll(&mut Vec::new(), Some(second)).is_err(), "the same sleep goes on");
    network.advance_to(until);
    assert!(net.is_awake());
    net.poll(&mut Vec::new(), Some(second)).expect("over");

    assert!(net.poll(&mut Vec::new(), None).is_err());
    assert_eq!(net.wakes_at(), None);
    wake();
    assert!(net.is_awake());
    net.poll(&mut Vec::new(), None).expect("woken");
}

#[test]
fn connecting_without_a_listener_is_refused() {
    let network = Network::new(1, NetFaults::none());
    let mut client =
        network.host().connect(&std::net::SocketAddr::from(([10, 0, 0, 2], 80)).into(), None).expect("begun");
    assert_eq!(client.write(b"x").expect_err("not yet").kind(), ErrorKind::WouldBlock);
    deliver(&network);
    assert_eq!(client.read(&mut [0; 1]).expect_err("refused").kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_swallowed_address_never_answers() {
    let network = Network::new(1, NetFaults::none());
    let mut net = network.host();
    let listener = net.listen(([10, 0, 0, 2], 0).into(), 1).expect("a free port");
    network.swallow(listener.address);
    let mut client = net.connect(&listener.address.into(), None).expect("begun");
    deliver(&network);
    assert_eq!(client.write(b"x").expect_err("not yet").kind(), ErrorKind::WouldBlock);
    assert!(matches!(net.accept(&listener), Err(AcceptError::Empty)));
}

#[test]
fn a_short_read_by_fault_is_followed_by_an_event() {
    let mut faults = NetFaults::none();
    faults.set(NetFault::ShortRead, 1.0);
    let mut pair = SocketPair::new(faults);
    pair.client.write_all(&[1; 20]).expect("room");
    deliver(&pair.network);
    assert!(pair.events().iter().any(|event| event.readable));
    let count = pair.server.read(&mut [0; 100]).expect("data");
    assert!((1..20).contains(&count), "{count}");
    assert!(pair.events().iter().any(|event| event.readable), "the rest has come");
}

#[test]
fn urgent_data_ends_a_read_and_is_announced() {
    let mut faults = NetFaults::none();
    faults.set(NetFault::UrgentData, 1.0);
    let mut pair = SocketPair::new(faults);
    pair.client.write_all(&[1; 20]).expect("room");
    deliver(&pair.network);
    assert!(pair.events().iter().any(|event| event.urgent));
    let first = pair.server.read(&mut [0; 100]).expect("data");
    assert_eq!(pair.events(), [], "no event reports that there is more");
    if first < 20 {
        assert_eq!(pair.server.read(&mut [0; 100]).expect("data"), 20 - first);
    }
    assert_eq!(pair.server.read(&mut [0; 100]).expect_err("empty").kind(), ErrorKind::WouldBlock);
}

#[test]
fn delivery_counts_bytes_that_were_read() {
    let mut pair = SocketPair::new(NetFaults::none());
    pair.server.write_all(&[1; 20]).expect("room");
    deliver(&pair.network);
    let delivery = |pair: &SocketPair| pair.net.delivery(&pair.server).expect("open");
    assert_eq!(delivery(&pair), Delivery { taken: 0, is_pending: true });
    pair.client.read_exact(&mut [0; 15]).expect("data");
    assert_eq!(delivery(&pair), Delivery { taken: 15, is_pending: true });
    pair.client.read_exact(&mut [0; 5]).expect("data");
    assert_eq!(delivery(&pair), Delivery { taken: 20, is_pending: false });
}

#[test]
fn dropping_a_listener_resets_connections_in_its_backlog() {
    let network = Network::new(1, NetFaults::none());
    let mut net = network.host();
    let listener = net.listen(([10, 0, 0, 2], 0).into(), 1).expect("a free port");
    let mut client = net.connect(&listener.address.into(), None).expect("begun");
    deliver(&network);
    drop(listener);
    assert_eq!(client.read(&mut [0; 1]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn every_fault_happens_and_calm_ends_them() {
    let mut faults = NetFaults::none();
    for fault in NetFault::ALL {
        faults.set(fault, 0.5);
    }
    let network = Network::new(3, faults);
    let mut net = network.host();
    let listener = net.listen(([10, 0, 0, 2], 80).into(), 1).expect("a free address");
    let mut clients: Vec<_> = (0..400).filter_map(|_| net.connect(&listener.address.into(), None).ok()).collect();
    let mut accepted: Vec<SimSocket> = Vec::new();
    for _ in 0..400 {
        for client in &mut clients {
            let _ = client.write(&[0; 50]);
        }
        for socket in &mut accepted {
            let _ = socket.read(&mut [0; 10]);
        }
        let _ = net.poll(&mut Vec::new(), Some(Duration::from_secs(1)));
        accepted.extend(net.accept(&listener).ok().map(|(mut socket, _)| {
            net.register(&mut socket, 2).expect("registered");
            socket
        }));
        network.advance_to(network.now() + Duration::from_millis(1));
    }
    let injected = network.injected();
    for fault in NetFault::ALL {
        assert!(injected.contains_key(&fault), "{fault:?} never happened");
    }
    network.calm();
    for socket in &mut accepted {
        let _ = socket.write(b"x");
    }
    deliver(&network);
    assert_eq!(network.injected(), injected);
}
