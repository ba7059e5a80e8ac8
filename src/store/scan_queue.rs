//! Scans of all keys in bounded steps, one a turn, so that no client waits for another one's `KEYS`.
//!
//! The oldest scan is worked on until it is complete. Those behind it hold no memory yet, so all scans together hold
//! one reply. The result of a scan is released when the changes it has seen are durable.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Entry, GroupStatus, Store};
use crate::timer::Now;

/// A step visits one segment of the table per this many keys of its bound. Most segments hold more; one whose keys have
/// expired or were removed may hold none, and takes time all the same.
const KEYS_PER_SEGMENT: usize = 128;
/// Length of a key assumed by limits on the work of a scan.
pub const ORDINARY_KEY_BYTES: usize = 64;

/// Limits on the work of one step of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanBounds {
    /// Keys to visit; bytes of keys are limited to [`ORDINARY_KEY_BYTES`] for each.
    pub keys: usize,
    /// Segments of the table to visit.
    pub segments: usize,
}

impl ScanBounds {
    /// About `keys` keys, and segments in proportion.
    #[must_use]
    pub fn keys(keys: usize) -> Self {
        Self { keys, segments: keys.div_ceil(KEYS_PER_SEGMENT) }
    }
}

/// Why a scan ends without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// The result exceeds what may be sent to its client.
    TooLong,
    /// Changes that the scan has seen were lost.
    Lost,
}

/// A queued scan: its step, and its end. Dropping a scan cancels it.
pub trait KeyScan: Send {
    /// Takes one step, by `Store::scan_step`. `Ok(true)` when all keys have been visited.
    ///
    /// # Errors
    ///
    /// The scan must end now.
    fn step(&mut self, store: &mut Store, now: Now) -> Result<bool, ScanError>;

    /// Replies with the result, or with the reason why there is none.
    fn finish(self: Box<Self>, outcome: Result<(), ScanError>);
}

/// The scans in the order of their requests.
#[derive(Default)]
pub(super) struct ScanQueue(VecDeque<QueuedScan>);

struct QueuedScan {
    owner: usize,
    /// All keys have been visited; the result depends on this group.
    awaits: Option<u64>,
    scan: Box<dyn KeyScan>,
}

impl std::fmt::Debug for ScanQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanQueue").field("scans", &self.0.len()).finish()
    }
}

impl Store {
    /// Visits keys from `cursor` on within `bounds`, and advances the cursor; begin with 0. Returns whether all have
    /// been visited.
    ///
    /// As with [`scan`](Self::scan), a key that exists from the first step to the last is visited exactly once.
    pub(crate) fn scan_step(
        &mut self,
        cursor: &mut u64,
        bounds: ScanBounds,
        now: Now,
        visit: &mut dyn FnMut(&[u8], Entry<'_>),
    ) -> bool {
        let (mut keys, mut bytes) = (0, 0);
        for _ in 0..bounds.segments {
            if keys >= bounds.keys || bytes >= bounds.keys.saturating_mul(ORDINARY_KEY_BYTES) {
                break;
            }
            *cursor = self.scan(*cursor, 1, now, &mut |key, entry| {
                keys += 1;
                bytes += key.len();
                visit(key, entry);
            });
            if *cursor == 0 {
                return true;
            }
        }
        false
    }

    /// Queues a scan. `owner` names the connection that waits for it.
    pub(crate) fn queue_scan(&mut self, owner: usize, scan: Box<dyn KeyScan>) {
        self.scans.0.push_back(QueuedScan { owner, awaits: None, scan });
    }

    /// Cancels the scans of a closed connection.
    pub(crate) fn cancel_scans(&mut self, owner: usize) {
        if !self.scans.0.is_empty() {
            self.scans.0.retain(|queued| queued.owner != owner);
        }
    }

    /// Takes one step of the oldest scan, well under a millisecond. Called once per turn; returns when it must be
    /// called again.
    pub(crate) fn scan_tick(&mut self, now: Now) -> Option<Duration> {
        // A scan that waits for the disk needs no tick: the disk wakes the loop.
        let mut first = self.scans.0.pop_front_if(|first| first.awaits.is_none())?;
        match first.scan.step(self, now) {
            Ok(false) => self.scans.0.push_front(first),
            Ok(true) => {
                // The last step depends on the latest group, and so on all that earlier steps have seen.
                first.awaits = self.take_dependency().filter(|group| !self.is_durable_to(*group));
                if first.awaits.is_some() {
                    self.scans.0.push_front(first);
                    return None;
                }
                first.scan.finish(Ok(()));
            }
            Err(error) => first.scan.finish(Err(error)),
        }
        (!self.scans.0.is_empty()).then_some(Duration::ZERO)
    }

    /// Releases the result of the oldest scan when its group is durable. When groups are lost, aborts all scans: each
    /// may have seen a change that was undone.
    pub(super) fn update_scans(&mut self, status: &GroupStatus) {
        match status {
            GroupStatus::Durable(durable) => {
                let is_durable = |first: &mut QueuedScan| first.awaits.is_some_and(|group| group <= *durable);
                if let Some(first) = self.scans.0.pop_front_if(is_durable) {
                    first.scan.finish(Ok(()));
                }
            }
            GroupStatus::Lost(_) | GroupStatus::Fatal(_) => {
                for queued in self.scans.0.drain(..) {
                    queued.scan.finish(Err(ScanError::Lost));
                }
            }
            GroupStatus::Unchanged | GroupStatus::Recovered => {}
        }
    }
}
