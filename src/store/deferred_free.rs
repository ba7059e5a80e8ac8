//! Memory that is no longer needed, freed in bounded steps: a large block or ten million records at once would stall
//! the loop.
//!
//! Freeing in small steps is not enough. The system's allocator joins free neighbours, and when they reach the top of
//! its heap it returns all of them to the system in one call: tens of megabytes, whose pages take milliseconds. So one
//! small allocation, a stake, is kept in every stretch of memory and freed last, from the top down: each then releases
//! no more than the memory up to the next one.

use std::collections::BTreeMap;

use super::segment::Segment;

/// Smaller blocks are freed at once; the allocator needs well under a microsecond.
const SMALL: usize = 16 << 10;
/// Bytes freed in one step: returning pages to the system costs about 0.1 us per 4 KiB.
pub(super) const STEP_BYTES: usize = 2 << 20;
/// Allocations freed in one step, plus at most one more segment: 0.5 us each, as their memory is not cached.
const STEP_ALLOCATIONS: usize = 256;
/// Each stretch of this many bytes, as a power of two, keeps one stake; less than twice as much lies between two of
/// them.
const STRETCH_BITS: u32 = 18;
/// While less than this waits, freeing is left to [`DeferredFree::step`], one step a turn.
const LEEWAY: usize = 16 << 20;
/// The minimum freed of a block to keep pace: less is not worth a call of the allocator.
const PIECE: usize = 64 << 10;
/// A smaller table is freed at once: it has a few dozen allocations.
pub(super) const SMALL_TABLE: usize = 64 << 10;
/// Larger than the pieces that the allocator caches when they are freed and joins later, many at once.
const STAKE_BYTES: usize = 2048;

/// Blocks and segments waiting to be freed.
#[derive(Debug, Default)]
pub(super) struct DeferredFree {
    blocks: Vec<Vec<u8>>,
    block_bytes: usize,
    tables: Vec<DroppedTable>,
    table_bytes: usize,
    /// Bytes freed in advance by [`keep_pace`](Self::keep_pace).
    ahead: usize,
    /// Stakes, by their stretch of memory.
    stakes: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct DroppedTable {
    segments: slab::IntoIter<Box<Segment>>,
    held: usize,
}

impl DeferredFree {
    /// Takes a block, if there is one.
    pub(super) fn defer(&mut self, block: Option<Vec<u8>>) {
        if let Some(block) = block.filter(|block| block.capacity() >= SMALL) {
            self.block_bytes += block.capacity();
            self.blocks.push(block);
        }
    }

    /// Takes the segments of a whole table, which hold `held` bytes.
    pub(super) fn defer_table(&mut self, segments: slab::Slab<Box<Segment>>, held: usize) {
        self.table_bytes += held;
        self.tables.push(DroppedTable { segments: segments.into_iter(), held });
    }

    /// Bytes not yet freed.
    pub(super) fn held(&self) -> usize {
        self.stakes.len() * STAKE_BYTES + self.block_bytes + self.table_bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tables.is_empty() && self.stakes.is_empty()
    }

    /// The store has grown by `grown` bytes. Beyond [`LEEWAY`], twice as many are freed for them, so live and waiting
    /// memory together never exceed the maximum of live memory by more than that. Freeing a page costs a tenth of
    /// filling one, so a write takes at most a fifth longer.
    pub(super) fn keep_pace(&mut self, grown: usize) {
        if self.held() > LEEWAY {
            self.pay(grown.saturating_mul(2));
        }
    }

    fn pay(&mut self, due: usize) {
        while self.ahead < due && !(self.blocks.is_empty() && self.tables.is_empty()) {
            let before = self.held();
            if self.free_blocks((due - self.ahead).clamp(PIECE, STEP_BYTES)) {
                self.free_segment();
            }
            // A stake is not free yet, and a table may hold more than its segments report.
            self.ahead += before.saturating_sub(self.held());
        }
        self.ahead = self.ahead.saturating_sub(due);
    }

    /// Frees some memory.
    pub(super) fn step(&mut self) {
        if self.free_blocks(STEP_BYTES) {
            let mut allocations = 0;
            while allocations < STEP_ALLOCATIONS && !self.tables.is_empty() {
                allocations += self.free_segment();
            }
        }
        if self.tables.is_empty() {
            self.stakes.pop_last();
        }
    }

    /// Frees `budget` bytes of blocks; returns whether no block is left.
    fn free_blocks(&mut self, mut budget: usize) -> bool {
        while let Some(mut block) = self.blocks.pop() {
            let size = block.capacity();
            if size > budget {
                block.truncate(size - budget);
                block.shrink_to(size - budget);
                self.block_bytes -= size - block.capacity();
                self.blocks.push(block);
                return false;
            }
            budget -= size;
            self.block_bytes -= size;
            self.free(block);
        }
        true
    }

    /// Frees one segment of the last table, or the table itself when it has none left; returns the number of
    /// allocations.
    fn free_segment(&mut self) -> usize {
        let Some(table) = self.tables.last_mut() else { return 0 };
        let Some((_, segment)) = table.segments.next() else {
            self.table_bytes -= table.held;
            self.tables.pop();
            return 1;
        };
        let held = segment.held();
        table.held -= held;
        self.table_bytes -= held;
        let pages = segment.into_pages();
        let allocations = 1 + pages.len();
        for page in pages {
            if page.capacity() < SMALL {
                self.free(page);
            } else {
                self.defer(Some(page));
            }
        }
        allocations
    }

    /// Frees a block, or all but a stake of it while a table is being freed.
    fn free(&mut self, mut block: Vec<u8>) {
        // The allocator shrinks in place. A block mapped on its own keeps one page: freeing a larger one would raise
        // the allocator's threshold, so that it returns memory less often and more at once.
        block.clear();
        block.shrink_to(STAKE_BYTES);
        if block.capacity() >= STAKE_BYTES && !self.tables.is_empty() {
            let stretch = block.as_ptr().addr() >> STRETCH_BITS;
            self.stakes.entry(stretch).or_insert(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use siphasher::sip::SipHasher13;

    use super::*;
    use crate::store::arena::{Data, Draft, NEVER};
    use crate::store::entry::Kind;

    #[test]
    fn a_large_block_is_freed_in_pieces() {
        let mut deferred_free = DeferredFree::default();
        deferred_free.defer(Some(vec![1; 3 * STEP_BYTES + 5]));
        deferred_free.defer(Some(vec![1; SMALL - 1]));
        let mut steps = 0;
        while !deferred_free.is_empty() {
            let held = deferred_free.held();
            deferred_free.step();
            assert!(held <= deferred_free.held() + STEP_BYTES);
            steps += 1;
        }
        assert_eq!((steps, deferred_free.held()), (4, 0));
    }

    #[test]
    fn freeing_a_table_keeps_a_stake_in_each_stretch_until_the_end() {
        const PAGES: usize = 2000;
        let mut deferred_free = DeferredFree::default();
        let mut segments = slab::Slab::new();
        // Memory still in use lies between any two pages.
        let mut between = Vec::new();
        for number in 0..PAGES {
            let mut segment = Segment::new(0, 0);
            let draft =
                Draft { key: &[1; 4000], kind: Kind::Bytes, used: false, expires: NEVER, data: Data::Borrowed(&[1]) };
            let hasher = SipHasher13::new();
            segment.put(number as u64, draft, &hasher).unwrap();
            segments.insert(Box::new(segment));
            between.push(vec![1_u8; 5000]);
        }
        let held = segments.iter().map(|(_, segment)| segment.held()).sum();
        deferred_free.defer_table(segments, held);
        while !deferred_free.tables.is_empty() {
            deferred_free.step();
        }
        // The step that dropped the table has freed the first one.
        let stakes = deferred_free.stakes.len();
        assert!((1..PAGES / 2).contains(&stakes), "{stakes} stakes");
        for left in (0..stakes).rev() {
            let last = deferred_free.stakes.last_key_value().map(|(stretch, _)| *stretch);
            assert!(!deferred_free.is_empty() && deferred_free.held() > 0);
            deferred_free.step();
            assert_eq!((deferred_free.stakes.len(), deferred_free.stakes.contains_key(&last.unwrap())), (left, false));
        }
        assert!(deferred_free.is_empty() && deferred_free.held() == 0);
        drop(between);
    }
}
