//! The connections of one loop, by names that outlive them safely.

use std::time::Instant;

use slab::Slab;

use crate::connection::{Connection, PeerId, Service};

/// One connection and its socket.
pub(super) struct Peer<K, S: Service> {
    pub(super) socket: K,
    pub(super) connection: Connection<S>,
    /// On a queue of work. Invariant: it is on exactly one, once.
    pub(super) queued: bool,
    /// On the list of peers to transmit to.
    pub(super) touched: bool,
    /// On the list of peers that wait for something to become durable.
    pub(super) held: bool,
    /// When its earliest live entry among the deadlines fires.
    pub(super) armed: Option<Instant>,
}

impl<K, S: Service> Peer<K, S> {
    pub(super) fn new(socket: K, connection: Connection<S>) -> Self {
        Self { socket, connection, queued: false, touched: false, held: false, armed: None }
    }
}

/// A slab of peers, each boxed: a slab of a million whole peers would copy a gigabyte when it grows.
///
/// Invariant: a slot is freed only by [`bury`](Self::bury), at the end of a turn.
pub(super) struct Peers<K, S: Service> {
    slab: Slab<Box<Peer<K, S>>>,
    doomed: Vec<PeerId>,
    /// How many were dialed, not accepted.
    dialed: usize,
    generation: u32,
}

impl<K, S: Service> Default for Peers<K, S> {
    fn default() -> Self {
        Self { slab: Slab::new(), doomed: Vec::new(), dialed: 0, generation: 0 }
    }
}

impl<K, S: Service> Peers<K, S> {
    /// The name that the next inserted peer will have.
    pub(super) fn next_id(&mut self) -> PeerId {
        // The highest generation is left to the tokens of listeners and the waker.
        self.generation = (self.generation + 1) % u32::MAX;
        // Descriptors are counted in 32 bits, so slots are too.
        let key = u32::try_from(self.slab.vacant_key()).unwrap_or(u32::MAX);
        PeerId { key, generation: self.generation }
    }

    /// Adds a peer under the name that [`next_id`](Self::next_id) gave.
    pub(super) fn insert(&mut self, peer: Peer<K, S>) {
        let id = peer.connection.id();
        self.dialed += usize::from(peer.connection.info().is_dialed());
        let key = self.slab.insert(Box::new(peer));
        debug_assert_eq!(key, id.key as usize, "the slot changed between naming and inserting");
    }

    /// The peer with exactly this name; `None` when its slot is empty or has been reused.
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer<K, S>> {
        let peer = self.slab.get_mut(id.key as usize)?;
        (peer.connection.id() == id).then_some(peer)
    }

    /// As [`get_mut`](Self::get_mut), to look only.
    pub(super) fn get(&self, id: PeerId) -> Option<&Peer<K, S>> {
        let peer = self.slab.get(id.key as usize)?;
        (peer.connection.id() == id).then_some(&**peer)
    }

    /// How many slots there are, empty ones included.
    pub(super) fn slots(&self) -> usize {
        self.slab.capacity()
    }

    /// The peer in a slot, whoever it is.
    pub(super) fn in_slot(&mut self, slot: usize) -> Option<&mut Peer<K, S>> {
        self.slab.get_mut(slot).map(|peer| &mut **peer)
    }

    /// Marks a closed peer for burial.
    pub(super) fn doom(&mut self, id: PeerId) {
        self.doomed.push(id);
    }

    /// Takes one marked peer out of its slot.
    pub(super) fn bury(&mut self) -> Option<Box<Peer<K, S>>> {
        loop {
            let id = self.doomed.pop()?;
            if let Some(peer) = self.get_mut(id) {
                let was_dialed = peer.connection.info().is_dialed();
                self.dialed -= usize::from(was_dialed);
                return self.slab.try_remove(id.key as usize);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many came in through a listener.
    pub(super) fn accepted(&self) -> usize {
        self.slab.len() - self.dialed
    }

    /// All peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer<K, S>> {
        self.slab.iter().map(|(_, peer)| &**peer)
    }

    /// The names of all peers. For rare occasions: it visits every slot.
    pub(super) fn ids(&self) -> Vec<PeerId> {
        self.slab.iter().map(|(_, peer)| peer.connection.id()).collect()
    }
}
