//! State of one connection between requests.

use crate::disconnect::Disconnect;
use crate::protocol::resp::{Decoder, RespVersion};
use crate::store::{Store, WATCHED_KEY_BYTES};

/// One connection's framing and state. An idle one is a few words: what most never use is boxed.
#[derive(Debug, Default)]
pub struct RespSession {
    pub(crate) decoder: Decoder,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) watches: Vec<WatchedKey>,
    /// The lengths of their keys, added up.
    pub(crate) watched_bytes: u32,
    pub(crate) protocol: RespVersion,
    /// Its reads do not mark keys as used: `CLIENT NO-TOUCH`.
    pub(crate) is_untouching: bool,
    /// Set by a command after whose reply the connection closes.
    pub(crate) ending: Option<Disconnect>,
}

impl RespSession {
    /// Heap bytes held for the client's request, its transaction and the keys that it watches.
    #[must_use]
    pub fn memory(&self) -> usize {
        let queued = self.transaction.as_ref().map_or(0, |transaction| transaction.requests.capacity());
        self.decoder.memory()
            + queued
            + self.watches.capacity() * size_of::<WatchedKey>()
            + self.watches.len() * WATCHED_KEY_BYTES
            + self.watched_bytes as usize
    }
}

impl RespSession {
    /// Watches no key any more.
    pub(crate) fn unwatch(&mut self, store: &mut Store) {
        self.watched_bytes = 0;
        for watch in std::mem::take(&mut self.watches) {
            store.unwatch(&watch.key);
        }
    }
}

/// Commands queued between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// The requests as they were received, one behind the other.
    pub(crate) requests: Vec<u8>,
    pub(crate) commands: usize,
    /// Their cost for the loop, in the units of `RespOptions::transaction_cost`.
    pub(crate) cost: usize,
    /// A command could not be queued, so none will be executed.
    pub(crate) failed: bool,
}

/// A key that must not change until `EXEC`.
#[derive(Debug)]
pub(crate) struct WatchedKey {
    pub(crate) key: Box<[u8]>,
    /// The key's version when it was first watched.
    pub(crate) version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<RespSession>() <= 48, "{}", size_of::<RespSession>());
    }
}
