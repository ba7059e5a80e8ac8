//! What is under way, and what happens when it arrives.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use slab::Slab;

use super::end::{Breakage, EndId, EndWatch, SocketEnd, release};
use super::{NetFault, NetFaults, SimRandom};

/// Pieces that a dribbling write is cut into, besides its rest.
const PIECES: usize = 6;

/// Bytes in such a piece, at most.
const PIECE_BYTES: usize = 40;

/// Bytes after which a fault resets a connection, at most.
const RESET_BYTES: usize = 6_000;

/// Tokens of dropped sockets that are remembered, to report events that come too late.
const STALE_TOKENS: usize = 8;

/// All sockets of the simulation.
pub(super) struct State {
    pub(super) random: SimRandom,
    pub(super) faults: NetFaults,
    pub(super) injected: BTreeMap<NetFault, u64>,
    pub(super) base: Instant,
    pub(super) elapsed: Duration,
    pub(super) unix_ms: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) listeners: BTreeMap<SocketAddr, Backlog>,
    /// Addresses that never answer.
    pub(super) swallowed: BTreeSet<SocketAddr>,
    pub(super) ends: Slab<SocketEnd>,
    agenda: BinaryHeap<Entry>,
    serial: u64,
    pub(super) next_port: u16,
    pub(super) trace: Trace,
    pub(super) progress: u64,
}

/// One poller.
#[derive(Default)]
pub(super) struct Host {
    pub(super) ready: VecDeque<EventSource>,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) sleep: Sleep,
    /// Tokens of sockets that were dropped lately.
    pub(super) stale: VecDeque<usize>,
}

/// Whether a poller waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sleep {
    #[default]
    Awake,
    /// Until this instant; `None` waits for events alone.
    Until(Option<Instant>),
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum EventSource {
    SocketEnd(EndId),
    Listener(SocketAddr),
}

/// Connections that have arrived and wait to be accepted.
pub(super) struct Backlog {
    pub(super) watch: EndWatch,
    pub(super) waiting: VecDeque<(EndId, SocketAddr)>,
}

/// A scheduled event of the simulation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// Bytes arrive at an end.
    Bytes(EndId, usize),
    /// FIN arrives at an end.
    Fin(EndId),
    /// A reset arrives at an end.
    Reset(EndId),
    /// A client's connection request arrives.
    Arrival(SocketAddr, EndId),
    /// An event that was held back may be reported.
    Edge(EndId),
}

struct Entry {
    at: Duration,
    serial: u64,
    what: Happening,
}

impl Ord for Entry {
    /// The earliest is the greatest: a binary heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Entry {}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

/// A hash over everything that happened: kinds, names and sizes, not the bytes themselves (FNV-1a, 64 bits).
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn note(&mut self, words: &[u64]) {
        for byte in words.iter().flat_map(|word| word.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.0
    }
}

impl State {
    pub(super) fn new(seed: u64, faults: NetFaults, base: Instant) -> Self {
        Self {
            random: SimRandom::new(seed),
            faults,
            injected: BTreeMap::new(),
            base,
            elapsed: Duration::ZERO,
            // A fixed day in 2023, because the trace must not depend on the current date.
            unix_ms: 1_700_000_000_000,
            hosts: Vec::new(),
            listeners: BTreeMap::new(),
            swallowed: BTreeSet::new(),
            ends: Slab::new(),
            agenda: BinaryHeap::new(),
            serial: 0,
            next_port: 1024,
            trace: Trace(0xcbf2_9ce4_8422_2325),
            progress: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.base + self.elapsed
    }

    /// Whether `fault` happens now; counts it if it does.
    pub(super) fn strikes(&mut self, fault: NetFault) -> bool {
        let probability = self.faults.probability(fault);
        let strikes = probability > 0.0 && self.random.chance(probability);
        if strikes {
            *self.injected.entry(fault).or_default() += 1;
        }
        strikes
    }

    /// Advances the clock by the cost of one operation on a socket.
    pub(super) fn spend(&mut self) {
        self.pass(self.faults.call_cost);
    }

    fn pass(&mut self, time: Duration) {
        let before = self.elapsed.as_millis();
        self.elapsed += time;
        let passed = self.elapsed.as_millis() - before;
        self.unix_ms = self.unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
    }

    pub(super) fn end(&mut self, id: EndId) -> Option<&mut SocketEnd> {
        self.ends.get_mut(id.key).filter(|end| end.serial == id.serial)
    }

    pub(super) fn add_end(&mut self, local: SocketAddr) -> EndId {
        self.serial += 1;
        let serial = self.serial;
        EndId { key: self.ends.insert(SocketEnd::new(serial, local)), serial }
    }

    pub(super) fn schedule(&mut self, at: Duration, what: Happening) {
        self.serial += 1;
        self.agenda.push(Entry { at, serial: self.serial, what });
    }

    /// Some time from now, within the latency.
    pub(super) fn later(&mut self) -> Duration {
        self.elapsed + self.random.time(self.faults.latency)
    }

    /// When the next event happens.
    pub(super) fn next_happening(&self) -> Option<Instant> {
        self.agenda.peek().map(|entry| self.base + entry.at)
    }

    /// Advances the clock and runs every event that is due by then.
    pub(super) fn advance_to(&mut self, instant: Instant) {
        let target = instant.saturating_duration_since(self.base);
        let time = target.saturating_sub(self.elapsed);
        if time > Duration::ZERO {
            self.pass(time);
            if self.strikes(NetFault::ClockJump) {
                let jump = self.random.time(Duration::from_hours(1));
                self.pass(jump);
            }
            if self.strikes(NetFault::WallClockSet) {
                let day = 86_400_000;
                self.unix_ms = self.unix_ms.saturating_sub(day).saturating_add(self.random.below(2 * day));
            }
        }
        self.catch_up();
    }

    /// Runs every event that is due.
    pub(super) fn catch_up(&mut self) {
        while let Some(entry) = self.agenda.peek()
            && entry.at <= self.elapsed
        {
            if let Some(entry) = self.agenda.pop() {
                self.happen(entry.what);
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Bytes(id, count) => self.bytes_arrive(id, count),
            Happening::Fin(id) => {
                if let Some(end) = self.end(id) {
                    end.fin = true;
                    self.edge(id);
                }
            }
            Happening::Reset(id) => self.break_off(id, Breakage::Reset),
            Happening::Arrival(address, client) => self.arrive(address, client),
            Happening::Edge(id) => self.list(id),
        }
    }

    fn bytes_arrive(&mut self, id: EndId, count: usize) {
        let is_urgent = count > 0 && self.strikes(NetFault::UrgentData);
        let place = if is_urgent { self.random.size(0, count - 1) } else { 0 };
        let Some(end) = self.end(id) else { return };
        let count = count.min(end.in_flight.len());
        let bytes = end.in_flight.drain(..count);
        if end.closed {
            // Nobody will read them: the sender gets a reset.
            drop(bytes);
            if let Some(peer) = end.peer {
                let at = self.later();
                self.schedule(at, Happening::Reset(peer));
            }
            return;
        }
        let behind = end.inbox.len() + place.min(count);
        end.inbox.extend(bytes);
        // The kernel knows of one urgent byte at a time.
        if is_urgent && end.mark.is_none() {
            end.mark = Some(behind);
        }
        release(&mut end.in_flight);
        let left = end.reset_after.map(|left| left.saturating_sub(count));
        end.reset_after = left;
        if left == Some(0) {
            self.disturb(id);
        } else if count > 0 {
            self.edge(id);
        }
    }

    /// Resets a connection at both ends.
    fn disturb(&mut self, id: EndId) {
        let peer = self.end(id).and_then(|end| end.peer);
        for id in [Some(id), peer].into_iter().flatten() {
            if let Some(end) = self.end(id) {
                end.disturbed = true;
            }
            self.break_off(id, Breakage::Reset);
        }
    }

    pub(super) fn break_off(&mut self, id: EndId, how: Breakage) {
        if let Some(end) = self.end(id) {
            end.break_off(how);
            self.edge(id);
        }
    }

    fn arrive(&mut self, address: SocketAddr, client: EndId) {
        let Some(from) = self.end(client).filter(|end| !end.closed).map(|end| end.local) else { return };
        if self.swallowed.contains(&address) {
            return;
        }
        if !self.listeners.contains_key(&address) {
            return self.break_off(client, Breakage::Refused);
        }
        let server = self.add_end(address);
        let doomed = self.strikes(NetFault::Reset).then(|| 1 + self.random.size(0, RESET_BYTES));
        let server_is_hit = self.random.chance(0.5);
        for (id, peer, is_hit) in [(client, server, !server_is_hit), (server, client, server_is_hit)] {
            if let Some(end) = self.end(id) {
                end.peer = Some(peer);
                end.connected = true;
                end.reset_after = doomed.filter(|_| is_hit);
            }
        }
        self.edge(client);
        if let Some(backlog) = self.listeners.get_mut(&address) {
            backlog.waiting.push_back((server, from));
        }
        self.list_listener(address);
    }

    /// The readiness of an end has changed: reports it to its owner, perhaps late.
    pub(super) fn edge(&mut self, id: EndId) {
        if self.end(id).is_none_or(|end| end.watch.is_none()) {
            return;
        }
        if self.strikes(NetFault::LateEvent) {
            let at = self.later() + Duration::from_micros(1);
            self.schedule(at, Happening::Edge(id));
        } else {
            self.list(id);
        }
    }

    fn list(&mut self, id: EndId) {
        let Some(watch) = self.end(id).and_then(|end| end.watch.as_mut()) else { return };
        let host = watch.host;
        if !std::mem::replace(&mut watch.listed, true)
            && let Some(host) = self.hosts.get_mut(host)
        {
            host.ready.push_back(EventSource::SocketEnd(id));
        }
    }

    pub(super) fn list_listener(&mut self, address: SocketAddr) {
        let Some(backlog) = self.listeners.get_mut(&address) else { return };
        let host = backlog.watch.host;
        if !std::mem::replace(&mut backlog.watch.listed, true)
            && let Some(host) = self.hosts.get_mut(host)
        {
            host.ready.push_back(EventSource::Listener(address));
        }
    }

    /// Sends written bytes to `to`, in one piece or in several.
    pub(super) fn send(&mut self, to: EndId, bytes: &[u8]) {
        let mut left = bytes.len();
        if self.strikes(NetFault::Dribble) {
            for _ in 0..PIECES {
                let piece = self.random.size(1, PIECE_BYTES).min(left);
                left -= piece;
                self.dispatch(to, |to| Happening::Bytes(to, piece));
            }
        }
        self.dispatch(to, |to| Happening::Bytes(to, left));
        if let Some(end) = self.end(to) {
            end.in_flight.extend(bytes);
        }
    }

    /// Schedules an event that must not overtake the bytes before it.
    pub(super) fn dispatch(&mut self, to: EndId, what: impl FnOnce(EndId) -> Happening) {
        let at = self.later();
        let Some(end) = self.end(to) else { return };
        let at = at.max(end.last_arrival);
        end.last_arrival = at;
        self.schedule(at, what(to));
    }

    /// Bytes were taken from the inbox of `reader`: its peer may write again.
    pub(super) fn make_room(&mut self, reader: EndId) {
        let (window, now) = (self.faults.window, self.now());
        let Some(end) = self.end(reader) else { return };
        let writer = end.peer;
        if let Some(since) = writer.and_then(|writer| self.end(writer)?.stuck_since.as_mut()) {
            *since = now;
        }
        let Some(end) = self.end(reader) else { return };
        // Like Linux, which does not wake a writer for less than a third of its buffer.
        let roomy = end.pending() <= window - window.div_ceil(3);
        let Some(writer) = end.peer.filter(|_| roomy) else { return };
        if self.end(writer).is_some_and(|end| std::mem::take(&mut end.starved)) {
            self.edge(writer);
        }
    }

    /// The socket of an end was dropped.
    pub(super) fn close(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        let (peer, silent) = (end.peer, end.broken.is_some() || end.write_shut);
        let resets = !end.inbox.is_empty() || end.resets;
        let watch = end.watch.take();
        end.closed = true;
        end.inbox.clear();
        if let Some(watch) = watch
            && let Some(host) = self.hosts.get_mut(watch.host)
        {
            host.stale.push_back(watch.token);
            if host.stale.len() > STALE_TOKENS {
                host.stale.pop_front();
            }
        }
        match peer {
            // Unread bytes make the kernel send a reset, which overtakes and destroys what is still under way.
            Some(peer) if resets => {
                let at = self.later();
                self.schedule(at, Happening::Reset(peer));
            }
            Some(peer) if !silent => self.dispatch(peer, Happening::Fin),
            _ => {}
        }
        self.forget(id, peer);
    }

    /// Frees a connection that is no longer held. Events still scheduled for it find another serial number.
    fn forget(&mut self, id: EndId, peer: Option<EndId>) {
        let peer_is_open = peer.and_then(|peer| self.end(peer)).is_some_and(|end| !end.closed);
        if !peer_is_open {
            for id in [Some(id), peer].into_iter().flatten() {
                if self.end(id).is_some() {
                    self.ends.try_remove(id.key);
                }
            }
        }
    }
}
