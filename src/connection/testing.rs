//! A peer for tests of services: everything one call of a service needs, without a socket or a loop.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Exchange, Mailbox, PeerId, PeerInfo, Replies};
use crate::limits::Limits;
use crate::metrics::{Disconnect, Metrics};
use crate::timer::Now;

/// One peer and what it is owed.
pub(crate) struct TestPeer {
    pub(crate) info: PeerInfo,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) disconnects: Vec<(PeerId, Disconnect)>,
    replies: Replies,
    mailbox: Mailbox,
}

impl TestPeer {
    /// The peer in slab slot `key`, the connection before which `generation` others were opened.
    pub(crate) fn new(key: u32, generation: u32) -> Self {
        let port = u16::try_from(40_000 + key).expect("a small key");
        Self {
            info: PeerInfo {
                id: PeerId { key, generation },
                listener: 0,
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                identity: None,
            },
            limits: Limits::default(),
            metrics: Metrics::default(),
            disconnects: Vec::new(),
            replies: Replies::default(),
            mailbox: Mailbox::new(Arc::new(|| {})).0,
        }
    }

    pub(crate) fn exchange(&mut self, now: Now) -> Exchange<'_> {
        Exchange {
            peer: &self.info,
            now,
            limits: &self.limits,
            metrics: &mut self.metrics,
            replies: &mut self.replies,
            mailbox: &self.mailbox,
            disconnects: &mut self.disconnects,
        }
    }

    /// The bytes that would be sent now.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        let bytes = self.replies.unsent().to_vec();
        self.replies.consume(bytes.len());
        bytes
    }
}
