//! Prefetching many keys at once.

use super::table::Table;

/// About as many reads as a processor core can have in flight.
pub(super) const PREFETCHED: usize = 16;

/// Keys that are read soon. Their records are brought into the processor's caches together: one by one, each search
/// would wait for memory three times. The table is not changed.
#[derive(Debug)]
pub struct Prefetch<'s> {
    pub(super) table: &'s Table,
    pub(super) hashes: [u64; PREFETCHED],
    pub(super) count: usize,
}

impl Prefetch<'_> {
    /// Adds a key; returns whether there is room for another.
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
