//! Waiting for memory once for many keys.

use super::table::Table;

/// About as many reads as a processor core can have under way.
pub(super) const PREFETCHED: usize = 16;

/// Keys that are soon asked for. Their records are brought into the processor's caches all at once: one after the other,
/// each search would wait for memory three times. The table is not changed.
#[derive(Debug)]
pub struct Prefetch<'s> {
    pub(super) table: &'s Table,
    pub(super) hashes: [u64; PREFETCHED],
    pub(super) count: usize,
}

impl Prefetch<'_> {
    /// Adds a key. Whether there is room for one more.
    pub fn add(&mut self, key: &[u8]) -> bool {
        if let Some(hash) = self.hashes.get_mut(self.count) {
            *hash = self.table.hash(key);
            self.count += 1;
        }
        self.count < PREFETCHED
    }

    /// Fetches them.
    pub fn fetch(self) {
        self.table.prefetch(self.hashes.get(..self.count).unwrap_or_default());
    }
}
