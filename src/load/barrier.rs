//! Where the threads of a run wait for each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A point that no thread of a run passes before all have come to it, and the moment at which they pass it together.
///
/// Rates of several threads may be added only if they are of the same time: a thread that begins when its own
/// connections are open measures a server that the others leave alone.
#[derive(Debug, Default)]
pub struct ThreadBarrier {
    arrived: AtomicU32,
    at: OnceLock<Instant>,
}

impl ThreadBarrier {
    /// One of the `of` threads arrives; returns whether it is the last, which must then [`fix`](Self::fix) the moment. Each
    /// thread may call it once.
    pub fn arrive(&self, of: u32) -> bool {
        self.arrived.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= of
    }

    /// All go on at `at`.
    pub fn fix(&self, at: Instant) {
        let _ = self.at.set(at);
    }

    /// When all go on; `None` until the last has come.
    #[must_use]
    pub fn at(&self) -> Option<Instant> {
        self.at.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn the_last_thread_releases_the_barrier() {
        let (barrier, now) = (ThreadBarrier::default(), Instant::now());
        assert!(!barrier.arrive(3) && !barrier.arrive(3));
        assert_eq!(barrier.at(), None);
        assert!(barrier.arrive(3));
        barrier.fix(now);
        assert_eq!(barrier.at(), Some(now));
    }
}
