//! A protocol and its store without connections and loop.

use std::time::Duration;

use super::TestPeer;
use crate::connection::Served;
use crate::disconnect::Disconnect;
use crate::services::StoreProtocol;
use crate::store::{Store, StoreOptions};
use crate::timer::Now;

/// A protocol, its store, and a clock that a test sets.
pub struct ProtocolBench<P> {
    /// The protocol.
    pub protocol: P,
    /// The store.
    pub store: Store,
    /// The time of the next calls.
    pub now: Now,
}

impl<P: StoreProtocol> ProtocolBench<P> {
    /// A protocol over an empty store, at this time.
    pub fn over(protocol: P, now: Now) -> Self {
        Self { protocol, store: Store::new(StoreOptions::default()), now }
    }

    /// A client in slab slot `key`, the one before which `generation` others were there.
    pub fn connect(&mut self, key: u32, generation: u32) -> (TestPeer, P::Session) {
        let mut peer = TestPeer::new(key, generation);
        let session = self.protocol.open(&mut peer.exchange(self.now));
        (peer, session)
    }

    /// Sends all of `input` and returns what came back, with the reason if the connection ended.
    pub fn send(
        &mut self,
        (peer, session): &mut (TestPeer, P::Session),
        mut input: &[u8],
    ) -> (Vec<u8>, Option<Disconnect>) {
        let mut ending = None;
        while !input.is_empty() {
            match self.protocol.serve(session, &mut self.store, input, &mut peer.exchange(self.now)) {
                Served::Incomplete | Served::Congested => break,
                Served::Used(used) => {
                    input = input.get(used..).unwrap_or_default();
                    self.finish(peer);
                }
                Served::Close(reason) => {
                    ending = Some(reason);
                    break;
                }
            }
        }
        (peer.take_replies(), ending)
    }

    /// Lets turns pass until a reply that takes many of them is complete.
    pub fn finish(&mut self, peer: &mut TestPeer) {
        while peer.is_alone() {
            self.tick();
        }
    }

    /// The loop's work in one turn for requests that take many.
    pub fn tick(&mut self) -> Option<Duration> {
        [self.protocol.tick(&mut self.store, self.now), self.store.scan_tick(self.now)].into_iter().flatten().min()
    }
}
