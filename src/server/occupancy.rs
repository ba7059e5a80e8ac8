//! Counts of a server's state, for tests.

use std::time::Duration;

use super::Server;
use super::peers::Peer;
use crate::connection::Service;
use crate::net::Net;

/// Counts of the server's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Open connections.
    pub connections: usize,
    /// Connections that another loop has accepted for this one, not taken yet.
    pub arriving: usize,
    /// Of the open ones, those dialed for clients that have gone: each takes a client's place.
    pub orphans: usize,
    /// Ids of connections in queues of work, including connections that have ended.
    pub queued: usize,
    /// Entries in the deadline queue, stale ones included.
    pub deadlines: usize,
    /// Memory of all clients, in bytes.
    pub client_memory: usize,
    /// Addresses that have connections, if they are counted.
    pub addresses: usize,
}

impl<N: Net, S: Service> Server<N, S> {
    /// Counts of the server's state. All are zero when no connection is open and every deadline has passed.
    #[doc(hidden)]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            connections: self.peers.len(),
            arriving: self.membership.arriving(),
            orphans: self.peers.orphans(),
            queued: self.ready.len() + self.handshake_queue.len() + self.to_transmit.len() + self.waiting.len(),
            deadlines: self.deadlines.len(),
            client_memory: self.memory_account.total(),
            addresses: self.context.env.addresses.addresses(),
        }
    }

    /// The most memory of any one connection, in bytes, outside the TLS library. It visits every connection.
    #[doc(hidden)]
    pub fn largest_connection(&self) -> usize {
        self.peers.iter().map(|peer| peer.connection.memory()).max().unwrap_or(0)
    }

    /// Handshakes counted at any address, and connections that have not completed theirs. It visits every connection.
    #[doc(hidden)]
    pub fn handshakes(&self) -> (usize, usize) {
        let is_shaking =
            |peer: &&Peer<N::Socket, S>| peer.connection.is_tls() && peer.connection.info().agreement.is_none();
        (self.context.env.addresses.handshakes(), self.peers.iter().filter(is_shaking).count())
    }

    /// How long ago the earliest unhandled deadline passed. It visits every connection.
    #[doc(hidden)]
    pub fn overdue(&self) -> Option<Duration> {
        let now = self.net.now().instant;
        let deadlines = self.peers.iter().filter_map(|peer| peer.connection.deadline(&self.context.env.limits));
        deadlines.min().and_then(|first| now.checked_duration_since(first))
    }
}
