//! The connections of one loop, by ids that may safely outlive them.

use std::time::Instant;

use slab::Slab;

use super::memory_account::MemoryShare;
use crate::connection::{Connection, Link, PeerId, Service};

/// One connection and its socket.
pub(super) struct Peer<K, S: Service> {
    pub(super) socket: K,
    pub(super) connection: Connection<S>,
    /// On a queue of work. Invariant: it is on exactly one, once.
    pub(super) queued: bool,
    /// On the list of peers to transmit to.
    pub(super) to_transmit: bool,
    /// On the list of peers that wait for durable changes.
    pub(super) held: bool,
    pub(super) deadline_entries: DeadlineEntries,
    pub(super) memory_share: MemoryShare,
    standing: Standing,
}

/// How a peer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Client,
    Operator,
    Dialed,
    /// It was dialed for a client that has gone.
    Orphan,
}

/// A peer's entries in the deadline queue, as far as they matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeadlineEntries {
    /// The earliest live entry.
    next: Option<Instant>,
    /// A later one that was live before it. It is kept so that it need not be inserted again: a peer whose deadline
    /// alternates between near and far must not leave new entries every time.
    later: Option<Instant>,
}

impl DeadlineEntries {
    /// Sets the deadline; returns whether an entry must be inserted for it.
    pub(super) fn set(&mut self, deadline: Instant) -> bool {
        match self.next {
            Some(next) if next <= deadline => return false,
            Some(next) => self.later = self.later.max(Some(next)),
            None => {}
        }
        self.next = Some(deadline);
        true
    }

    /// An entry fires; returns whether it is the live one.
    pub(super) fn fire(&mut self, now: Instant) -> bool {
        let is_live = self.next.is_some_and(|next| next <= now);
        if is_live {
            self.next = self.later.take();
        }
        is_live
    }
}

impl<K, S: Service> Peer<K, S> {
    pub(super) fn new(socket: K, connection: Connection<S>) -> Self {
        let (deadline_entries, memory_share) = (DeadlineEntries::default(), MemoryShare::default());
        let info = connection.info();
        let standing = match (info.is_dialed(), info.is_operator) {
            (true, _) => Standing::Dialed,
            (false, true) => Standing::Operator,
            (false, false) => Standing::Client,
        };
        Self {
            socket,
            connection,
            queued: false,
            to_transmit: false,
            held: false,
            deadline_entries,
            memory_share,
            standing,
        }
    }
}

/// A slab of peers, each boxed: a slab of a million unboxed peers would copy a gigabyte when it grows.
///
/// Invariant: a slot is freed only by [`reap`](Self::reap), at the end of a turn.
pub(super) struct Peers<K, S: Service> {
    slab: Slab<Box<Peer<K, S>>>,
    closed: Vec<PeerId>,
    /// How many were dialed.
    dialed: usize,
    /// How many belong to `--admin` listeners.
    operators: usize,
    /// How many were dialed for clients that have gone.
    orphans: usize,
    generation: u32,
    /// How many loops give ids. Each gives every `loops`-th generation, so that no two connections of one process have
    /// the same id.
    loops: u32,
}

impl<K, S: Service> Peers<K, S> {
    /// No peers, on the loop `index` of `loops`.
    pub(super) fn new(index: usize, loops: usize) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or_default();
        let (generation, loops) = (number(index), number(loops).max(1));
        Self { slab: Slab::new(), closed: Vec::new(), dialed: 0, operators: 0, orphans: 0, generation, loops }
    }

    /// The id of the next inserted peer.
    pub(super) fn next_id(&mut self) -> PeerId {
        // The highest generation is reserved for the tokens of listeners and the waker.
        let end = u32::MAX - u32::MAX % self.loops;
        let next = (u64::from(self.generation) + u64::from(self.loops)) % u64::from(end);
        self.generation = u32::try_from(next).unwrap_or_default();
        // Descriptors have 32 bits, so slots have too.
        let key = u32::try_from(self.slab.vacant_key()).unwrap_or(u32::MAX);
        PeerId { key, generation: self.generation }
    }

    /// Adds a peer under the id returned by [`next_id`](Self::next_id).
    pub(super) fn insert(&mut self, peer: Peer<K, S>) {
        let id = peer.connection.id();
        self.dialed += usize::from(peer.standing == Standing::Dialed);
        self.operators += usize::from(peer.standing == Standing::Operator);
        let key = self.slab.insert(Box::new(peer));
        debug_assert_eq!(key, id.key as usize, "the slot changed between naming and inserting");
    }

    /// The peer with exactly this id; `None` if its slot is empty or has been reused.
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer<K, S>> {
        let peer = self.slab.get_mut(id.key as usize)?;
        (peer.connection.id() == id).then_some(peer)
    }

    /// As [`get_mut`](Self::get_mut), read-only.
    pub(super) fn get(&self, id: PeerId) -> Option<&Peer<K, S>> {
        let peer = self.slab.get(id.key as usize)?;
        (peer.connection.id() == id).then_some(&**peer)
    }

    /// The number of slots, empty ones included.
    pub(super) fn slots(&self) -> usize {
        self.slab.capacity()
    }

    /// The peer in a slot, whatever its generation.
    pub(super) fn in_slot(&mut self, slot: usize) -> Option<&mut Peer<K, S>> {
        self.slab.get_mut(slot).map(|peer| &mut **peer)
    }

    /// Marks a closed peer, to be reaped.
    pub(super) fn mark_closed(&mut self, id: PeerId) {
        self.closed.push(id);
    }

    /// Whether closed peers wait to be reaped.
    pub(super) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Removes one marked peer from its slot.
    pub(super) fn reap(&mut self) -> Option<Box<Peer<K, S>>> {
        loop {
            let id = self.closed.pop()?;
            let Some(peer) = self.get(id) else { continue };
            let (standing, link) = (peer.standing, peer.connection.info().link);
            match standing {
                Standing::Client => {}
                Standing::Operator => self.operators -= 1,
                Standing::Dialed => self.dialed -= 1,
                Standing::Orphan => (self.dialed, self.orphans) = (self.dialed - 1, self.orphans - 1),
            }
            if let Some(Link::Upstream(server)) = link
                && let Some(server) = self.get_mut(server)
                && server.standing == Standing::Dialed
            {
                server.standing = Standing::Orphan;
                self.orphans += 1;
            }
            return self.slab.try_remove(id.key as usize);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many were accepted by a listener.
    pub(super) fn accepted(&self) -> usize {
        self.slab.len() - self.dialed
    }

    /// Of those, how many by `--admin` listeners.
    pub(super) fn operators(&self) -> usize {
        self.operators
    }

    /// How many were dialed for clients that have gone, and are still open.
    pub(super) fn orphans(&self) -> usize {
        self.orphans
    }

    /// Counts an operator as a client from now on; returns whether it was counted as an operator.
    pub(super) fn became_client(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.get_mut(id) else { return false };
        let became = peer.standing == Standing::Operator && !peer.connection.info().is_operator;
        if became {
            peer.standing = Standing::Client;
            self.operators -= 1;
        }
        became
    }

    /// All peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer<K, S>> {
        self.slab.iter().map(|(_, peer)| &**peer)
    }

    /// The ids of all peers. It visits every slot.
    pub(super) fn ids(&self) -> Vec<PeerId> {
        self.slab.iter().map(|(_, peer)| peer.connection.id()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timer::Deadlines;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn an_alternating_deadline_leaves_few_entries_and_is_never_late() {
        const DAY: u64 = 86_400;
        let start = Instant::now();
        let (mut deadline_entries, mut deadlines) = (DeadlineEntries::default(), Deadlines::default());
        let mut most = 0;
        for second in 0..3 * DAY {
            let now = start + Duration::from_secs(second);
            // Idle for a day at most; a request begins every minute, and takes half of it, slowly.
            let ahead = match second % 60 {
                0..20 => DAY,
                20..40 => 60,
                _ => 30,
            };
            let deadline = now + Duration::from_secs(ahead);
            if deadline_entries.set(deadline) {
                deadlines.insert(deadline, ());
            }
            while deadlines.pop_due(now).is_some() {
                if deadline_entries.fire(now) && deadline_entries.set(deadline) {
                    deadlines.insert(deadline, ());
                }
            }
            assert!(deadlines.until_next(now) <= Some(Duration::from_secs(ahead)), "late in second {second}");
            most = most.max(deadlines.len());
        }
        assert!(most <= 8, "{most} entries for one peer");
    }
}
