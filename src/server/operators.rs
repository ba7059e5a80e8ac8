//! Operators: peers of an `--admin` listener. They wait for a place, then they have one.

use std::collections::BTreeMap;

use super::Server;
use super::memory;
use crate::connection::{Connection, PeerId, Service, site};
use crate::net::Net;

impl<N: Net, S: Service> Server<N, S> {
    /// Makes room for one more operator that waits for a place. As many may wait as there are places. If that many wait
    /// already, one of them is closed.
    pub(super) fn make_room_to_wait(&mut self) {
        let Self { operators, peers, .. } = self;
        operators.retain(|id| {
            peers.get(*id).is_some_and(|peer| peer.connection.awaits_place() || peer.connection.has_place())
        });
        let awaits_place = |id: PeerId| peers.get(id).is_some_and(|peer| peer.connection.awaits_place());
        if operators.iter().filter(|id| awaits_place(**id)).count() >= self.context.env.limits.admin_connections
            && let Some(displaced) = self.operator_to_close(Connection::awaits_place)
        {
            self.context.env.metrics.displaced += 1;
            self.displace(displaced, "closed to make room for a newer handshake on an --admin listener");
        }
    }

    /// Of `candidates`, the one to close: among the operators of the address that has most of them, the one that has
    /// been silent for longest. So an address with many places takes them only from itself, and silent operators
    /// exclude nobody.
    fn operator_to_close(&self, candidates: impl Fn(&Connection<S>) -> bool) -> Option<PeerId> {
        let peers = self.operators.iter().filter_map(|id| self.peers.get(*id));
        let candidates: Vec<_> = peers.map(|peer| &peer.connection).filter(|peer| candidates(peer)).collect();
        let mut counts = BTreeMap::new();
        for candidate in &candidates {
            *counts.entry(site(candidate.info().address.ip())).or_insert(0_usize) += 1;
        }
        let most = counts.values().copied().max();
        let is_of_most = |peer: &&&Connection<S>| counts.get(&site(peer.info().address.ip())).copied() == most;
        candidates.iter().filter(is_of_most).min_by_key(|peer| peer.quiet_since()).map(|peer| peer.id())
    }

    fn displace(&mut self, displaced: PeerId, why: &str) {
        if let Some(peer) = self.peers.get_mut(displaced) {
            self.context.env.metrics.refused += 1;
            peer.connection.displace(why, &mut self.context.env.scratch);
            self.peers.mark_closed(displaced);
        }
    }

    /// Before `id` works: if it is an operator without a place, sets whether it may take a client's place when its
    /// handshake is done and all operators' places are taken.
    pub(super) fn prepare_operator(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get(id).filter(|peer| peer.connection.awaits_place()) {
            let is_tls = peer.connection.is_tls();
            self.allow_client_place(is_tls);
        }
    }

    /// Lets the next operator take a client's place if there is one.
    pub(super) fn allow_client_place(&mut self, is_tls: bool) {
        let is_full =
            self.clients() >= self.context.env.limits.connections || self.crowding(is_tls) > 0 || self.is_over_memory();
        self.context.env.operators.set_client_place_free(!is_full);
    }

    /// After `id` worked: if it has taken a client's place, it counts as a client; if it has taken an operators' place
    /// beyond their number, another operator is closed.
    pub(super) fn settle_operator(&mut self, id: PeerId) {
        if self.peers.became_client(id)
            && let Some(peer) = self.peers.get(id)
        {
            self.memory_account.enter(memory::presence::<S>(peer.connection.is_tls()));
        }
        let most = self.context.env.limits.admin_connections;
        // Places of peers that were closed in this turn are freed at its end.
        while self.context.env.operators.placed() > most && self.operators_with_a_place() > most {
            let is_older = |peer: &Connection<S>| peer.has_place() && peer.id() != id;
            let Some(displaced) = self.operator_to_close(is_older) else { return };
            self.displace(displaced, "closed to make room for a newer operator");
        }
    }

    fn operators_with_a_place(&self) -> usize {
        let peers = self.operators.iter().filter_map(|id| self.peers.get(*id));
        peers.filter(|peer| peer.connection.has_place()).count()
    }
}
