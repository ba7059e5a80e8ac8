//! Waking a sleeping loop, at most once for each of its sleeps.

use std::sync::atomic::{AtomicU8, Ordering};

/// The loop works; it looks at its queues before it sleeps again.
const AWAKE: u8 = 0;
/// The loop sleeps, or is about to.
const ASLEEP: u8 = 1;
/// Something was queued that the loop has not looked for yet.
const NOTIFIED: u8 = 2;

/// Whether a loop sleeps, and whether something was queued for it.
///
/// A system call that wakes a thread costs microseconds, so a sender makes it only for a loop that sleeps. A sender
/// appends to a queue, then calls [`notify`](Self::notify). The loop calls [`begin_sleep`](Self::begin_sleep), sleeps if
/// that permits it, calls [`end_sleep`](Self::end_sleep), and then looks at its queues. All three exchange one atomic
/// value, so the loop does not sleep before it has looked at what was queued while it was awake.
#[derive(Debug, Default)]
pub(super) struct WakeFlag(AtomicU8);

impl WakeFlag {
    /// Something was queued. Returns whether the loop must be woken.
    #[must_use]
    pub(super) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }

    /// The loop wants to sleep. Returns whether it may: nothing was queued since it looked.
    #[must_use]
    pub(super) fn begin_sleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The loop looks at its queues next.
    pub(super) fn end_sleep(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn a_working_loop_is_not_woken_and_does_not_sleep_before_it_has_looked() {
        let flag = WakeFlag::default();
        assert!(!flag.notify(), "awake");
        assert!(!flag.begin_sleep(), "something is queued");
        flag.end_sleep();
        assert!(flag.begin_sleep());
        assert!(flag.notify(), "asleep");
        assert!(!flag.notify(), "woken already");
        flag.end_sleep();
        assert!(flag.begin_sleep());
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        const ITEMS: u64 = 200_000;
        let (flag, queue) = (Arc::new(WakeFlag::default()), Arc::new(AtomicU64::new(0)));
        let (wake, sleeper) = mpsc::channel();
        let sender = {
            let (flag, queue) = (Arc::clone(&flag), Arc::clone(&queue));
            move || {
                for _ in 0..ITEMS {
                    queue.fetch_add(1, Ordering::Relaxed);
                    if flag.notify() {
                        wake.send(()).expect("the loop waits");
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(sender);
            let mut seen = 0;
            while seen < ITEMS {
                if flag.begin_sleep() {
                    // A lost wake shows here: the sender ends, and nothing is received.
                    sleeper.recv().expect("a wake");
                }
                flag.end_sleep();
                seen += queue.swap(0, Ordering::Relaxed);
            }
        });
    }
}
