//! Watched keys and when they last changed: `WATCH` without a version in every entry.
//!
//! Keys are known by their hash: where two share one, a change of either counts as a change of both.

use std::collections::BTreeMap;

/// Maximum memory of a watched key besides the watcher's copy of it: its share of a node of the tree, which holds 5 to 11
/// keys, and of the nodes above; and the allocator's overhead for the watcher's copy.
pub const WATCHED_KEY_BYTES: usize = 3 * (11 * (size_of::<u64>() + size_of::<Watch>()) + 48) / 10 + 24;

/// Versions of the watched keys only.
///
/// A tree, since all clients together may watch millions of keys: a hash table that doubles would move all of them in one
/// turn, and would keep its memory when they are gone.
#[derive(Debug, Default)]
pub(super) struct Watches {
    keys: BTreeMap<u64, Watch>,
    /// The number of the last change.
    changes: u64,
    /// The change that removed every key at once.
    cleared: u64,
    /// The change that restored all removed keys.
    restored: u64,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    watchers: usize,
    /// The last change of this key, not counting `Watches::cleared`.
    version: u64,
    /// Whether the key existed after that change: only then has a later clearing changed it.
    present: bool,
}

impl Watch {
    fn version_after(&self, cleared: u64, restored: u64) -> u64 {
        self.version.max(restored).max(if self.present { cleared } else { 0 })
    }
}

impl Watches {
    /// Adds a watcher of `key`; returns its version. `present` says whether the key exists.
    pub(super) fn watch(&mut self, hash: u64, present: bool) -> u64 {
        if let Some(watch) = self.keys.get_mut(&hash) {
            watch.watchers += 1;
            return watch.version_after(self.cleared, self.restored);
        }
        self.changes += 1;
        self.keys.insert(hash, Watch { watchers: 1, version: self.changes, present });
        self.changes
    }

    /// Removes a watcher.
    pub(super) fn unwatch(&mut self, hash: u64) {
        if let Some(watch) = self.keys.get_mut(&hash) {
            watch.watchers -= 1;
            if watch.watchers == 0 {
                self.keys.remove(&hash);
            }
        }
    }

    /// The version of a watched key; 0 for one without watchers.
    pub(super) fn version(&self, hash: u64) -> u64 {
        self.keys.get(&hash).map_or(0, |watch| watch.version_after(self.cleared, self.restored))
    }

    /// Whether no key is watched, so that changes need not be noted.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this hash has changed, and is `present` afterwards.
    pub(super) fn changed(&mut self, hash: u64, present: bool) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(watch) = self.keys.get_mut(&hash) {
            self.changes += 1;
            watch.version = self.changes;
            watch.present = present;
        }
    }

    /// All removed keys are back, which may have changed any key.
    pub(super) fn restored(&mut self) {
        self.changes += 1;
        self.restored = self.changes;
    }

    /// All keys were removed.
    pub(super) fn cleared(&mut self) {
        self.changes += 1;
        self.cleared = self.changes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_key_itself_is_seen() {
        let mut watches = Watches::default();
        let before = watches.watch(1, true);
        watches.changed(2, true);
        assert_eq!(watches.version(1), before);
        watches.changed(1, true);
        assert!(watches.version(1) > before);
        assert_eq!(watches.version(2), 0);
    }

    #[test]
    fn clearing_changes_the_keys_that_existed() {
        let mut watches = Watches::default();
        let (there, absent) = (watches.watch(3, true), watches.watch(4, false));
        watches.cleared();
        assert!(watches.version(3) > there);
        assert_eq!(watches.version(4), absent);
        let again = watches.watch(3, false);
        watches.changed(4, true);
        watches.cleared();
        assert!(watches.version(4) > absent);
        assert!(watches.version(3) >= again);
    }

    #[test]
    fn restored_keys_count_as_changed() {
        let mut watches = Watches::default();
        watches.cleared();
        let (there, absent) = (watches.watch(3, true), watches.watch(4, false));
        watches.restored();
        assert!(watches.version(3) > there && watches.version(4) > absent);
        assert_eq!(watches.version(5), 0);
    }

    #[test]
    fn watchers_are_counted() {
        let mut watches = Watches::default();
        watches.watch(1, false);
        watches.watch(1, false);
        watches.unwatch(1);
        assert_ne!(watches.version(1), 0);
        watches.unwatch(1);
        watches.unwatch(1);
        assert_eq!(watches.version(1), 0);
    }

    /// With tenfold slack: a table that doubled would move half a million keys in one of the steps.
    #[test]
    fn watching_takes_no_longer_for_the_keys_of_others() {
        const STEP: u64 = 16_384;
        let time = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let mut watches = Watches::default();
        let step = |number: u64| {
            let began = time();
            for key in number * STEP..(number + 1) * STEP {
                watches.watch(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), true);
            }
            time() - began
        };
        let mut steps: Vec<_> = (0..60).map(step).map(|took| took.tv_sec * 1_000_000_000 + took.tv_nsec).collect();
        steps.sort_unstable();
        assert!(steps[59] < 10 * steps[30], "{steps:?}");
    }
}
