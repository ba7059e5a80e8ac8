//! The order of handshakes.

use crate::connection::PeerId;

/// Below this number of stale ids a search is not worth while.
const SLACK: usize = 1024;

/// Handshakes that have bytes to work on.
///
/// A handshake costs a hundred times as much as a request, so under a storm of them the order decides who is served at
/// all. Second flights go first: their key exchange has been computed, and finishing one frees its place. Then come new
/// ClientHellos, the newest first: its client is the most likely to be still waiting, whereas serving the oldest first
/// makes every client wait until it has given up.
#[derive(Debug, Default)]
pub(super) struct HandshakeQueue {
    second_flights: Vec<PeerId>,
    hellos: Vec<PeerId>,
}

impl HandshakeQueue {
    pub(super) fn push(&mut self, id: PeerId, half_shaken: bool) {
        if half_shaken {
            self.second_flights.push(id);
        } else {
            self.hellos.push(id);
        }
    }

    pub(super) fn pop(&mut self) -> Option<PeerId> {
        self.second_flights.pop().or_else(|| self.hellos.pop())
    }

    /// Removes ids that are not `live`, if most cannot be. Under an endless storm the oldest hellos are never reached:
    /// their connections close or time out, but their ids would stay.
    pub(super) fn prune(&mut self, peers: usize, live: impl Fn(PeerId) -> bool) {
        if self.len() > 2 * peers + SLACK {
            self.second_flights.retain(|id| live(*id));
            self.hellos.retain(|id| live(*id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.second_flights.len() + self.hellos.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.second_flights.is_empty() && self.hellos.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_flights_go_first_then_the_newest_hello() {
        let mut handshake_queue = HandshakeQueue::default();
        let id = |key| PeerId { key, generation: 0 };
        handshake_queue.push(id(1), false);
        handshake_queue.push(id(2), false);
        handshake_queue.push(id(3), true);
        let order: Vec<_> = std::iter::from_fn(|| handshake_queue.pop()).map(|id| id.key).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(handshake_queue.is_empty());
    }

    #[test]
    fn hellos_that_are_never_reached_are_removed_with_their_connections() {
        let mut handshake_queue = HandshakeQueue::default();
        for key in 0..100_000 {
            handshake_queue.push(PeerId { key, generation: 0 }, false);
            handshake_queue.prune(10, |id| id.key + 10 > key);
            assert!(handshake_queue.len() <= 20 + SLACK);
        }
        let newest: Vec<_> = std::iter::from_fn(|| handshake_queue.pop()).map(|id| id.key).take(10).collect();
        assert_eq!(newest, (99_990..100_000).rev().collect::<Vec<_>>());
    }
}
