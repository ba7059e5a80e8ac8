//! Several loops that serve together.

use std::collections::BTreeSet;

use super::*;
use crate::net::sim::Network;
use crate::server::Servers;
use crate::testing::deliver;

/// Three loops on one address.
struct Crowd {
    network: Network,
    nets: Vec<SimNet>,
    loops: Vec<Server<SimNet, Echo>>,
    address: SocketAddr,
    operators: SocketAddr,
}

impl Crowd {
    fn new(limits: Limits) -> Self {
        let network = Network::new(1, NetFaults::none());
        let nets: Vec<SimNet> = (0..3).map(|_| network.host()).collect();
        let listener = ListenerConfig::new(([10, 0, 0, 2], 0).into(), Security::Plain);
        let watched = ListenerConfig { for_operators: true, ..listener.clone() };
        let (first, others) = (nets[0].clone(), nets[1..].to_vec());
        let servers = Servers::new(first, others, |_| Echo, vec![listener, watched], limits).expect("free ports");
        let addresses = servers.addresses();
        let loops = servers.into_loops();
        Self { network, nets, loops, address: addresses[0], operators: addresses[1] }
    }

    fn connect(&mut self) -> SimSocket {
        let socket = self.nets[0].connect(&self.address.into(), None).expect("begun");
        deliver(&self.network);
        socket
    }

    /// Runs all loops until they would sleep; returns which of them have stopped.
    fn run_until_idle(&mut self) -> Vec<bool> {
        let mut stopped = vec![false; self.loops.len()];
        loop {
            let mut is_idle = true;
            for (index, server) in self.loops.iter_mut().enumerate() {
                if stopped[index] {
                    continue;
                }
                match server.turn() {
                    Ok(status) => stopped[index] = status == Status::Stopped,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                is_idle &= stopped[index] || !self.nets[index].is_awake();
            }
            is_idle &= self.network.next_happening().is_none();
            deliver(&self.network);
            if is_idle && (0..3).all(|index| stopped[index] || !self.nets[index].is_awake()) {
                return stopped;
            }
        }
    }

    fn clients(&self) -> Vec<usize> {
        self.loops.iter().map(Server::connections).collect()
    }
}

#[test]
fn clients_are_spread_evenly_and_each_loop_serves_its_own() {
    let mut crowd = Crowd::new(Limits::default());
    let mut clients: Vec<_> = (0..60).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    assert_eq!(crowd.clients(), [20, 20, 20]);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("client {number}").as_bytes()).expect("room");
    }
    crowd.run_until_idle();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(drain(client).0, format!("client {number}").into_bytes());
    }
    let ids: BTreeSet<_> = crowd.loops.iter().flat_map(|server| server.peers.ids()).collect();
    let generations: BTreeSet<_> = ids.iter().map(|id| id.generation).collect();
    assert_eq!(generations.len(), 60, "no two connections have the same id");
    clients.truncate(10);
    crowd.run_until_idle();
    clients.extend((0..20).map(|_| crowd.connect()));
    crowd.run_until_idle();
    assert_eq!(crowd.clients(), [10, 10, 10], "newcomers go where there are fewest");
}

#[test]
fn the_limit_on_connections_is_exact_over_all_loops() {
    let mut crowd = Crowd::new(Limits { connections: 7, refusals: 2, ..Limits::default() });
    let mut clients: Vec<_> = (0..12).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    let mut outcome = [0; 3];
    for client in &mut clients {
        let _ = client.write_all(b"!");
    }
    crowd.run_until_idle();
    for client in &mut clients {
        match drain(client) {
            (reply, false) if reply == b"!" => outcome[0] += 1,
            (reply, _) if reply.starts_with(b"connection refused: ") => outcome[1] += 1,
            (reply, _) => {
                assert_eq!(reply, b"");
                outcome[2] += 1;
            }
        }
    }
    assert_eq!(outcome, [7, 2, 3]);
    clients.clear();
    crowd.run_until_idle();
    assert_eq!(crowd.clients().iter().sum::<usize>(), 0);
    clients.extend((0..7).map(|_| crowd.connect()));
    crowd.run_until_idle();
    assert_eq!(crowd.loops.iter().map(|server| server.metrics().refused).sum::<u64>(), 5, "all places are free again");
}

#[test]
fn the_limit_on_an_address_counts_its_connections_on_all_loops() {
    let mut crowd = Crowd::new(Limits { connections_per_address: Some(4), refusals: 0, ..Limits::default() });
    let clients: Vec<_> = (0..9).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    assert_eq!(crowd.clients().iter().sum::<usize>(), 4);
    drop(clients);
    crowd.run_until_idle();
    assert_eq!(crowd.loops[0].occupancy().addresses, 0);
}

#[test]
fn the_biggest_clients_of_all_loops_are_closed_for_memory() {
    let limits = Limits { client_memory: 3 << 20, ..Limits::default() };
    let mut crowd = Crowd::new(limits.clone());
    let mut honest: Vec<_> = (0..3).map(|_| crowd.connect()).collect();
    let mut greedy: Vec<_> = (0..6).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    for client in &mut greedy {
        // It reads nothing.
        while client.write(&[7; 16 << 10]).is_ok_and(|count| count > 0) {
            deliver(&crowd.network);
            crowd.run_until_idle();
        }
        assert!(crowd.loops.iter().all(|server| server.client_memory() <= limits.client_memory));
        for client in &mut honest {
            client.write_all(b"still here").expect("room");
        }
        deliver(&crowd.network);
        crowd.run_until_idle();
        for client in &mut honest {
            assert_eq!(drain(client), (b"still here".to_vec(), false), "a small client stays");
        }
    }
    let closed: u64 = crowd.loops.iter().map(|server| server.metrics().disconnects(Disconnect::Memory)).sum();
    assert!((3..6).contains(&closed), "six times a megabyte do not fit, {closed} were closed");
    drop((greedy, honest));
    deliver(&crowd.network);
    crowd.run_until_idle();
    let held: usize = crowd.loops.iter().map(|server| server.memory_account.total()).sum();
    assert_eq!((held, crowd.clients().iter().sum::<usize>()), (0, 0));
}

#[test]
fn a_stop_ends_every_loop_and_serves_what_waits_in_the_queue() {
    let mut crowd = Crowd::new(Limits::default());
    let mut clients: Vec<_> = (0..10).map(|_| crowd.connect()).collect();
    for client in &mut clients {
        client.write_all(b"request").expect("room");
    }
    deliver(&crowd.network);
    crowd.loops[2].handle().stop();
    assert_eq!(crowd.run_until_idle(), [false; 3], "clients must still read and close");
    for client in &mut clients {
        assert_eq!(drain(client), (b"request".to_vec(), true));
    }
    drop(clients);
    assert_eq!(crowd.run_until_idle(), [true; 3]);
}

#[test]
fn a_reload_reaches_every_loop_and_counts_once() {
    let mut crowd = Crowd::new(Limits::default());
    crowd.run_until_idle();
    let handle = crowd.loops[1].handle();
    handle.reload(vec![Security::Plain; 2]);
    handle.reload(vec![Security::Plain; 3]);
    handle.reload_refused();
    crowd.run_until_idle();
    let counts = |server: &Server<SimNet, Echo>| (server.metrics().reloads, server.metrics().reload_failures);
    assert_eq!(crowd.loops.iter().map(counts).collect::<Vec<_>>(), [(1, 2), (0, 0), (0, 0)]);
    assert!(crowd.loops.iter_mut().all(|server| server.membership.policy_changes().is_none()));
}

#[test]
fn counters_of_all_loops_are_summed_and_an_idle_loop_publishes_its_last() {
    let mut crowd = Crowd::new(Limits::default());
    let mut clients: Vec<_> = (0..6).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    for client in &mut clients {
        client.write_all(b"12345").expect("room");
    }
    crowd.run_until_idle();
    let wakes = crowd.nets.iter().filter_map(SimNet::wakes_at).max().expect("a publication is due");
    crowd.network.advance_to(wakes);
    crowd.run_until_idle();
    let total = crowd.loops[0].context.env.total_metrics();
    assert_eq!((total.accepted, total.bytes_received), (6, 30));
    assert!(crowd.nets.iter().all(|net| net.wakes_at().is_none()), "then all of them sleep");
}

#[test]
fn operators_stay_on_the_first_loop() {
    let mut crowd = Crowd::new(Limits::default());
    let _client = crowd.connect();
    let operators: Vec<_> =
        (0..5).map(|_| crowd.nets[0].connect(&crowd.operators.into(), None).expect("begun")).collect();
    deliver(&crowd.network);
    crowd.run_until_idle();
    assert_eq!(operators.len(), 5);
    assert_eq!(crowd.clients(), [6, 0, 0]);
}

#[test]
fn a_loop_that_has_ended_does_not_look_stalled() {
    let mut crowd = Crowd::new(Limits::default());
    let _client = crowd.connect();
    crowd.run_until_idle();
    let set = crowd.loops[0].membership.set().clone();
    set.stop();
    let stopped = crowd.run_until_idle();
    assert_eq!(stopped, [false, true, true], "the first loop waits for its client");
    let turns = set.turns();
    assert!(turns[1..].iter().all(|turns| turns % 2 == 0), "{turns:?}");
}

#[test]
fn loops_that_work_at_the_same_time_keep_one_memory_limit() {
    const CLIENTS: usize = 300;
    let limits = Limits { client_memory: 3 << 20, ..Limits::default() };
    let mut crowd = Crowd::new(limits.clone());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| crowd.connect()).collect();
    crowd.run_until_idle();
    for client in &mut clients {
        // It reads nothing.
        while client.write(&[7; 16 << 10]).is_ok_and(|count| count > 0) {}
    }
    deliver(&crowd.network);
    // All turns begin before the first one receives.
    for server in &mut crowd.loops {
        server.wait().expect("events");
    }
    for server in &mut crowd.loops {
        server.receive();
    }
    let held: usize = crowd.loops.iter().map(|server| server.memory_account.total()).sum();
    let largest = crowd.loops.iter().map(Server::largest_connection).max().expect("three loops");
    let most = limits.client_memory + 3 * (crate::server::loop_set::MEMORY_STEP + largest);
    assert!(held > limits.client_memory, "the clients would use more: {held}");
    assert!(held <= most, "{held} bytes are used, the limit is {}, so at most {most}", limits.client_memory);
}

#[test]
fn the_fixed_cost_of_a_client_that_arrives_is_never_missed() {
    let mut crowd = Crowd::new(Limits::default());
    let _clients: Vec<_> = (0..30).map(|_| crowd.connect()).collect();
    let presence = crate::server::memory::presence::<Echo>(false);
    let _ = crowd.loops[0].turn();
    assert_eq!(crowd.loops[0].membership.others_presence(presence), 20 * presence, "on their way");
    crowd.loops[1].take_arrivals();
    crowd.loops[2].take_arrivals();
    assert_eq!(crowd.loops[0].membership.others_presence(presence), 20 * presence, "taken, in the same turn");
}
