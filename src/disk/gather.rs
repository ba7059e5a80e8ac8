//! Who waits for the disk waits together.
//!
//! Clients that have been answered ask again while the next sync runs, and then wait for one of their own: where a sync takes
//! long, two halves of them would take turns, for ever, each with half of the disk's syncs. So a group waits for as many
//! changes as were under way last time, for a part of the time that the disk takes. Where a sync is as quick as the clients
//! are, those who are missing do not come in that time, and two halves that take turns are the best that there is, for one is
//! served while the other is synced: so a wait that was in vain is not repeated soon. A client that is alone waits for nobody.

use std::time::{Duration, Instant};

/// Of the time that a sync takes, what a group may wait for others.
const SHARE: u32 = 4;
/// The most groups that do not wait after one that did so in vain.
const LONGEST: u32 = 64;

/// What the next group waits for.
#[derive(Debug, Default)]
pub(super) struct Gather {
    wanted: Option<(usize, Instant)>,
    /// Somebody has waited for that.
    has_waited: bool,
    /// Groups before one waits again, and how many there were last time.
    rests: u32,
    rested: u32,
}

impl Gather {
    /// A group is on disk after a sync that `took` some time; `changes` were in it and behind it.
    pub(super) fn begin(&mut self, changes: usize, now: Instant, took: Duration) {
        self.rests = self.rests.saturating_sub(1);
        self.wanted = (self.rests == 0).then(|| (changes, now + took / SHARE));
        self.has_waited = false;
    }

    /// How many changes are waited for, and until when.
    pub(super) fn wanted(&self) -> Option<(usize, Instant)> {
        self.wanted
    }

    /// Whether there is nothing to wait for any more, as so many changes have come.
    pub(super) fn is_over(&mut self, changes: usize, now: Instant) -> bool {
        let Some((wanted, until)) = self.wanted else { return true };
        if changes >= wanted {
            (self.wanted, self.rested) = (None, 0);
        } else if now >= until {
            if self.has_waited {
                self.rested = (self.rested * 2).clamp(1, LONGEST);
                self.rests = self.rested + 1;
            }
            self.wanted = None;
        } else {
            self.has_waited = true;
        }
        self.wanted.is_none()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_millis(4);

    #[test]
    fn a_group_waits_for_as_many_as_there_were_but_not_long() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(gather.is_over(1, now), "nothing is known yet");
        gather.begin(50, now, SYNC);
        assert!(!gather.is_over(25, now) && !gather.is_over(49, now + SYNC / 5));
        assert!(gather.is_over(50, now + SYNC / 5));
        gather.begin(50, now, SYNC);
        assert!(!gather.is_over(25, now));
        assert!(gather.is_over(25, now + SYNC / 4));
        // Nobody came in that time, so nobody has waited.
        let mut idle = Gather::default();
        for _ in 0..2 {
            idle.begin(50, now, SYNC);
            assert!(idle.wanted().is_some() && idle.is_over(1, now + SYNC));
        }
    }

    #[test]
    fn a_wait_in_vain_is_not_repeated_soon_and_one_that_was_not_is() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        let mut waits = |come: usize, groups: usize| {
            let mut waits = 0;
            for _ in 0..groups {
                gather.begin(50, now, SYNC);
                waits += usize::from(!gather.is_over(25, now));
                assert!(gather.is_over(come, now + SYNC));
            }
            waits
        };
        assert_eq!(waits(50, 100), 100);
        // After 1, 2, 4, 8, 16, 32, 64, 64 ... groups that did not wait.
        assert_eq!(waits(26, 8 + 127), 8);
        assert_eq!(waits(26, 650), 10);
        // When it helps again, it is done again each time.
        let helped = waits(50, 265);
        assert!(helped >= 200, "{helped}");
    }
}
