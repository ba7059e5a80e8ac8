//! Which handshake to work on next.

use crate::connection::PeerId;

/// Handshakes that have bytes to work on.
///
/// A handshake costs a hundred times what a request costs, so under a storm of them the order decides who is served at
/// all. Second flights go first: their key exchange is already paid for, and finishing one frees its place. Then new
/// ClientHellos, the newest first: its client is the likeliest to be still waiting, whereas serving the oldest first
/// makes everybody wait until everybody has given up.
#[derive(Debug, Default)]
pub(super) struct Admission {
    second_flights: Vec<PeerId>,
    hellos: Vec<PeerId>,
}

impl Admission {
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

    pub(super) fn is_empty(&self) -> bool {
        self.second_flights.is_empty() && self.hellos.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_flights_go_first_then_the_newest_hello() {
        let mut admission = Admission::default();
        let id = |key| PeerId { key, generation: 0 };
        admission.push(id(1), false);
        admission.push(id(2), false);
        admission.push(id(3), true);
        let order: Vec<_> = std::iter::from_fn(|| admission.pop()).map(|id| id.key).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(admission.is_empty());
    }
}
