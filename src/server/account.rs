//! What all clients hold, and who holds most.

use std::collections::BTreeSet;

use super::Server;
use super::peers::Peer;
use crate::connection::{Connection, PeerId, Service};
use crate::metrics::Disconnect;
use crate::net::Net;

/// What rustls and aws-lc hold for an established session that is idle: the memory bench measures it.
const SESSION_BYTES: usize = 3 << 10;

/// What a connection costs by being there, besides its buffers.
pub(super) fn presence<S: Service>(tls: bool) -> usize {
    size_of::<Connection<S>>() + if tls { SESSION_BYTES } else { 0 }
}

/// The sum of what peers hold, and an order among them, both kept as they change: nobody is visited to know either.
///
/// The order is by powers of two, so that a peer changes its place rarely and whoever is named as holding most holds more
/// than half of what anybody does. One that holds no buffers has no place.
#[derive(Debug, Default)]
pub(super) struct Account {
    total: usize,
    /// The part of it that peers cost by being there.
    presence: usize,
    order: BTreeSet<(u32, PeerId)>,
}

/// One peer's part in the account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    bytes: usize,
    /// Its place in the order: how many digits its bytes have in binary; 0 for none.
    class: u32,
}

impl Account {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// A peer has come, which costs so much.
    pub(super) fn enter(&mut self, presence: usize) {
        self.total += presence;
        self.presence += presence;
    }

    /// A peer has gone.
    pub(super) fn leave(&mut self, id: PeerId, share: &mut Share, presence: usize) {
        self.forgive(id, share);
        self.total -= presence;
        self.presence -= presence;
    }

    /// A peer's buffers hold so much now. Its place in the order is left for [`place`](Self::place), since most peers
    /// hold nothing again by the end of the turn.
    pub(super) fn weigh(&mut self, share: &mut Share, bytes: usize) {
        self.total = self.total - share.bytes + bytes;
        share.bytes = bytes;
    }

    pub(super) fn place(&mut self, id: PeerId, share: &mut Share) {
        let class = share.bytes.checked_ilog2().map_or(0, |digits| digits + 1);
        if class == share.class {
            return;
        }
        self.order.remove(&(share.class, id));
        if class > 0 {
            self.order.insert((class, id));
        }
        share.class = class;
    }

    /// A peer that is closed will give back all that it holds.
    pub(super) fn forgive(&mut self, id: PeerId, share: &mut Share) {
        self.weigh(share, 0);
        self.place(id, share);
    }

    /// How far one more peer would be past three quarters of `limit`, which is what peers may take by being there: a crowd
    /// of silent ones must leave room for the requests of others.
    pub(super) fn crowding(&self, presence: usize, limit: usize) -> usize {
        self.presence.saturating_add(presence).saturating_sub(limit / 4 * 3)
    }

    /// Whoever holds most, within a factor of two; `None` when nobody holds a buffer.
    pub(super) fn biggest(&self) -> Option<PeerId> {
        self.order.last().map(|(_, id)| *id)
    }
}

impl<N: Net, S: Service> Server<N, S> {
    /// What clients hold together, in bytes: their buffers, and what each costs by being there. Operators are few, bounded
    /// each, and not in the account: they take nothing from clients, and nobody's memory is a reason to end them.
    pub fn client_memory(&self) -> usize {
        self.account.total()
    }

    /// Whether clients hold more than they may.
    pub(super) fn is_over_memory(&self) -> bool {
        self.account.total() > self.shared.limits.client_memory
    }

    /// Takes a new peer into the house.
    pub(super) fn add(&mut self, peer: Peer<N::Socket, S>) {
        if !peer.connection.info().is_operator {
            self.account.enter(presence::<S>(peer.connection.is_tls()));
        }
        self.peers.insert(peer);
    }

    /// A peer goes.
    pub(super) fn leave_account(&mut self, peer: &mut Peer<N::Socket, S>) {
        if !peer.connection.info().is_operator {
            let presence = presence::<S>(peer.connection.is_tls());
            self.account.leave(peer.connection.id(), &mut peer.share, presence);
        }
    }

    /// After work on a peer: how much it holds now. One that is owed too much is closed.
    pub(super) fn weigh(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connection.output() > self.shared.limits.output_hard_bytes {
            peer.connection.close(Disconnect::OutputLimit, &mut self.shared.scratch);
        }
        if !peer.connection.info().is_operator {
            self.account.weigh(&mut peer.share, peer.connection.memory());
        }
    }

    /// Closes whoever holds most until all together hold no more than they may.
    pub(super) fn keep_memory_limit(&mut self) {
        if !self.is_over_memory() {
            return;
        }
        // Peers that were worked on since the last transmission have no place yet.
        for id in &self.touched {
            if let Some(peer) = self.peers.get_mut(*id) {
                self.account.place(*id, &mut peer.share);
            }
        }
        while self.is_over_memory()
            && let Some(id) = self.account.biggest()
            && let Some(peer) = self.peers.get_mut(id)
        {
            peer.connection.close(Disconnect::Memory, &mut self.shared.scratch);
            self.account.forgive(id, &mut peer.share);
            self.peers.doom(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_exact_and_the_biggest_is_within_a_factor_of_two() {
        let mut account = Account::default();
        let mut shares = [Share::default(); 100];
        let id = |key| PeerId { key, generation: 7 };
        let size = |round: usize, key: usize| (round * 7_919 + key * 104_729) % 1_000_003;
        for _ in &shares {
            account.enter(10);
        }
        for round in 0..50 {
            for (key, share) in shares.iter_mut().enumerate() {
                account.weigh(share, size(round, key));
                account.place(id(u32::try_from(key).expect("small")), share);
            }
            let sizes: Vec<usize> = (0..100).map(|key| size(round, key)).collect();
            assert_eq!(account.total(), 1_000 + sizes.iter().sum::<usize>());
            let biggest = account.biggest().expect("some hold something").key as usize;
            let most = sizes.iter().max().expect("a hundred");
            assert!(2 * sizes[biggest] > *most, "{} is named, {most} is the most", sizes[biggest]);
        }
        for (key, share) in shares.iter_mut().enumerate() {
            account.leave(id(u32::try_from(key).expect("small")), share, 10);
        }
        assert_eq!((account.total(), account.biggest()), (0, None));
        assert_eq!(account.crowding(0, 0), 0, "who has gone takes no place");
    }

    #[test]
    fn who_holds_nothing_has_no_place() {
        let (mut account, mut share) = (Account::default(), Share::default());
        let id = PeerId { key: 1, generation: 1 };
        account.weigh(&mut share, 1);
        account.place(id, &mut share);
        assert_eq!(account.biggest(), Some(id));
        account.weigh(&mut share, 0);
        account.place(id, &mut share);
        assert_eq!((account.biggest(), account.order.len()), (None, 0));
    }
}
