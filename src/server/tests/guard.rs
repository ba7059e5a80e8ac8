//! Limits on the cost of clients, together and each.

use std::str::FromStr;
use std::sync::Arc;

use super::*;
use crate::connection::{CommitStatus, Deferred, Environment, Exchange, PeerInfo, Served, SessionState, Tick};
use crate::net::Subnet;
use crate::testing::{Clock, NOW, TestPki};
use crate::tls::ServerPolicy;

/// Answers every byte later, on request, with a reply of that size, or never.
#[derive(Default)]
struct Late {
    owed: Vec<Deferred>,
}

impl Service for Late {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, (): &mut (), _: &[u8], exchange: &mut Exchange<'_>) -> Served {
        self.owed.push(exchange.defer());
        Served::Used(1)
    }
}

fn ended<S: Service>(site: &Site<S>, reason: Disconnect) -> u64 {
    site.server.metrics().disconnects(reason)
}

/// Sends as much as the server takes without reading anything.
fn flood<S: Service>(site: &mut Site<S>, client: &mut SimSocket) {
    for _ in 0..1000 {
        if client.write(&[7; 10_000]).is_err() {
            return;
        }
        site.run_until_idle();
    }
}

#[test]
fn a_missing_deferred_reply_is_not_awaited_without_end() {
    let mut site = Site::serving(Late::default(), NetFaults::none(), Limits::default());
    let mut client = site.connect();
    client.write_all(b"?").expect("room");
    client.shutdown_write().expect("open");
    site.run_until_idle();
    assert_eq!(site.server.connections(), 1, "it waits for its reply");
    let given_up = site.net.wakes_at().expect("but not without end");
    site.network.advance_to(given_up);
    site.run_until_idle();
    assert_eq!(site.server.connections(), 0);

    let mut client = site.connect();
    client.write_all(b"?").expect("room");
    site.run_until_idle();
    site.server.handle().stop();
    assert_eq!(site.run_until_idle(), Status::Running, "it may be answered yet");
    let deadline = site.net.wakes_at().expect("a stop has an end");
    assert!(deadline <= site.network.now() + Limits::default().drain_timeout);
    site.network.advance_to(deadline);
    assert_eq!(site.run_until_idle(), Status::Stopped);
    assert_eq!(ended(&site, Disconnect::Shutdown), 1);
}

#[test]
fn deferred_replies_completed_at_once_are_bounded() {
    let limits = Limits { output_hard_bytes: 1 << 20, ..Limits::default() };
    let mut site = Site::serving(Late::default(), NetFaults::none(), limits);
    let mut clients = [site.connect(), site.connect()];
    for client in &mut clients {
        client.write_all(b"??????????").expect("room");
    }
    site.run_until_idle();
    for (index, deferred) in std::mem::take(&mut site.server.context.service.owed).into_iter().enumerate() {
        deferred.complete(vec![0; if index < 10 { 200_000 } else { 200 }]);
    }
    site.run_until_idle();
    assert_eq!((ended(&site, Disconnect::OutputLimit), site.server.connections()), (1, 1));
}

/// Waits for a request that never ends.
struct Endless;

impl Service for Endless {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, (): &mut (), _: &[u8], _: &mut Exchange<'_>) -> Served {
        Served::Incomplete
    }
}

#[test]
fn the_largest_limits_are_no_limits() {
    for (request_bytes, too_large) in [(1 << 10, true), (usize::MAX - 1, false), (usize::MAX, false)] {
        let most = usize::MAX;
        let limits = Limits {
            request_bytes,
            client_memory: most,
            output_bytes: most,
            output_hard_bytes: most,
            handshake_bytes: most,
            refusals: most,
            write_rate: most,
            request_timeout: Duration::MAX,
            header_timeout: Duration::MAX,
            handshake_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
            half_close_timeout: Duration::MAX,
            drain_timeout: Duration::MAX,
            linger_timeout: Duration::MAX,
            handshake_slice: Duration::MAX,
            ..Limits::default()
        };
        let mut site = Site::serving(Endless, NetFaults::none(), limits);
        let mut client = site.connect();
        flood(&mut site, &mut client);
        let reason = site.server.peers.iter().next().and_then(|peer| peer.connection.reason());
        assert_eq!(reason == Some(Disconnect::TooLarge), too_large, "{request_bytes}");
        client.shutdown_write().expect("open");
        site.run_until_idle();
        site.server.handle().stop();
        site.run_until_idle();
    }
}

#[test]
fn clients_with_most_memory_are_closed_beyond_the_limit() {
    let limits = Limits { client_memory: 3 << 20, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits.clone());
    let mut honest = site.connect();
    let mut greedy: Vec<_> = (0..5).map(|_| site.connect()).collect();
    for client in &mut greedy {
        flood(&mut site, client);
        assert!(site.server.client_memory() <= limits.client_memory);
        honest.write_all(b"still here").expect("room");
        site.run_until_idle();
        assert_eq!(drain(&mut honest), (b"still here".to_vec(), false));
    }
    assert!(ended(&site, Disconnect::Memory) >= 2, "five times a megabyte do not fit");
    drop((greedy, honest));
    site.run_until_idle();
    assert_eq!((site.server.client_memory(), site.server.connections()), (0, 0));
}

#[test]
fn silent_clients_leave_memory_for_active_ones() {
    let limits = Limits { client_memory: 100 * memory::presence::<Echo>(false), refusals: 2, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    let mut first = site.connect();
    let mut crowd: Vec<_> = (0..200).map(|_| site.connect()).collect();
    site.run_until_idle();
    assert_eq!(site.server.connections(), 77, "three quarters, and two that are told");
    assert_eq!(drain(&mut crowd[75]), (b"connection refused: memory\n".to_vec(), true));
    assert_eq!(drain(&mut crowd[199]), (Vec::new(), true), "no more than that can be afforded");
    first.write_all(b"work").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut first), (b"work".to_vec(), false));
    assert_eq!(ended(&site, Disconnect::Memory), 124);
}

#[test]
fn one_address_at_its_limit_does_not_affect_others() {
    let limits = Limits { connections_per_address: Some(2), refusals: 1, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    let mut own: Vec<_> = (0..4).map(|_| site.connect()).collect();
    site.run_until_idle();
    assert_eq!(site.server.occupancy().addresses, 1);
    assert_eq!(drain(&mut own[2]), (b"connection refused: address_limit\n".to_vec(), true));
    assert_eq!(drain(&mut own[3]), (Vec::new(), true));
    let mut neighbour = site.connect_to(0, Some([10, 0, 0, 99].into()));
    neighbour.write_all(b"hello").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut neighbour), (b"hello".to_vec(), false));
    drop((own, neighbour));
    site.run_until_idle();
    assert_eq!(site.server.occupancy().addresses, 0);
    assert_eq!((ended(&site, Disconnect::AddressLimit), site.server.metrics().refused), (2, 2));
}

#[test]
fn behind_a_balancer_the_announced_address_counts() {
    let limits = Limits { connections_per_address: Some(1), ..Limits::default() };
    let balancers = [Subnet::from_str("0.0.0.0/0").expect("a range")].into();
    let listener = ListenerConfig { balancers, ..plain_listener() };
    let mut site = Site::behind(listener, Echo, NetFaults::none(), limits);
    let mut answers = Vec::new();
    let mut clients = Vec::new();
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        let mut client = site.connect();
        write!(client, "PROXY TCP4 {source} 10.0.0.2 1000 80\r\nhello").expect("room");
        site.run_until_idle();
        answers.push(String::from_utf8(drain(&mut client).0).expect("text"));
        clients.push(client);
    }
    assert_eq!(answers, ["hello", "hello", "connection refused: address_limit\n"]);
    let _health_check = site.connect().write_all(b"PROXY UNKNOWN\r\nhello");
    site.run_until_idle();
    assert_eq!(site.server.occupancy().addresses, 2, "nobody is announced");
}

#[test]
fn a_connection_that_closes_ends_the_pause_of_accepting() {
    let mut site = Site::new(NetFaults::none(), Limits::default());
    let leaves = site.connect();
    site.run_until_idle();
    site.server.listeners.pause_clients(site.network.now() + Duration::from_hours(1));
    let _waits = site.connect();
    site.run_until_idle();
    assert_eq!(site.server.metrics().accepted, 1);
    drop(leaves);
    site.run_until_idle();
    assert_eq!(site.server.metrics().accepted, 2, "its descriptor is free now");
}

/// Twenty clients connect, ask at once, are answered and leave at once. Nothing is left of them.
fn come_and_go<S: Service>(site: &mut Site<S>, request: &[u8], reply: &[u8]) {
    let mut clients: Vec<_> = (0..20).map(|_| site.connect()).collect();
    site.run_until_idle();
    for client in &mut clients {
        client.write_all(request).expect("room");
    }
    site.run_until_idle();
    for client in &mut clients {
        assert_eq!(drain(client), (reply.to_vec(), false));
    }
    drop(clients);
    site.run_until_idle();
    assert_eq!(site.server.occupancy(), Occupancy::default());
}

#[test]
fn many_simultaneous_clients_are_served_and_closed_in_steps() {
    let limits = Limits { peers_per_turn: 3, accepts_per_turn: 2, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    come_and_go(&mut site, b"all of us", b"all of us");
}

/// Holds 5,000 bytes for each byte received, and answers each with 100,000.
#[derive(Default)]
struct Generous {
    most: usize,
}

impl Service for Generous {
    type Session = usize;

    fn open(&mut self, _: &mut Exchange<'_>) -> usize {
        0
    }

    fn serve(&mut self, heard: &mut usize, _: &[u8], exchange: &mut Exchange<'_>) -> Served {
        *heard += 1;
        exchange.reply().extend_from_slice(&vec![7; 100_000]);
        Served::Used(1)
    }

    fn inspect(&self, heard: &usize) -> SessionState {
        SessionState { memory: 5_000 * heard, ..SessionState::default() }
    }

    fn tick(&mut self, env: &mut Environment) -> Tick {
        self.most = self.most.max(env.client_memory);
        Tick::default()
    }
}

#[test]
fn memory_of_sessions_counts_as_their_clients_memory() {
    let mut site = Site::serving(Generous::default(), NetFaults::none(), Limits::default());
    let mut client = site.connect();
    site.run_until_idle();
    let before = site.server.client_memory();
    client.write_all(b"?").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut client).0.len(), 100_000);
    assert_eq!(site.server.client_memory(), before + 5_000);
    drop(client);
    site.run_until_idle();
    assert_eq!(site.server.client_memory(), 0);
}

#[test]
fn replies_of_one_turn_stay_within_client_memory() {
    let limits = Limits { client_memory: 300_000, ..Limits::default() };
    let mut site = Site::serving(Generous::default(), NetFaults::none(), limits.clone());
    let mut clients: Vec<_> = (0..20).map(|_| site.connect()).collect();
    site.run_until_idle();
    for client in &mut clients {
        client.write_all(b"?").expect("room");
    }
    site.run_until_idle();
    for client in &mut clients {
        assert_eq!(drain(client).0.len(), 100_000, "everybody is served, some a turn later");
    }
    let most = site.server.service().most;
    assert!(most < limits.client_memory + 250_000, "{most} bytes were owed at once");
}

/// Holds three megabytes for each client that has asked, and counts the sessions that each turn closes.
#[derive(Default)]
struct Heavy {
    closed: usize,
    most_closed: usize,
}

impl Service for Heavy {
    type Session = bool;

    fn open(&mut self, _: &mut Exchange<'_>) -> bool {
        false
    }

    fn serve(&mut self, has_asked: &mut bool, _: &[u8], exchange: &mut Exchange<'_>) -> Served {
        *has_asked = true;
        exchange.reply().push(b'!');
        Served::Used(1)
    }

    fn inspect(&self, has_asked: &bool) -> SessionState {
        SessionState { memory: usize::from(*has_asked) * (3 << 20), ..SessionState::default() }
    }

    fn close(&mut self, _: bool, _: &PeerInfo) {
        self.closed += 1;
    }

    fn tick(&mut self, _: &mut Environment) -> Tick {
        self.most_closed = self.most_closed.max(std::mem::take(&mut self.closed));
        Tick::default()
    }
}

#[test]
fn sessions_that_hold_much_are_closed_a_few_a_turn() {
    let mut site = Site::serving(Heavy::default(), NetFaults::none(), Limits::default());
    come_and_go(&mut site, b"?", b"!");
    assert_eq!(site.server.service().most_closed, 2, "two hold more than one turn frees");
}

/// Is congested by every request, and then has lost the changes.
#[derive(Default)]
struct Narrow {
    looks: u32,
    is_lost: bool,
}

impl Service for Narrow {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, (): &mut (), _: &[u8], exchange: &mut Exchange<'_>) -> Served {
        if self.is_lost {
            exchange.reply().extend_from_slice(b"no");
            return Served::Used(1);
        }
        Served::Congested
    }

    fn tick(&mut self, _: &mut Environment) -> Tick {
        self.looks += 1;
        self.is_lost = self.looks > 3;
        let commits = if self.looks == 4 { CommitStatus::Lost } else { CommitStatus::Unchanged };
        Tick { commits, again_in: None }
    }
}

#[test]
fn congested_requests_are_served_again_after_a_loss() {
    let mut site = Site::serving(Narrow::default(), NetFaults::none(), Limits::default());
    let mut client = site.connect();
    client.write_all(b"?").expect("room");
    // Other clients keep the loop busy.
    let _others: Vec<_> = (0..8).map(|_| (site.connect(), site.run_until_idle())).collect();
    assert!(site.server.service().is_lost);
    assert_eq!(drain(&mut client), (b"no".to_vec(), false));
}

/// Connects to the `--admin` listener and sends `words`; returns the arrived bytes, and whether the stream has ended.
fn operate(site: &mut Site, words: &[u8]) -> (SimSocket, (Vec<u8>, bool)) {
    let mut operator = site.connect_to(1, None);
    let _ = operator.write_all(words);
    site.run_until_idle();
    let heard = drain(&mut operator);
    (operator, heard)
}

#[test]
fn operators_are_served_when_clients_have_reached_every_limit() {
    let presence = memory::presence::<Echo>(false);
    for limits in [
        Limits { connections: 2, refusals: 1, ..Limits::default() },
        Limits { connections_per_address: Some(2), refusals: 1, ..Limits::default() },
        Limits { client_memory: 4 * presence, refusals: 1, ..Limits::default() },
    ] {
        let mut site = Site::new(NetFaults::none(), limits.clone());
        let crowd: Vec<_> = (0..10).map(|_| site.connect()).collect();
        site.run_until_idle();
        let (refused, held) = (site.server.metrics().refused, site.server.client_memory());
        assert!(refused > 0, "{limits:?}");
        let (operator, heard) = operate(&mut site, b"is all well?");
        assert_eq!(heard, (b"is all well?".to_vec(), false), "{limits:?}");
        assert_eq!((site.server.metrics().refused, site.server.client_memory()), (refused, held), "{limits:?}");
        drop((crowd, operator));
        site.run_until_idle();
        assert_eq!((site.server.client_memory(), site.server.connections()), (0, 0), "{limits:?}");
    }
}

#[test]
fn operators_take_their_own_places_before_those_of_clients() {
    let limits = Limits { connections: 1, admin_connections: 2, refusals: 1, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    let served = [operate(&mut site, b"1"), operate(&mut site, b"2")];
    assert_eq!(served.each_ref().map(|(_, heard)| heard.clone()), [(b"1".to_vec(), false), (b"2".to_vec(), false)]);
    let mut client = site.connect();
    client.write_all(b"mine").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut client), (b"mine".to_vec(), false), "a client has its own place");
    let (newest, heard) = operate(&mut site, b"3");
    assert_eq!(heard, (b"3".to_vec(), false), "there is no place of either kind, so the oldest operator gives way");
    let [(mut first, _), (mut second, _)] = served;
    assert_eq!([drain(&mut first).1, drain(&mut second).1], [true, false]);
    assert_eq!((site.server.metrics().refused, site.server.connections()), (1, 3));
    client.write_all(b"mine").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut client), (b"mine".to_vec(), false), "and no client");
    drop(client);
    site.run_until_idle();
    let (third, heard) = operate(&mut site, b"again");
    assert_eq!(heard, (b"again".to_vec(), false), "an operator may take a client's place");
    let mut client = site.connect();
    site.run_until_idle();
    assert_eq!(drain(&mut client), (b"connection refused: refused\n".to_vec(), true));
    drop((first, second, newest, third, client));
    site.run_until_idle();
    assert_eq!(site.server.connections(), 0);
}

#[test]
fn operators_are_accepted_while_accepting_clients_pauses() {
    let mut site = Site::new(NetFaults::none(), Limits::default());
    site.server.listeners.pause_clients(site.network.now() + Duration::from_hours(1));
    let _waits = site.connect();
    assert_eq!(operate(&mut site, b"well?").1, (b"well?".to_vec(), false));
    assert_eq!(site.server.connections(), 1, "the client still waits");
}

#[test]
fn connections_with_too_many_handshakes_count_as_refused() {
    let limits = Limits { handshakes_per_address: Some(1), ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    let clock = Clock::at(NOW);
    let policy = ServerPolicy::new(TestPki::new().options(&clock)).expect("a policy");
    site.server.context.env.security[0] = Security::tls(Arc::new(policy));
    let crowd: Vec<_> = (0..3).map(|_| site.connect()).collect();
    site.run_until_idle();
    assert_eq!((ended(&site, Disconnect::AddressLimit), site.server.metrics().refused), (2, 2));
    drop(crowd);
}
