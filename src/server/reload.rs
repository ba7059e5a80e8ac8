//! New policies for listeners that are serving.

use super::{Server, queue_transmit};
use crate::connection::Service;
use crate::net::Net;

/// Slots of connections checked in one turn. Verifying a chain takes some 50 microseconds, so this is a millisecond.
const SLOTS_PER_TURN: usize = 16;

/// How far the connections have been checked against the current policies.
#[derive(Default)]
pub(super) struct Reload {
    /// The first slot whose connection may have been admitted under an earlier policy.
    review: Option<usize>,
}

impl Reload {
    /// Whether connections remain to be checked.
    pub(super) fn is_under_way(&self) -> bool {
        self.review.is_some()
    }

    /// There is a new policy: all connections are checked again, from the beginning.
    fn begin_review(&mut self) {
        self.review = Some(0);
    }

    /// The slots to check in this turn.
    fn next_slots(&mut self, slots: usize) -> std::ops::Range<usize> {
        let Some(start) = self.review else { return 0..0 };
        let end = slots.min(start + SLOTS_PER_TURN);
        self.review = (end < slots).then_some(end);
        start..end
    }
}

impl<N: Net, S: Service> Server<N, S> {
    /// Installs new policies, all of them at once, and checks a bounded number of connections again.
    ///
    /// A handshake under way is verified by the new policy when it is done. A connection may be served for some turns
    /// before it is checked.
    pub(super) fn reload(&mut self) {
        if let Some(changes) = self.membership.policy_changes() {
            // All loops adopt the same policies; one of them counts it.
            if self.membership.index() == 0 {
                self.context.env.metrics.reloads += changes.adopted;
                self.context.env.metrics.reload_failures += changes.refused;
            }
            if let Some(security) = changes.security {
                self.context.env.security = security;
                self.reload.begin_review();
            }
        }
        for slot in self.reload.next_slots(self.peers.slots()) {
            let Some(peer) = self.peers.in_slot(slot) else { continue };
            peer.connection.reconsider(&mut self.context);
            if peer.connection.reason().is_some() {
                queue_transmit(peer, &mut self.to_transmit);
            }
        }
        self.apply_effects();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_checked_once_in_bounded_steps() {
        let mut reload = Reload::default();
        assert_eq!(reload.next_slots(100), 0..0);
        reload.begin_review();
        let mut seen = Vec::new();
        while reload.is_under_way() {
            let slots = reload.next_slots(SLOTS_PER_TURN * 2 + 1);
            assert!(slots.len() <= SLOTS_PER_TURN);
            seen.extend(slots);
        }
        assert_eq!(seen, (0..=SLOTS_PER_TURN * 2).collect::<Vec<_>>());
        reload.begin_review();
        assert_eq!(reload.next_slots(100), 0..SLOTS_PER_TURN);
        reload.begin_review();
        assert_eq!(reload.next_slots(100), 0..SLOTS_PER_TURN, "a policy in the middle of it begins it anew");
        reload.review = Some(40);
        assert!(reload.next_slots(3).is_empty() && !reload.is_under_way(), "most connections have gone meanwhile");
    }
}
