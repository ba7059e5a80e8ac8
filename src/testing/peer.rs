//! A peer for tests of services: the parameters of a service's calls, without a socket or a loop.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use crate::connection::{Completion, Context, Effect, Environment, Exchange, Output, PeerId, PeerInfo};
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::testing::now;
use crate::timer::Now;

/// One peer and the replies it is owed.
pub struct TestPeer {
    /// Its identity and addresses, as the service sees them.
    pub info: PeerInfo,
    /// The loop's environment.
    pub env: Environment,
    output: Output,
    completions: mpsc::Receiver<Completion>,
}

impl TestPeer {
    /// The peer in slab slot `key`, the connection before which `generation` others were opened.
    pub fn new(key: u32, generation: u32) -> Self {
        let port = u16::try_from(40_000 + key).expect("a small key");
        let (context, completions) = Context::new((), Limits::default(), Vec::new(), Arc::new(|| {}), now(0));
        Self {
            info: PeerInfo::new(
                PeerId { key, generation },
                0,
                SocketAddr::from(([127, 0, 0, 1], port)),
                SocketAddr::from(([127, 0, 0, 1], 6380)),
            ),
            env: context.env,
            output: Output::default(),
            completions,
        }
    }

    /// The parameters of a call at this time.
    pub fn exchange(&mut self, now: Now) -> Exchange<'_> {
        self.env.now = now;
        Exchange { peer: &self.info, env: &mut self.env, output: &mut self.output }
    }

    /// The requests counted in this peer's share of a turn.
    pub fn served(&self) -> usize {
        self.output.served
    }

    /// The peers that the service has disconnected since the last call, with reasons.
    pub fn take_disconnects(&mut self) -> Vec<(PeerId, Disconnect)> {
        let effects = std::iter::from_fn(|| self.env.effects.pop());
        let disconnects = effects.filter_map(|effect| match effect {
            Effect::Disconnect { peer, reason } => Some((peer, reason)),
            _ => None,
        });
        disconnects.collect()
    }

    /// Takes the completed deferred replies. Returns whether one is still awaited before the next request is served.
    pub fn is_alone(&mut self) -> bool {
        for completion in self.completions.try_iter() {
            if let Some(reply) = completion.reply {
                self.output.replies.complete(completion.sequence, reply);
            }
        }
        self.output.replies.is_alone()
    }

    /// The bytes that would be sent now.
    pub fn take_replies(&mut self) -> Vec<u8> {
        let bytes = self.output.replies.unsent().to_vec();
        self.output.replies.consume(bytes.len());
        bytes
    }
}
