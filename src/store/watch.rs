//! Watched keys and when they last changed: `WATCH` without a version in every entry.

use std::collections::HashMap;

/// Maximum memory of a watched key besides its bytes: its entry in a table that has just doubled, which has 16 slots
/// with a control byte for 7 keys, and the allocator's overhead for two copies of the key, one of them the watcher's.
pub const WATCHED_KEY_BYTES: usize = 16 * (size_of::<(Box<[u8]>, Watch)>() + 1) / 7 + 2 * 24;

/// Versions of the watched keys only.
#[derive(Debug, Default)]
pub(super) struct Watches {
    keys: HashMap<Box<[u8]>, Watch>,
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
    pub(super) fn watch(&mut self, key: &[u8], present: bool) -> u64 {
        if let Some(watch) = self.keys.get_mut(key) {
            watch.watchers += 1;
            return watch.version_after(self.cleared, self.restored);
        }
        self.changes += 1;
        self.keys.insert(key.into(), Watch { watchers: 1, version: self.changes, present });
        self.changes
    }

    /// Removes a watcher.
    pub(super) fn unwatch(&mut self, key: &[u8]) {
        if let Some(watch) = self.keys.get_mut(key) {
            watch.watchers -= 1;
            if watch.watchers == 0 {
                self.keys.remove(key);
            }
        }
    }

    /// The version of a watched key; 0 for one without watchers.
    pub(super) fn version(&self, key: &[u8]) -> u64 {
        self.keys.get(key).map_or(0, |watch| watch.version_after(self.cleared, self.restored))
    }

    /// `key` has changed, and is `present` afterwards.
    pub(super) fn changed(&mut self, key: &[u8], present: bool) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(watch) = self.keys.get_mut(key) {
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
        let before = watches.watch(b"a", true);
        watches.changed(b"b", true);
        assert_eq!(watches.version(b"a"), before);
        watches.changed(b"a", true);
        assert!(watches.version(b"a") > before);
        assert_eq!(watches.version(b"b"), 0);
    }

    #[test]
    fn clearing_changes_the_keys_that_existed() {
        let mut watches = Watches::default();
        let (there, absent) = (watches.watch(b"there", true), watches.watch(b"absent", false));
        watches.cleared();
        assert!(watches.version(b"there") > there);
        assert_eq!(watches.version(b"absent"), absent);
        let again = watches.watch(b"there", false);
        watches.changed(b"absent", true);
        watches.cleared();
        assert!(watches.version(b"absent") > absent);
        assert!(watches.version(b"there") >= again);
    }

    #[test]
    fn restored_keys_count_as_changed() {
        let mut watches = Watches::default();
        watches.cleared();
        let (there, absent) = (watches.watch(b"there", true), watches.watch(b"absent", false));
        watches.restored();
        assert!(watches.version(b"there") > there && watches.version(b"absent") > absent);
        assert_eq!(watches.version(b"nobody's"), 0);
    }

    #[test]
    fn watchers_are_counted() {
        let mut watches = Watches::default();
        watches.watch(b"a", false);
        watches.watch(b"a", false);
        watches.unwatch(b"a");
        assert_ne!(watches.version(b"a"), 0);
        watches.unwatch(b"a");
        watches.unwatch(b"a");
        assert_eq!(watches.version(b"a"), 0);
    }
}
