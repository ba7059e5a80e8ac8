//! The limit on the memory of all clients.

use super::Server;
use super::peers::Peer;
use crate::connection::{Connection, PeerId, Service};
use crate::disconnect::Disconnect;
use crate::net::Net;

/// What rustls and aws-lc allocate for an established idle session, as measured by the memory bench.
const SESSION_BYTES: usize = 3 << 10;

/// The fixed cost of a connection, besides its buffers.
pub(super) fn presence<S: Service>(tls: bool) -> usize {
    size_of::<Connection<S>>() + if tls { SESSION_BYTES } else { 0 }
}

impl<N: Net, S: Service> Server<N, S> {
    /// The memory of all clients in bytes, those of other loops included: their buffers and fixed costs. Operators are
    /// few and individually bounded, and do not count: they take nothing from clients, and are not closed for memory.
    pub fn client_memory(&self) -> usize {
        self.memory_account.total().saturating_add(self.membership.others_memory())
    }

    /// Whether clients exceed the limit.
    pub(super) fn is_over_memory(&self) -> bool {
        self.client_memory() > self.context.env.limits.client_memory
    }

    /// By how much the fixed cost of one more client would be too much.
    pub(super) fn crowding(&self, tls: bool) -> usize {
        let others = self.membership.others_presence(presence::<S>(true));
        self.memory_account.crowding(others, presence::<S>(tls), self.context.env.limits.client_memory)
    }

    /// Adds a new peer.
    pub(super) fn add(&mut self, peer: Peer<N::Socket, S>) {
        if !peer.connection.info().is_operator {
            self.memory_account.enter(presence::<S>(peer.connection.is_tls()));
        }
        self.peers.insert(peer);
    }

    /// Removes a peer.
    pub(super) fn forget_memory(&mut self, peer: &mut Peer<N::Socket, S>) {
        if !peer.connection.info().is_operator {
            let presence = presence::<S>(peer.connection.is_tls());
            self.memory_account.leave(peer.connection.id(), &mut peer.memory_share, presence);
        }
    }

    /// Counts the certificates of a peer after a step of its handshake; later they do not change. If the fixed costs of
    /// peers then exceed their part of the limit, the peer is closed: no other one is closed to make room for it.
    pub(super) fn count_certificates(&mut self, id: PeerId) {
        let limit = self.context.env.limits.client_memory;
        let others = self.membership.others_presence(presence::<S>(true));
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.connection.info().is_operator) else { return };
        let bytes = peer.connection.certificate_memory();
        let added = bytes.saturating_sub(peer.memory_share.certificates);
        if added > 0 && self.memory_account.crowding(others, added, limit) > 0 {
            peer.connection.close(Disconnect::Memory, &mut self.context.env.scratch);
        }
        self.memory_account.set_certificates(&mut peer.memory_share, bytes);
    }

    /// Updates a peer's memory after work on it. One that is owed too much is closed.
    pub(super) fn weigh(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connection.output() > self.context.env.limits.output_hard_bytes {
            peer.connection.close(Disconnect::OutputLimit, &mut self.context.env.scratch);
        }
        if !peer.connection.info().is_operator {
            self.memory_account.weigh(&mut peer.memory_share, peer.connection.memory());
            self.membership.note_memory(self.memory_account.total());
        }
    }

    /// Closes the clients that use most until all together are within the limit.
    pub(super) fn keep_memory_limit(&mut self) {
        if !self.is_over_memory() {
            return;
        }
        // Peers that were worked on since the last transmission have no position yet.
        for id in &self.to_transmit {
            if let Some(peer) = self.peers.get_mut(*id) {
                self.memory_account.place(*id, &mut peer.memory_share);
            }
        }
        while self.membership.has_biggest(&self.memory_account)
            && self.is_over_memory()
            && let Some(id) = self.memory_account.biggest()
            && let Some(peer) = self.peers.get_mut(id)
        {
            peer.connection.close(Disconnect::Memory, &mut self.context.env.scratch);
            self.memory_account.forgive(id, &mut peer.memory_share);
            self.peers.mark_closed(id);
            self.membership.publish_memory(&self.memory_account);
        }
    }
}
