//! A peer for tests of services: everything one call of a service needs, without a socket or a loop.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use super::{Completion, Effect, Effects, Exchange, Mailbox, PeerId, PeerInfo, Replies, Scratch};
use crate::limits::Limits;
use crate::metrics::{Disconnect, Metrics};
use crate::timer::Now;

/// One peer and what it is owed.
pub(crate) struct TestPeer {
    pub(crate) info: PeerInfo,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    effects: Effects,
    scratch: Scratch,
    replies: Replies,
    mailbox: Mailbox,
    completions: mpsc::Receiver<Completion>,
    /// What the service has counted of this peer's share of a turn.
    pub(crate) served: usize,
    /// What the service has said of why the connection ends.
    pub(crate) detail: Option<Box<str>>,
}

impl TestPeer {
    /// The peer in slab slot `key`, the connection before which `generation` others were opened.
    pub(crate) fn new(key: u32, generation: u32) -> Self {
        let port = u16::try_from(40_000 + key).expect("a small key");
        let (mailbox, completions) = Mailbox::new(Arc::new(|| {}));
        Self {
            info: PeerInfo::new(
                PeerId { key, generation },
                0,
                SocketAddr::from(([127, 0, 0, 1], port)),
                SocketAddr::from(([127, 0, 0, 1], 6380)),
            ),
            limits: Limits::default(),
            metrics: Metrics::default(),
            effects: Effects::default(),
            scratch: Scratch::default(),
            replies: Replies::default(),
            mailbox,
            completions,
            served: 0,
            detail: None,
        }
    }

    pub(crate) fn exchange(&mut self, now: Now) -> Exchange<'_> {
        Exchange {
            peer: &self.info,
            now,
            limits: &self.limits,
            security: &[],
            metrics: &mut self.metrics,
            replies: &mut self.replies,
            mailbox: &self.mailbox,
            effects: &mut self.effects,
            scratch: &mut self.scratch,
            served: &mut self.served,
            detail: &mut self.detail,
        }
    }

    /// Whom the service has asked to disconnect since the last call, and why.
    pub(crate) fn take_disconnects(&mut self) -> Vec<(PeerId, Disconnect)> {
        let effects = std::iter::from_fn(|| self.effects.pop());
        let disconnects = effects.filter_map(|effect| match effect {
            Effect::Disconnect { peer, reason } => Some((peer, reason)),
            _ => None,
        });
        disconnects.collect()
    }

    /// Takes the deferred replies that are complete. Whether one is still awaited before the next request is served.
    pub(crate) fn is_alone(&mut self) -> bool {
        for completion in self.completions.try_iter() {
            if let Some(reply) = completion.reply {
                self.replies.complete(completion.sequence, reply);
            }
        }
        self.replies.is_alone()
    }

    /// The bytes that would be sent now.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        let bytes = self.replies.unsent().to_vec();
        self.replies.consume(bytes.len());
        bytes
    }
}
