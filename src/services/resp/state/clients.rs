//! The connections being served, as other clients may see them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::connection::{Deferred, PeerId, PeerInfo};
use crate::protocol::resp::RespVersion;
use crate::services::resp::description::Command;
use crate::timer::Now;

/// A connection as `CLIENT LIST` describes it.
#[derive(Debug)]
pub(crate) struct ClientState {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    pub(crate) opened_ms: u64,
    pub(crate) active_ms: u64,
    /// The last command that it requested.
    pub(crate) command: Option<&'static Command>,
    pub(crate) protocol: RespVersion,
    /// `CLIENT NO-TOUCH ON`.
    pub(crate) is_untouching: bool,
    /// Commands queued in its transaction.
    pub(crate) queued: Option<u32>,
    pub(crate) names: Option<Box<ClientNames>>,
}

/// The names that a client has given itself. Texts are short and printable.
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

    /// The number that `CLIENT ID` returns: connections opened until this one.
    pub(crate) fn number(&self) -> u64 {
        u64::from(self.id.generation) + 1
    }

    /// One line of `CLIENT LIST`.
    pub(crate) fn describe(&self, now: Now, text: &mut String) {
        let seconds = |since: u64| now.unix_ms.saturating_sub(since) / 1000;
        let flags = match (self.queued.is_some(), self.is_untouching) {
            (true, true) => "xT",
            (true, false) => "x",
            (false, true) => "T",
            (false, false) => "N",
        };
        let queued = self.queued.map_or(String::from("-1"), |queued| queued.to_string());
        let command = self.command;
        let nameless = ClientNames::default();
        let names = self.names.as_deref().unwrap_or(&nameless);
        let [name, user, library, library_version] =
            [&names.client, &names.user, &names.library, &names.library_version]
                .map(|name| String::from_utf8_lossy(name));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "id={} addr={} laddr={} name={name} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi={queued} cmd={} user={} \
         redir=-1 resp={} lib-name={library} lib-ver={library_version}",
            self.number(),
            self.address,
            self.local,
            seconds(self.opened_ms),
            seconds(self.active_ms),
            flags,
            command.map_or("NULL", |command| command.name),
            if user.is_empty() { "default" } else { &user },
            if self.protocol == RespVersion::Resp2 { 2 } else { 3 },
        );
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

    /// The clients whose [`number`](ClientState::number) is in `numbers`, found in one pass over the slots.
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
    fn a_reused_slot_is_not_mistaken_for_the_connection_before() {
        let now = crate::testing::now(5);
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
