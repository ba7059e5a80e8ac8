//! The loops of one process: what they share, and how a new connection finds its loop.
//!
//! Each loop is a [`Server`](super::Server) of its own. They share a few atomic counts, which each loop publishes once a
//! turn, the policies, and the order to stop. The first loop accepts: one place that admits keeps the limits exact. It
//! hands each connection to the loop that has the fewest.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::memory_account::MemoryAccount;
use crate::access::Security;
use crate::connection::SharedAddresses;
use crate::disconnect::Disconnect;
use crate::metrics::{Metrics, Published};
use crate::net::Wake;
use crate::timer::after;

/// How long counters of one loop may stay unpublished: copying them costs a lock and half a kilobyte.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// By how much the memory of a loop's clients may change, in bytes, before other loops see it: reading theirs visits each
/// loop. Loops that work at the same time may exceed the limit by this much each.
pub(super) const MEMORY_STEP: usize = 64 << 10;

/// What the loops of one process share.
pub(super) struct LoopSet {
    loops: Box<[LoopState]>,
    /// No new connections; finish what was received.
    stop: AtomicBool,
    /// A loop has failed: all others end at once.
    abandoned: AtomicBool,
    /// The first loop has accepted its last connection.
    accepting_ended: AtomicBool,
    policies: Mutex<Policies>,
    /// How many orders `policies` has received.
    orders: AtomicU64,
    addresses: SharedAddresses,
    published: Published,
}

/// What one loop publishes.
struct LoopState {
    wake: Wake,
    /// Its clients, as [`Server::clients`](super::Server::clients) counts them.
    clients: AtomicUsize,
    /// Connections handed to it that it has not taken yet.
    arriving: AtomicUsize,
    /// The memory of its clients, and the part of it that is their fixed cost.
    memory: AtomicUsize,
    presence: AtomicUsize,
    /// The size class of its biggest client.
    largest: AtomicU32,
    /// Grows by one when a turn begins, and when it ends: odd while the loop works, even while it polls.
    turns: AtomicU64,
}

impl LoopState {
    fn new(wake: Wake) -> Self {
        Self {
            wake,
            clients: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            memory: AtomicUsize::new(0),
            presence: AtomicUsize::new(0),
            largest: AtomicU32::new(0),
            turns: AtomicU64::new(0),
        }
    }
}

/// The newest policies, and how many there have been.
#[derive(Default)]
struct Policies {
    security: Vec<Security>,
    adopted: u64,
    refused: u64,
}

/// A connection that the first loop has accepted for another one.
pub(super) struct Arrival<K> {
    pub(super) listener: usize,
    pub(super) socket: K,
    pub(super) address: SocketAddr,
    /// Why it is refused.
    pub(super) refusal: Option<Disconnect>,
}

/// New policies, and how often they changed since the last look.
pub(super) struct Changes {
    /// `None` if the newest order was a refusal only.
    pub(super) security: Option<Vec<Security>>,
    pub(super) adopted: u64,
    pub(super) refused: u64,
}

/// One loop's part in its set.
pub(super) struct LoopMember<K> {
    set: Arc<LoopSet>,
    index: usize,
    arrivals: mpsc::Receiver<Arrival<K>>,
    /// How to hand a connection to each loop; empty in all but the first.
    senders: Vec<mpsc::Sender<Arrival<K>>>,
    /// The memory of other loops' clients, as last read.
    others_memory: usize,
    /// Orders that this loop has followed: adopted and refused ones.
    adopted: u64,
    refused: u64,
    published_at: Instant,
    /// When counters that have changed are published.
    publish_at: Option<Instant>,
}

impl LoopSet {
    /// A set of a first loop, which accepts, and others; each is woken by its value. There are as many listeners as
    /// `security` has values.
    pub(super) fn of_loops<K>(
        first: Wake,
        others: Vec<Wake>,
        security: &[Security],
        now: Instant,
    ) -> (LoopMember<K>, Vec<LoopMember<K>>) {
        let loops: Box<[LoopState]> = std::iter::once(first).chain(others).map(LoopState::new).collect();
        let set = Arc::new(Self {
            published: Published::new(loops.len()),
            loops,
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            accepting_ended: AtomicBool::new(false),
            policies: Mutex::new(Policies { security: security.to_vec(), ..Policies::default() }),
            orders: AtomicU64::new(0),
            addresses: SharedAddresses::default(),
        });
        let member = |index: usize, (sender, arrivals)| {
            let member = LoopMember {
                set: Arc::clone(&set),
                index,
                arrivals,
                senders: Vec::new(),
                others_memory: 0,
                adopted: 0,
                refused: 0,
                published_at: now,
                publish_at: None,
            };
            (sender, member)
        };
        let (sender, mut first) = member(0, mpsc::channel());
        let (senders, others): (Vec<_>, Vec<_>) =
            (1..set.loops.len()).map(|index| member(index, mpsc::channel())).unzip();
        first.senders = std::iter::once(sender).chain(senders).collect();
        (first, others)
    }

    pub(super) fn wake_all(&self) {
        self.loops.iter().for_each(|state| (state.wake)());
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// A loop has failed: the others end at their next turn.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.wake_all();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Replaces the policies for all loops at once: a turn that begins after this uses them.
    pub(super) fn adopt(&self, security: Vec<Security>) {
        let mut policies = self.policies();
        if security.len() == policies.security.len() {
            policies.security = security;
            policies.adopted += 1;
        } else {
            policies.refused += 1;
        }
        self.order(policies);
    }

    /// Counts new policies that were invalid.
    pub(super) fn refuse(&self) {
        let mut policies = self.policies();
        policies.refused += 1;
        self.order(policies);
    }

    fn order(&self, policies: MutexGuard<'_, Policies>) {
        self.orders.fetch_add(1, Ordering::Release);
        drop(policies);
        self.wake_all();
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of each loop: odd while it works. A loop with the same odd number a second later has stalled.
    pub(super) fn turns(&self) -> Vec<u64> {
        self.loops.iter().map(|state| state.turns.load(Ordering::Relaxed)).collect()
    }
}

impl<K> LoopMember<K> {
    pub(super) fn set(&self) -> &Arc<LoopSet> {
        &self.set
    }

    /// The loop's index: the first one accepts.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// How many loops there are.
    pub(super) fn loops(&self) -> usize {
        self.set.loops.len()
    }

    fn is_alone(&self) -> bool {
        self.loops() == 1
    }

    pub(super) fn addresses(&self) -> SharedAddresses {
        self.set.addresses.clone()
    }

    /// The counters of all loops.
    pub(super) fn published(&self) -> Published {
        self.set.published.of_loop(self.index)
    }

    fn others(&self) -> impl Iterator<Item = (usize, &LoopState)> {
        self.set.loops.iter().enumerate().filter(|(index, _)| *index != self.index)
    }

    fn own(&self) -> Option<&LoopState> {
        self.set.loops.get(self.index)
    }

    /// The turn ends: the loop polls, or has ended.
    pub(super) fn end_turn(&self) {
        self.count_turn(0);
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        if !self.is_alone() {
            self.others_memory = self.memory_of_others();
            self.count_turn(1);
        }
    }

    fn count_turn(&self, parity: u64) {
        if let Some(own) = self.own().filter(|_| !self.is_alone()) {
            let turns = own.turns.load(Ordering::Relaxed);
            own.turns.store(turns + u64::from(turns % 2 != parity), Ordering::Relaxed);
        }
    }

    /// The memory of this loop's clients has changed. If it has changed much, it is published, and that of other loops is
    /// read: with figures from the beginning of a turn, each loop would use all of the memory that is left.
    pub(super) fn note_memory(&mut self, total: usize) {
        let Some(own) = self.own().filter(|_| !self.is_alone()) else { return };
        if own.memory.load(Ordering::Relaxed).abs_diff(total) >= MEMORY_STEP {
            own.memory.store(total, Ordering::Relaxed);
            self.others_memory = self.memory_of_others();
        }
    }

    /// The memory of other loops' clients.
    pub(super) fn others_memory(&self) -> usize {
        self.others_memory
    }

    /// The clients of other loops, those on their way to one included.
    pub(super) fn others_clients(&self) -> usize {
        // What arrives is read first: a loop publishes a client before it counts it as arrived.
        let count = |state: &LoopState| state.arriving.load(Ordering::Acquire) + state.clients.load(Ordering::Acquire);
        self.others().map(|(_, state)| count(state)).sum()
    }

    /// The connections of all loops, where this one has `own`.
    pub(super) fn clients_of_all(&self, own: usize) -> usize {
        own + self.others_clients()
    }

    /// The fixed cost of other loops' clients, where each one on its way costs `presence`.
    pub(super) fn others_presence(&self, presence: usize) -> usize {
        let count = |state: &LoopState| {
            let arriving = state.arriving.load(Ordering::Acquire).saturating_mul(presence);
            state.presence.load(Ordering::Relaxed).saturating_add(arriving)
        };
        self.others().map(|(_, state)| count(state)).fold(0, usize::saturating_add)
    }

    /// The loop with the fewest clients, where this one has `clients`; `None` if that is this one.
    pub(super) fn least_loaded(&self, clients: usize) -> Option<usize> {
        let count = |state: &LoopState| state.arriving.load(Ordering::Acquire) + state.clients.load(Ordering::Acquire);
        let least = self.others().map(|(index, state)| (count(state), index)).min()?;
        (least.0 < clients).then_some(least.1)
    }

    /// Hands a connection to the loop `index`.
    pub(super) fn hand_over(&self, index: usize, arrival: Arrival<K>) {
        let (Some(state), Some(sender)) = (self.set.loops.get(index), self.senders.get(index)) else { return };
        state.arriving.fetch_add(1, Ordering::AcqRel);
        // It fails only if that loop has failed, and with it the process.
        if sender.send(arrival).is_ok() {
            (state.wake)();
        }
    }

    /// Takes a connection that was handed to this loop.
    pub(super) fn take_arrival(&self) -> Option<Arrival<K>> {
        self.arrivals.try_recv().ok()
    }

    /// `count` arrivals are among this loop's `clients` now.
    pub(super) fn arrived(&self, count: usize, clients: usize, account: &MemoryAccount) {
        if let Some(own) = self.own().filter(|_| count > 0) {
            own.clients.store(clients, Ordering::Release);
            // Before they are no longer counted as arriving, or their fixed cost would be missed until the turn ends.
            own.presence.store(account.presence(), Ordering::Relaxed);
            own.arriving.fetch_sub(count, Ordering::AcqRel);
        }
    }

    /// How many connections wait to be taken.
    pub(super) fn arriving(&self) -> usize {
        self.own().filter(|_| !self.is_alone()).map_or(0, |own| own.arriving.load(Ordering::Acquire))
    }

    /// Whether this loop is handed no more connections.
    pub(super) fn has_last_arrival(&self) -> bool {
        (self.index == 0 || self.set.accepting_ended.load(Ordering::Acquire)) && self.arriving() == 0
    }

    /// The first loop has closed its listeners.
    pub(super) fn end_accepting(&self) {
        if self.index == 0 && !self.set.accepting_ended.swap(true, Ordering::AcqRel) && !self.is_alone() {
            self.set.wake_all();
        }
    }

    /// The changes of policies since the last call.
    pub(super) fn policy_changes(&mut self) -> Option<Changes> {
        if self.set.orders.load(Ordering::Acquire) == self.adopted + self.refused {
            return None;
        }
        let policies = self.set.policies();
        let (adopted, refused) = (policies.adopted - self.adopted, policies.refused - self.refused);
        let security = (adopted > 0).then(|| policies.security.clone());
        (self.adopted, self.refused) = (policies.adopted, policies.refused);
        Some(Changes { security, adopted, refused })
    }

    /// Publishes the state of this loop, at the end of a turn.
    pub(super) fn publish(&mut self, clients: usize, account: &MemoryAccount, metrics: &Metrics, now: Instant) {
        if self.is_alone() {
            return;
        }
        self.publish_memory(account);
        if let Some(own) = self.own() {
            own.clients.store(clients, Ordering::Release);
        }
        let due = after(self.published_at, PUBLISH_EVERY);
        if due <= now {
            self.published().publish(metrics);
            (self.published_at, self.publish_at) = (now, None);
        } else {
            self.publish_at = Some(due);
        }
    }

    pub(super) fn publish_memory(&self, account: &MemoryAccount) {
        if let Some(own) = self.own().filter(|_| !self.is_alone()) {
            own.memory.store(account.total(), Ordering::Relaxed);
            own.presence.store(account.presence(), Ordering::Relaxed);
            // Last: a loop that sees that the biggest client has gone must see that its memory has, too.
            own.largest.store(account.largest_class(), Ordering::Release);
        }
    }

    /// How long counters may wait to be published.
    pub(super) fn until_publication(&self, now: Instant) -> Option<Duration> {
        self.publish_at.map(|at| at.saturating_duration_since(now))
    }

    /// Whether no other loop has a bigger client than this one. If one has, it is woken, so that it closes that client.
    /// The memory of other loops is read anew.
    pub(super) fn has_biggest(&mut self, account: &MemoryAccount) -> bool {
        if self.is_alone() {
            return true;
        }
        self.publish_memory(account);
        let rank = |index: usize, class: u32| (class, std::cmp::Reverse(index));
        let others = self.others().map(|(index, state)| (rank(index, state.largest.load(Ordering::Acquire)), state));
        let biggest = others.max_by_key(|(rank, _)| *rank);
        let bigger = biggest.filter(|(other, _)| *other > rank(self.index, account.largest_class()));
        let is_biggest = bigger.is_none();
        if let Some((_, state)) = bigger {
            (state.wake)();
        }
        self.others_memory = self.memory_of_others();
        is_biggest
    }

    fn memory_of_others(&self) -> usize {
        self.others().map(|(_, state)| state.memory.load(Ordering::Relaxed)).fold(0, usize::saturating_add)
    }
}
