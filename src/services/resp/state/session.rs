//! What one connection remembers between requests, and what others may see of it.

use std::net::SocketAddr;

use crate::connection::{Deferred, PeerId, PeerInfo};
use crate::metrics::Disconnect;
use crate::protocol::resp::{Decoder, RespVersion};
use crate::services::resp::description::command::CommandId;
use crate::store::WATCHED_KEY_BYTES;
use crate::timer::Now;

/// One connection's framing and state. An idle one is a few words: what most never use is boxed.
#[derive(Debug, Default)]
pub struct RespSession {
    pub(crate) decoder: Decoder,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) watches: Vec<WatchedKey>,
    /// The lengths of their keys, added up.
    pub(crate) watched_bytes: u32,
    pub(crate) protocol: RespVersion,
    /// What it reads counts as unused as before: `CLIENT NO-TOUCH`.
    pub(crate) is_untouching: bool,
    /// Set by a command after whose reply the connection closes.
    pub(crate) ending: Option<Disconnect>,
}

impl RespSession {
    /// Heap bytes held for the client's request, its transaction and the keys that it watches.
    #[must_use]
    pub fn memory(&self) -> usize {
        let queued = self.transaction.as_ref().map_or(0, |transaction| transaction.requests.capacity());
        // Each watched key stands in the store's list too.
        self.decoder.memory()
            + queued
            + self.watches.capacity() * size_of::<WatchedKey>()
            + self.watches.len() * WATCHED_KEY_BYTES
            + 2 * self.watched_bytes as usize
    }
}

/// Commands queued between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// The requests as they were received, one behind the other.
    pub(crate) requests: Vec<u8>,
    pub(crate) commands: usize,
    /// What they will cost the loop, in the units of `RespOptions::transaction_cost`.
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

/// What `CLIENT LIST` tells of a connection.
#[derive(Debug)]
pub(crate) struct ClientState {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    pub(crate) opened_ms: u64,
    pub(crate) active_ms: u64,
    /// The last command it asked for.
    pub(crate) command: Option<CommandId>,
    pub(crate) protocol: RespVersion,
    /// `CLIENT NO-TOUCH ON`.
    pub(crate) is_untouching: bool,
    /// Commands queued in its transaction.
    pub(crate) queued: Option<u32>,
    pub(crate) names: Option<Box<ClientNames>>,
}

/// What a client calls itself. Texts are short and printable.
#[derive(Debug, Default)]
pub(crate) struct ClientNames {
    pub(crate) client: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) user: Vec<u8>,
}

impl ClientState {
    pub(crate) fn names(&mut self) -> &mut ClientNames {
        self.names.get_or_insert_default()
    }

    /// The number that `CLIENT ID` tells: connections opened until this one.
    pub(crate) fn number(&self) -> u64 {
        u64::from(self.id.generation) + 1
    }
}

/// The connections being served, found by the slot that their [`PeerId`] names.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    slots: Vec<Slot>,
    count: usize,
}

/// The generation stands beside the pointer so that a search by number does not follow every pointer.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    client: Option<Box<ClientState>>,
}

impl Slot {
    fn client(&self, id: PeerId) -> Option<&ClientState> {
        self.client.as_deref().filter(|client| client.id == id)
    }
}

impl Clients {
    pub(crate) fn insert(&mut self, peer: &PeerInfo, now: Now) -> &mut ClientState {
        let PeerInfo { id, address, local, .. } = *peer;
        let slot = id.key as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        let client = ClientState {
            id,
            address,
            local,
            opened_ms: now.unix_ms,
            active_ms: now.unix_ms,
            command: None,
            protocol: RespVersion::default(),
            is_untouching: false,
            queued: None,
            names: None,
        };
        self.count += 1;
        #[expect(clippy::indexing_slicing, reason = "the slot was made above")]
        let slot = &mut self.slots[slot];
        slot.generation = id.generation;
        slot.client.insert(Box::new(client))
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        let slot = self.slots.get_mut(id.key as usize);
        if let Some(slot) = slot.filter(|slot| slot.client(id).is_some()) {
            slot.client = None;
            self.count -= 1;
        }
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&ClientState> {
        self.slots.get(id.key as usize)?.client(id)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut ClientState> {
        self.slots.get_mut(id.key as usize)?.client.as_deref_mut().filter(|client| client.id == id)
    }

    /// The clients whose [`number`](Client::number) is in `numbers`, found in one pass over the slots.
    pub(crate) fn find<'a>(&'a self, numbers: &[u64]) -> impl Iterator<Item = &'a ClientState> + use<'a> {
        let mut generations: Vec<u64> = numbers.iter().map(|number| number.wrapping_sub(1)).collect();
        generations.sort_unstable();
        let is_wanted = move |slot: &&Slot| generations.binary_search(&u64::from(slot.generation)).is_ok();
        self.slots.iter().filter(is_wanted).filter_map(|slot| slot.client.as_deref())
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Slots in use or not, for [`range`](Self::range).
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The clients in slots `start` to `end`, that one not included.
    pub(crate) fn range(&self, start: usize, end: usize) -> impl Iterator<Item = &ClientState> {
        let end = end.min(self.slots.len());
        self.slots.get(start..end).unwrap_or_default().iter().filter_map(|slot| slot.client.as_deref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ClientState> {
        self.slots.iter().filter_map(|slot| slot.client.as_deref())
    }
}

/// A `CLIENT LIST` whose reply is deferred.
#[derive(Debug)]
pub(crate) struct DeferredList {
    pub(crate) peer: PeerId,
    pub(crate) deferred: Deferred,
    pub(crate) protocol: RespVersion,
    /// The longest reply that the client may be sent.
    pub(crate) longest: usize,
    /// The next slot to describe.
    pub(crate) slot: usize,
    pub(crate) text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<RespSession>() <= 48, "{}", size_of::<RespSession>());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant")]
    fn a_reused_slot_is_not_mistaken_for_the_connection_before() {
        let now = Now { instant: std::time::Instant::now(), unix_ms: 5 };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (old, new) = (PeerId { key: 3, generation: 7 }, PeerId { key: 3, generation: 8 });
        let mut clients = Clients::default();
        clients.insert(&PeerInfo::new(old, 0, address, address), now);
        clients.remove(old);
        clients.insert(&PeerInfo::new(new, 0, address, address), now);
        clients.remove(old);
        assert!(clients.get(old).is_none() && clients.get_mut(old).is_none());
        assert_eq!(clients.get(new).map(ClientState::number), Some(9));
        assert_eq!(clients.find(&[8, 0]).count(), 0);
        assert_eq!(clients.find(&[10, 9, 8]).map(|client| client.id).collect::<Vec<_>>(), [new]);
        assert_eq!((clients.len(), clients.iter().count()), (1, 1));
    }
}
