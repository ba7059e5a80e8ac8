//! Time as data: the current time of a turn, and the queue of deadlines.

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

/// A century: later than any deadline in use.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// The instant `time` after `instant`; a century later where the clock cannot represent the sum.
#[must_use]
pub fn after(instant: Instant, time: Duration) -> Instant {
    instant.checked_add(time).unwrap_or_else(|| instant + FAR)
}

/// Deadlines of many owners, the earliest first.
///
/// Entries are never cancelled. When the entry of an owner whose deadline has moved later fires, the owner checks its
/// deadline and inserts itself again; an owner whose deadline has moved earlier inserts a second entry, and the stale
/// one fires without effect. So the hot path does not touch the heap, and an owner without a deadline costs nothing.
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

    /// Removes one owner whose deadline has passed, and returns it.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, owner))| owner)
    }

    /// Time until the earliest deadline; `None` if there is none.
    #[must_use]
    pub fn until_next(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((deadline, _))| deadline.saturating_duration_since(now))
    }

    /// The number of entries, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there are no entries.
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
