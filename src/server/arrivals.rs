//! Connections that the first loop accepts and another one serves.

use std::net::SocketAddr;

use super::Server;
use super::loop_set::Arrival;
use crate::connection::Service;
use crate::disconnect::Disconnect;
use crate::net::Net;

impl<N: Net, S: Service> Server<N, S> {
    /// Decides whether an accepted connection is served, and by which loop. Operators stay on the first one, which has
    /// their places.
    pub(super) fn assign(&mut self, listener: usize, socket: N::Socket, address: SocketAddr) {
        let Some((is_tls, is_operator)) = self.kind_of(listener) else { return };
        let refusal = match self.reception(is_tls, is_operator) {
            Ok(refusal) => refusal,
            Err(reason) => return self.context.env.metrics.disconnected(reason),
        };
        let arrival = Arrival { listener, socket, address, refusal };
        let other = if is_operator { None } else { self.membership.least_loaded(self.own_clients()) };
        match other {
            Some(index) => self.membership.hand_over(index, arrival),
            None => self.welcome(arrival),
        }
    }

    /// Serves the connections that the first loop has handed to this one, a bounded number.
    pub(super) fn take_arrivals(&mut self) {
        let mut taken = 0;
        while taken < self.context.env.limits.accepts_per_turn
            && let Some(arrival) = self.membership.take_arrival()
        {
            taken += 1;
            self.welcome(arrival);
        }
        self.membership.arrived(taken, self.own_clients(), &self.memory_account);
    }

    /// Connected clients of all loops, and backends without their clients, which take the places of those.
    pub(super) fn clients(&self) -> usize {
        self.own_clients() + self.membership.others_clients()
    }

    /// Those of this loop.
    pub(super) fn own_clients(&self) -> usize {
        self.peers.accepted() - self.peers.operators() + self.peers.orphans()
    }

    /// Decides whether one more client is served; if not, returns the reason.
    ///
    /// # Errors
    ///
    /// There is not even room for a refusal: the socket is dropped.
    fn reception(&mut self, tls: bool, is_operator: bool) -> Result<Option<Disconnect>, Disconnect> {
        let limits = &self.context.env.limits;
        let clients = self.clients();
        let crowding = self.crowding(tls);
        let (reason, is_hopeless) = if is_operator {
            return Ok(None);
        } else if clients >= limits.connections {
            (Disconnect::Refused, clients - limits.connections >= limits.refusals)
        } else if crowding > 0 || self.is_over_memory() {
            // Refused connections must leave room too.
            let most = limits.refusals.saturating_mul(super::memory::presence::<S>(tls)).min(limits.client_memory / 8);
            (Disconnect::Memory, crowding > most)
        } else {
            return Ok(None);
        };
        self.context.env.metrics.refused += 1;
        if is_hopeless { Err(reason) } else { Ok(Some(reason)) }
    }
}
