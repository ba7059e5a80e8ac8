//! How the two ends of a link learn of each other's end, without TLS.

use super::*;
use crate::net::sim::SimListener;

/// More bytes than a socket takes.
const MUCH: usize = 300_000;

/// A wrapper, the network of the backend behind it, and the backend's listener.
fn wrapping() -> (Site<Splice>, SimNet, SimListener) {
    wrapping_for(None)
}

/// The same with this idle timeout.
fn wrapping_for(idle_timeout: Option<Duration>) -> (Site<Splice>, SimNet, SimListener) {
    wrapping_with(idle_timeout, NetFaults::none())
}

pub(super) fn wrapping_with(idle_timeout: Option<Duration>, faults: NetFaults) -> (Site<Splice>, SimNet, SimListener) {
    wrapping_within(idle_timeout, faults, Limits::default())
}

fn wrapping_within(
    idle_timeout: Option<Duration>,
    faults: NetFaults,
    limits: Limits,
) -> (Site<Splice>, SimNet, SimListener) {
    let behind = SocketAddr::from(([10, 0, 0, 7], 80));
    let target = Target::new(vec![Address::Tcp(behind)]).0;
    let splice = Splice::new(target, UpstreamSecurity::Plain, false);
    let listener = ListenerConfig { idle_timeout, ..plain_listener() };
    let site = Site::behind(listener, splice, faults, limits);
    let mut net = site.network.host();
    let listener = net.listen(behind, 1).expect("a free address");
    (site, net, listener)
}

/// A client and a backend that have exchanged their first bytes.
fn talking(site: &mut Site<Splice>, net: &mut SimNet, listener: &SimListener) -> (SimSocket, SimSocket) {
    let mut client = site.connect();
    client.write_all(b"half").expect("room");
    site.run_until_idle();
    let (mut server, _) = net.accept(listener).expect("the wrapper has dialed");
    site.run_until_idle();
    assert_eq!(drain(&mut server), (b"half".to_vec(), false));
    server.write_all(b"an answer").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut client), (b"an answer".to_vec(), false));
    (client, server)
}

/// How the stream ends, after the loop has done all its work.
fn end(site: &mut Site<Splice>, socket: &mut SimSocket) -> Result<usize, ErrorKind> {
    site.run_until_idle();
    if let Some(lingers) = site.net.wakes_at() {
        site.network.advance_to(lingers);
        site.run_until_idle();
    }
    let result = socket.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(site.server.occupancy().client_memory == 0, result.is_err(), "who was reset is gone");
    result
}

fn lose(net: &mut SimNet, socket: SimSocket) {
    net.reset_when_dropped(&socket).expect("open");
    drop(socket);
}

#[test]
fn a_lost_backend_causes_a_reset_to_its_client() {
    let (mut site, mut net, listener) = wrapping();
    let (mut client, server) = talking(&mut site, &mut net, &listener);
    lose(&mut net, server);
    assert_eq!(end(&mut site, &mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_half_closed_client_has_time_to_read_before_it_is_reset() {
    let (mut site, mut net, listener) = wrapping();
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    client.shutdown_write().expect("open");
    site.run_until_idle();
    server.write_all(b"nearly all").expect("room");
    site.run_until_idle();
    lose(&mut net, server);
    site.run_until_idle();
    site.deliver();
    assert_eq!(drain(&mut client), (b"nearly all".to_vec(), false));
    assert_eq!(end(&mut site, &mut client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_quiet_client_has_all_of_the_half_close_timeout_from_its_end_on() {
    let (mut site, mut net, listener) = wrapping();
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    let limit = Limits::default().half_close_timeout;
    for _ in 0..2 {
        site.network.advance_to(site.network.now() + limit * 3 / 4);
        site.run_until_idle();
    }
    client.shutdown_write().expect("open");
    site.deliver();
    site.run_until_idle();
    site.network.advance_to(site.network.now() + limit * 3 / 4);
    site.run_until_idle();
    server.write_all(b"late").expect("room");
    site.deliver();
    site.run_until_idle();
    site.deliver();
    assert_eq!(site.server.metrics().disconnects(Disconnect::HalfCloseTimeout), 0);
    assert_eq!(drain(&mut client), (b"late".to_vec(), false));
    // Then it lingers.
    for _ in 0..2 {
        site.network.advance_to(site.network.now() + limit);
        site.run_until_idle();
    }
    assert_eq!(site.server.metrics().disconnects(Disconnect::HalfCloseTimeout), 1);
}

#[test]
fn a_lost_client_causes_a_reset_to_its_backend() {
    let (mut site, mut net, listener) = wrapping();
    let (client, mut server) = talking(&mut site, &mut net, &listener);
    lose(&mut net, client);
    assert_eq!(end(&mut site, &mut server), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_stalled_client_and_its_backend_are_closed_with_resets() {
    let (mut site, mut net, listener) = wrapping();
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    while server.write(&[7; 10_000]).is_ok() {
        site.run_until_idle();
    }
    while site.server.metrics().disconnects(Disconnect::Stalled) == 0 {
        let deadline = site.net.wakes_at().expect("nobody is waited for without end");
        site.network.advance_to(deadline);
        site.run_until_idle();
    }
    site.deliver();
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_eq!(end(&mut site, &mut server), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_finished_reply_is_delivered_whole_whatever_follows() {
    let (mut site, mut net, listener) = wrapping();
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    // The end is still unsent when the backend is lost.
    let mut sent = 0;
    while sent < MUCH {
        sent += server.write(&vec![7; MUCH - sent]).expect("room");
        site.run_until_idle();
    }
    server.shutdown_write().expect("open");
    site.run_until_idle();
    lose(&mut net, server);
    // Nothing is read from it any more: only a write detects that.
    client.write_all(b"more").expect("room");
    site.run_until_idle();
    let mut received = 0;
    loop {
        let (bytes, is_end) = drain(&mut client);
        received += bytes.len();
        if is_end || bytes.is_empty() {
            break assert_eq!((received, is_end), (MUCH, true));
        }
        site.run_until_idle();
    }
}

#[test]
fn an_unreachable_backend_causes_a_reset_not_an_empty_reply() {
    let (mut site, _, listener) = wrapping();
    drop(listener);
    let mut client = site.connect();
    client.write_all(b"?").expect("room");
    site.run_until_idle();
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "and at once");
}

#[test]
fn a_client_whose_backend_has_not_taken_its_bytes_is_not_idle() {
    const IDLE: Duration = Duration::from_secs(10);
    let (mut site, mut net, listener) = wrapping_for(Some(IDLE));
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    let mut sent = 0;
    while sent < MUCH {
        sent += client.write(&vec![7; MUCH - sent]).expect("room");
        site.run_until_idle();
    }
    let wait = |site: &mut Site<Splice>, time| {
        site.network.advance_to(site.network.now() + time);
        site.run_until_idle();
    };
    let all = site.server.metrics().bytes_received;
    while site.server.metrics().bytes_sent < all {
        wait(&mut site, IDLE.mul_f32(0.8));
        assert_eq!(server.read(&mut [0; 10_000]).expect("the client is not given up"), 10_000);
        site.run_until_idle();
    }
    // Time counts from the last query that found the socket's bytes being read: a reply has the full time again, and no
    // more.
    wait(&mut site, IDLE.mul_f32(0.8));
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    wait(&mut site, IDLE.mul_f32(0.2));
    wait(&mut site, IDLE.mul_f32(0.8));
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    wait(&mut site, IDLE.mul_f32(0.2));
    wait(&mut site, Limits::default().linger_timeout);
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 1);
}

#[test]
fn a_client_closed_before_its_backend_finished_gets_a_reset() {
    const IDLE: Duration = Duration::from_secs(10);
    let (mut site, mut net, listener) = wrapping_for(Some(IDLE));
    let (mut client, mut server) = talking(&mut site, &mut net, &listener);
    for wait in [IDLE, Limits::default().linger_timeout] {
        site.network.advance_to(site.network.now() + wait);
        site.run_until_idle();
    }
    site.deliver();
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 1);
    // The backend has not finished either.
    assert_eq!(end(&mut site, &mut server), Err(ErrorKind::ConnectionReset));
}

#[test]
fn backends_without_their_clients_take_client_places() {
    let limits = Limits { connections: 3, refusals: 1, ..Limits::default() };
    let (mut site, mut net, listener) = wrapping_within(None, NetFaults::none(), limits);
    let mut servers = Vec::new();
    let mut most = 0;
    for _ in 0..20 {
        let mut client = site.connect();
        site.run_until_idle();
        if let Ok((server, _)) = net.accept(&listener) {
            // It reads nothing, so that more is owed to it than it takes.
            let mut sent = 0;
            while sent < MUCH {
                sent += client.write(&vec![7; MUCH - sent]).expect("room");
                site.run_until_idle();
            }
            servers.push(server);
        }
        lose(&mut net, client);
        site.run_until_idle();
        most = most.max(site.server.occupancy().connections);
    }
    assert_eq!((servers.len(), most), (3, 3), "two sockets for each place are all that there ever are");
    drop(servers);
    site.run_until_idle();
    let _ = talking(&mut site, &mut net, &listener);
}

#[test]
fn a_backend_that_has_taken_everything_closes_with_its_client() {
    let (mut site, mut net, listener) = wrapping();
    let (client, mut server) = talking(&mut site, &mut net, &listener);
    lose(&mut net, client);
    site.run_until_idle();
    assert_eq!(site.server.occupancy().connections, 0, "no time has passed");
    site.deliver();
    assert_eq!(server.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}
