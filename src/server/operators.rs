//! Who comes to a listener for operators: first they knock, then they have a place.

use std::collections::BTreeMap;

use super::Server;
use super::memory;
use crate::connection::{PeerId, Service, site};
use crate::net::Net;

impl<N: Net, S: Service> Server<N, S> {
    /// Whether whoever comes to a listener for operators may hope for a place there. Others are clients like any.
    pub(super) fn has_operator_places(&self) -> bool {
        self.context.env.operators.placed() < self.context.env.limits.admin_connections
    }

    /// One more knocks. There are as many places to knock as there are for those who were let in. When they are taken, the
    /// oldest of the address that has most of them gives way: it has had the longest time for its handshake, and whoever
    /// takes many places that way takes them from nobody else.
    pub(super) fn make_room_to_knock(&mut self) {
        let Self { knocking, peers, .. } = self;
        knocking.retain(|id| peers.get(*id).is_some_and(|peer| peer.connection.knocks()));
        if knocking.len() < self.context.env.limits.admin_connections {
            return;
        }
        let place = |id: &PeerId| peers.get(*id).map(|peer| site(peer.connection.info().address.ip()));
        let mut counts = BTreeMap::new();
        for address in knocking.iter().filter_map(place) {
            *counts.entry(address).or_insert(0_usize) += 1;
        }
        let most = counts.values().copied().max();
        let is_of_most = |id: &&PeerId| place(id).is_some_and(|address| counts.get(&address).copied() == most);
        let Some(victim) = knocking.iter().find(is_of_most).copied() else { return };
        knocking.retain(|id| *id != victim);
        if let Some(peer) = peers.get_mut(victim) {
            self.context.env.metrics.refused += 1;
            self.context.env.metrics.displaced += 1;
            peer.connection.displace(&mut self.context.env.scratch);
            peers.mark_closed(victim);
        }
    }

    /// Before `id` works: whether it could take a client's place if it comes to the end of its handshake and finds none of
    /// the operators'.
    pub(super) fn look_for_overflow(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.connection.knocks()) else { return };
        let presence = memory::presence::<S>(peer.connection.is_tls());
        let limits = &self.context.env.limits;
        let is_full = self.clients() >= limits.connections
            || self.memory_account.crowding(presence, limits.client_memory) > 0
            || self.is_over_memory();
        self.context.env.operators.set_overflow(!is_full);
    }

    /// Behind that: whether it did.
    pub(super) fn note_overflow(&mut self, id: PeerId) {
        if self.peers.became_client(id)
            && let Some(peer) = self.peers.get(id)
        {
            self.memory_account.enter(memory::presence::<S>(peer.connection.is_tls()));
        }
    }
}
