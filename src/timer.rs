//! Time as data: the instant a turn works with, and the queue of deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The time of one turn of the loop, read once and passed down.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic: for deadlines.
    pub instant: Instant,
    /// Wall clock, milliseconds since the Unix epoch: for expiry of keys and certificates.
    pub unix_ms: u64,
}

impl Now {
    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_ms / 1000
    }
}

/// Later than any deadline that is meant: a century.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// The instant `time` after `instant`. A limit that the clock cannot count to never comes.
#[must_use]
pub fn after(instant: Instant, time: Duration) -> Instant {
    instant.checked_add(time).unwrap_or_else(|| instant + FAR)
}

/// Deadlines of many owners, the earliest first.
///
/// Entries are never cancelled. An owner whose deadline has moved later is asked again when the old entry fires, and
/// puts itself back; one whose deadline has moved earlier adds a second entry and lets the stale one fire harmlessly.
/// So nothing on the hot path touches the heap, and an owner with no deadline costs nothing.
#[derive(Debug)]
pub struct Deadlines<T> {
    heap: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Ord + Copy> Default for Deadlines<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<T: Ord + Copy> Deadlines<T> {
    /// Wakes `owner` at `deadline`.
    pub fn insert(&mut self, deadline: Instant, owner: T) {
        self.heap.push(Reverse((deadline, owner)));
    }

    /// Takes one owner whose deadline has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, owner))| owner)
    }

    /// How long until the earliest deadline; `None` when there is none.
    #[must_use]
    pub fn until_next(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((deadline, _))| deadline.saturating_duration_since(now))
    }

    /// Entries, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no entry is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn deadlines_fire_in_order_and_not_early() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        for (ms, owner) in [(30, 3), (10, 1), (20, 2)] {
            deadlines.insert(at(ms), owner);
        }
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.until_next(at(4)), Some(Duration::from_millis(6)));
        assert_eq!(deadlines.pop_due(at(20)), Some(1));
        assert_eq!(deadlines.pop_due(at(20)), Some(2));
        assert_eq!(deadlines.pop_due(at(20)), None);
        assert_eq!(deadlines.until_next(at(99)), Some(Duration::ZERO));
        assert_eq!(deadlines.pop_due(at(99)), Some(3));
        assert!(deadlines.is_empty());
    }
}
