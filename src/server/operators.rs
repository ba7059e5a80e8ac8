//! Operators: peers of a listener for operators. First they knock, then they have a place.

use std::collections::BTreeMap;

use super::Server;
use super::memory;
use crate::connection::{Connection, PeerId, Service, site};
use crate::net::Net;

impl<N: Net, S: Service> Server<N, S> {
    /// One more knocks. There are as many places to knock as there are for operators who were let in. When they are taken,
    /// one of those who knock gives way.
    pub(super) fn make_room_to_knock(&mut self) {
        let Self { operators, peers, .. } = self;
        operators
            .retain(|id| peers.get(*id).is_some_and(|peer| peer.connection.knocks() || peer.connection.has_place()));
        let knocks = |id: PeerId| peers.get(id).is_some_and(|peer| peer.connection.knocks());
        if operators.iter().filter(|id| knocks(**id)).count() >= self.context.env.limits.admin_connections
            && let Some(victim) = self.who_gives_way(Connection::knocks)
        {
            self.context.env.metrics.displaced += 1;
            self.displace(victim, "its handshake gave place to a newer one for operators");
        }
    }

    /// Among the operators that are `candidates`: of the address that has most of them, the one from which nothing was
    /// heard for longest. Many places from one address are taken from nobody else, and who says nothing keeps nobody out.
    fn who_gives_way(&self, candidates: impl Fn(&Connection<S>) -> bool) -> Option<PeerId> {
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

    fn displace(&mut self, victim: PeerId, why: &str) {
        if let Some(peer) = self.peers.get_mut(victim) {
            self.context.env.metrics.refused += 1;
            peer.connection.displace(why, &mut self.context.env.scratch);
            self.peers.mark_closed(victim);
        }
    }

    /// Before `id` works: whether it could take a client's place if it comes to the end of its handshake and finds none of
    /// the operators'.
    pub(super) fn look_for_overflow(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get(id).filter(|peer| peer.connection.knocks()) {
            let is_tls = peer.connection.is_tls();
            self.allow_overflow(is_tls);
        }
    }

    /// Lets the next operator take a client's place if there is one.
    pub(super) fn allow_overflow(&mut self, is_tls: bool) {
        let presence = memory::presence::<S>(is_tls);
        let limits = &self.context.env.limits;
        let is_full = self.clients() >= limits.connections
            || self.memory_account.crowding(presence, limits.client_memory) > 0
            || self.is_over_memory();
        self.context.env.operators.set_overflow(!is_full);
    }

    /// After `id` worked: if it has taken a client's place, it counts as a client; if it has taken a place of the operators
    /// beyond their number, another operator gives way.
    pub(super) fn settle_operator(&mut self, id: PeerId) {
        if self.peers.became_client(id)
            && let Some(peer) = self.peers.get(id)
        {
            self.memory_account.enter(memory::presence::<S>(peer.connection.is_tls()));
        }
        let most = self.context.env.limits.admin_connections;
        // Places of peers that were closed in this turn are given back at its end.
        while self.context.env.operators.placed() > most && self.operators_with_a_place() > most {
            let is_older = |peer: &Connection<S>| peer.has_place() && peer.id() != id;
            let Some(victim) = self.who_gives_way(is_older) else { return };
            self.displace(victim, "it gave place to a newer operator");
        }
    }

    fn operators_with_a_place(&self) -> usize {
        let peers = self.operators.iter().filter_map(|id| self.peers.get(*id));
        peers.filter(|peer| peer.connection.has_place()).count()
    }
}
