//! The loop on a simulated network, one property at a time. The simulation in `tests/` tests all of them together.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use super::*;
use crate::net::sim::{NetFault, NetFaults, SimNet, SimSocket};
use crate::net::{Address, Target};
use crate::services::{Echo, Splice, UpstreamSecurity};
use crate::testing::{Site, drain, plain_listener};

mod certificates;
mod guard;
mod linked;
mod loops;
mod slow;

#[test]
fn a_stop_serves_everything_that_has_arrived() {
    let mut faults = NetFaults::none();
    // The loop learns of one client at a time: it knows nothing of most of them when it begins to stop.
    faults.events_per_poll = 1;
    let mut site = Site::new(faults, Limits::default());
    let mut clients: Vec<_> = (0..5).map(|_| site.connect()).collect();
    site.run_until_idle();
    for client in &mut clients {
        // More than is read in one turn.
        client.write_all(&vec![7; 150_000]).expect("room");
    }
    site.deliver();
    site.server.handle().stop();
    site.run_until_idle();
    for client in &mut clients {
        let (received, ended) = drain(client);
        assert_eq!((received.len(), ended), (150_000, true));
    }
    clients.clear();
    site.deliver();
    assert_eq!(site.run_until_idle(), Status::Stopped);
    assert_eq!(site.server.occupancy().connections, 0);
}

#[test]
fn accepting_resumes_after_descriptors_ran_out() {
    let mut faults = NetFaults::none();
    faults.set(NetFault::AcceptExhausted, 1.0);
    let mut site = Site::new(faults, Limits::default());
    let _client = site.connect();
    site.run_until_idle();
    assert_eq!((site.server.connections(), site.server.metrics().accept_pauses), (0, 1));
    site.network.calm();
    site.run_until_idle();
    assert_eq!(site.server.connections(), 0, "no event tells that a descriptor is free");
    let resumes = site.net.wakes_at().expect("a timer does");
    site.network.advance_to(resumes);
    site.run_until_idle();
    assert_eq!(site.server.connections(), 1);
}

#[test]
fn a_spurious_event_makes_no_connection() {
    let [silent, speaking] = [9, 7].map(|host| SocketAddr::from(([10, 0, 0, host], 80)));
    let target = Target::new(vec![Address::Tcp(silent), Address::Tcp(speaking)]).0;
    let mut faults = NetFaults::none();
    faults.set(NetFault::SpuriousEvent, 0.5);
    let splice = Splice::new(target, UpstreamSecurity::Plain, false);
    let mut site = Site::serving(splice, faults, Limits::default());
    site.network.swallow(silent);
    let _listener = site.network.host().listen(speaking, 1).expect("a free address");
    let _client = site.connect();
    site.run_until_idle();
    assert!(site.network.injected().contains_key(&NetFault::SpuriousEvent));
    assert_eq!((site.server.metrics().dialed, site.server.metrics().unreachable), (1, 0));
    site.network.advance_to(site.network.now() + Limits::default().connect_timeout);
    site.run_until_idle();
    assert_eq!((site.server.metrics().dialed, site.server.metrics().unreachable), (2, 1), "the next one is tried");
}

#[test]
fn a_full_server_sends_refusals_up_to_a_limit() {
    let limits = Limits { connections: 1, refusals: 1, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits);
    let [mut served, mut told, mut dropped] = [(); 3].map(|()| site.connect());
    served.write_all(b"hello").expect("room");
    site.run_until_idle();
    assert_eq!(drain(&mut served), (b"hello".to_vec(), false));
    assert_eq!(drain(&mut told), (b"connection refused: refused\n".to_vec(), true));
    assert_eq!(drain(&mut dropped), (Vec::new(), true));
    assert_eq!(site.server.metrics().refused, 2);
    drop((told, dropped));
    site.run_until_idle();
    let mut next = site.connect();
    site.run_until_idle();
    assert!(drain(&mut next).0.starts_with(b"connection refused"), "the first one is still there");
    drop((served, next));
    site.run_until_idle();
    assert_eq!(site.server.occupancy().connections, 0);
}

#[test]
fn reading_continues_after_urgent_data() {
    let mut faults = NetFaults::none();
    faults.set(NetFault::UrgentData, 1.0);
    let mut site = Site::new(faults, Limits::default());
    let mut client = site.connect();
    site.run_until_idle();
    let mut heard = 0;
    for sent in 1..=20 {
        client.write_all(&[7; 1000]).expect("room");
        site.run_until_idle();
        // The client's own reads end before urgent data, too.
        while let Ok(count) = client.read(&mut [0; 2000]) {
            heard += count;
        }
        assert_eq!(heard, sent * 1000);
    }
    assert!(site.network.injected().contains_key(&NetFault::UrgentData));
}

#[test]
fn a_backend_with_a_full_queue_is_dialed_again_after_a_pause() {
    let behind = SocketAddr::from(([10, 0, 0, 7], 80));
    let target = Target::new(vec![Address::Tcp(behind)]).0;
    let splice = Splice::new(target, UpstreamSecurity::Plain, false);
    let mut site = Site::serving(splice, NetFaults::none(), Limits::default());
    let mut net = site.network.host();
    let listener = net.listen(behind, 1).expect("a free address");
    let mut clients: Vec<_> = (0..20_u8).map(|number| (number, site.connect())).collect();
    site.network.set(NetFault::ConnectBusy, 1.0);
    for (number, client) in &mut clients {
        client.write_all(&[*number]).expect("room");
    }
    site.run_until_idle();
    let mut turns = 0;
    let half = site.network.now() + Limits::default().connect_timeout / 2;
    while let Some(wakes) = site.net.wakes_at().filter(|wakes| *wakes < half) {
        site.network.advance_to(wakes);
        site.run_until_idle();
        turns += 1;
    }
    let tries = site.network.injected().get(&NetFault::ConnectBusy).copied().unwrap_or(0);
    // A hundred times a second, however many clients wait.
    assert!(turns <= 251 && tries <= 252, "{turns} turns, {tries} tries");
    assert_eq!((site.server.metrics().unreachable, site.server.occupancy().queued), (0, 20));
    site.network.calm();
    let wakes = site.net.wakes_at().expect("somebody waits");
    site.network.advance_to(wakes);
    site.run_until_idle();
    let mut servers: Vec<_> = std::iter::from_fn(|| net.accept(&listener).ok()).map(|(socket, _)| socket).collect();
    site.run_until_idle();
    let mut heard: Vec<_> = servers.iter_mut().map(|server| drain(server).0).collect();
    heard.sort();
    assert_eq!(heard, (0..20).map(|number| vec![number]).collect::<Vec<_>>());
    assert_eq!(site.server.metrics().dialed, 20);
}

#[test]
fn a_backend_whose_queue_stays_full_is_unreachable_after_the_connect_timeout() {
    let behind = SocketAddr::from(([10, 0, 0, 7], 80));
    let target = Target::new(vec![Address::Tcp(behind)]).0;
    let splice = Splice::new(target, UpstreamSecurity::Plain, false);
    let mut site = Site::serving(splice, NetFaults::none(), Limits::default());
    let mut client = site.connect();
    let leaves = site.connect();
    site.network.set(NetFault::ConnectBusy, 1.0);
    site.run_until_idle();
    drop(leaves);
    let begun = site.network.now();
    while site.server.metrics().unreachable == 0 {
        let wakes = site.net.wakes_at().expect("somebody waits");
        site.network.advance_to(wakes);
        site.run_until_idle();
    }
    let waited = site.network.now() - begun;
    let limit = Limits::default().connect_timeout;
    assert!(waited >= limit && waited < limit + Duration::from_secs(1), "{waited:?}");
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    drop(client);
    site.network.advance_to(site.network.now() + limit);
    site.run_until_idle();
    assert_eq!((site.server.occupancy().connections, site.server.occupancy().queued), (0, 0));
}
