//! The memory of all clients, and which of them uses most.

use std::collections::BTreeSet;

use crate::connection::PeerId;

/// The sum of all peers' memory, and an order among them, both updated on change, so that neither needs a visit to all
/// peers.
///
/// The order is by powers of two, so that a peer changes its position rarely, and the peer that is reported as the
/// biggest uses more than half of the maximum. A peer without buffers has no position.
#[derive(Debug, Default)]
pub(super) struct MemoryAccount {
    total: usize,
    /// The part of it that is the fixed cost of peers.
    presence: usize,
    order: BTreeSet<(u32, PeerId)>,
}

/// One peer's part of the account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryShare {
    bytes: usize,
    /// Its position in the order: the number of binary digits of its bytes; 0 for none.
    class: u32,
    /// The part of its fixed cost that is its certificates.
    pub(super) certificates: usize,
}

impl MemoryAccount {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The part of the total that is the fixed cost of peers.
    pub(super) fn presence(&self) -> usize {
        self.presence
    }

    /// The size class of the biggest peer; 0 if none has a buffer.
    pub(super) fn largest_class(&self) -> u32 {
        self.order.last().map_or(0, |(class, _)| *class)
    }

    /// Adds a peer with this fixed cost.
    pub(super) fn enter(&mut self, presence: usize) {
        self.total += presence;
        self.presence += presence;
    }

    /// Removes a peer.
    pub(super) fn leave(&mut self, id: PeerId, memory_share: &mut MemoryShare, presence: usize) {
        self.forgive(id, memory_share);
        let fixed = presence + std::mem::take(&mut memory_share.certificates);
        self.total -= fixed;
        self.presence -= fixed;
    }

    /// Sets the part of a peer's fixed cost that is its certificates: they stay as long as it is connected.
    pub(super) fn set_certificates(&mut self, memory_share: &mut MemoryShare, bytes: usize) {
        let before = std::mem::replace(&mut memory_share.certificates, bytes);
        self.total = self.total - before + bytes;
        self.presence = self.presence - before + bytes;
    }

    /// Updates a peer's buffer memory. Its position in the order is left to [`place`](Self::place), since most peers
    /// hold nothing again by the end of the turn.
    pub(super) fn weigh(&mut self, memory_share: &mut MemoryShare, bytes: usize) {
        self.total = self.total - memory_share.bytes + bytes;
        memory_share.bytes = bytes;
    }

    pub(super) fn place(&mut self, id: PeerId, memory_share: &mut MemoryShare) {
        let class = memory_share.bytes.checked_ilog2().map_or(0, |digits| digits + 1);
        if class == memory_share.class {
            return;
        }
        self.order.remove(&(memory_share.class, id));
        if class > 0 {
            self.order.insert((class, id));
        }
        memory_share.class = class;
    }

    /// A closed peer will free all its memory.
    pub(super) fn forgive(&mut self, id: PeerId, memory_share: &mut MemoryShare) {
        self.weigh(memory_share, 0);
        self.place(id, memory_share);
    }

    /// By how much peers with fixed costs of `others` and `presence`, beside these, would exceed three quarters of
    /// `limit`, the most that fixed costs may use: many silent peers must leave room for the requests of others.
    pub(super) fn crowding(&self, others: usize, presence: usize, limit: usize) -> usize {
        self.presence.saturating_add(others).saturating_add(presence).saturating_sub(limit / 4 * 3)
    }

    /// The peer with the most memory, within a factor of two; `None` if no peer has a buffer.
    pub(super) fn biggest(&self) -> Option<PeerId> {
        self.order.last().map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_exact_and_the_biggest_is_within_a_factor_of_two() {
        let mut memory_account = MemoryAccount::default();
        let mut shares = [MemoryShare::default(); 100];
        let id = |key| PeerId { key, generation: 7 };
        let size = |round: usize, key: usize| (round * 7_919 + key * 104_729) % 1_000_003;
        for _ in &shares {
            memory_account.enter(10);
        }
        for round in 0..50 {
            for (key, memory_share) in shares.iter_mut().enumerate() {
                memory_account.weigh(memory_share, size(round, key));
                memory_account.place(id(u32::try_from(key).expect("small")), memory_share);
            }
            let sizes: Vec<usize> = (0..100).map(|key| size(round, key)).collect();
            assert_eq!(memory_account.total(), 1_000 + sizes.iter().sum::<usize>());
            let biggest = memory_account.biggest().expect("some hold something").key as usize;
            let most = sizes.iter().max().expect("a hundred");
            assert!(2 * sizes[biggest] > *most, "{} is named, {most} is the most", sizes[biggest]);
        }
        for (key, memory_share) in shares.iter_mut().enumerate() {
            memory_account.leave(id(u32::try_from(key).expect("small")), memory_share, 10);
        }
        assert_eq!((memory_account.total(), memory_account.biggest()), (0, None));
        assert_eq!(memory_account.crowding(0, 0, 0), 0, "a removed peer takes no place");
    }

    #[test]
    fn a_peer_without_memory_has_no_position() {
        let (mut memory_account, mut memory_share) = (MemoryAccount::default(), MemoryShare::default());
        let id = PeerId { key: 1, generation: 1 };
        memory_account.weigh(&mut memory_share, 1);
        memory_account.place(id, &mut memory_share);
        assert_eq!(memory_account.biggest(), Some(id));
        memory_account.weigh(&mut memory_share, 0);
        memory_account.place(id, &mut memory_share);
        assert_eq!((memory_account.biggest(), memory_account.order.len()), (None, 0));
    }
}
