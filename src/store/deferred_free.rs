//! What is no longer needed, freed a piece at a time: a large block or ten million records at once would stall the loop.
//!
//! Freeing little by little is not enough. The system's allocator joins free neighbours, and when they reach the top of
//! its heap it gives all of them back to the system in one call: tens of megabytes, whose pages take milliseconds. So of
//! what is freed a little stays behind as stakes in every stretch of memory, and go last, from the top down: each then
//! sets free no more than what lies up to the next one.

use std::collections::BTreeMap;

use super::segment::Segment;

/// Blocks below this size are freed where they fall; the allocator does it in well under a microsecond.
const SMALL: usize = 16 << 10;
/// Bytes freed in one step: giving pages back to the system costs about 0.1 us for each 4 KiB.
pub(super) const STEP_BYTES: usize = 2 << 20;
/// Allocations given back in one step, where one segment more may be begun: 0.5 us each, as their memory is cold.
const STEP_ALLOCATIONS: usize = 256;
/// Each stretch of this many bytes, as a power of two, keeps one stake; between two of them lies less than twice as much.
const STRETCH_BITS: u32 = 18;
/// While less than this waits, freeing is left to [`DeferredFree::step`], one step a turn.
const LEEWAY: usize = 16 << 20;
/// The least that is freed of a block to keep pace: a call of the allocator is not worth less.
const PIECE: usize = 64 << 10;
/// A table this small is freed where it falls: it has a few dozen allocations.
pub(super) const SMALL_TABLE: usize = 64 << 10;
/// A stake is so large because the allocator puts smaller pieces aside when they are freed, and joins them later, many
/// at once.
const STAKE_BYTES: usize = 2048;

/// Blocks and segments that wait to be freed.
#[derive(Debug, Default)]
pub(super) struct DeferredFree {
    blocks: Vec<Vec<u8>>,
    block_bytes: usize,
    tables: Vec<DroppedTable>,
    table_bytes: usize,
    /// Bytes that [`keep_pace`](Self::keep_pace) has freed in advance.
    ahead: usize,
    /// By the stretch of memory they stand in.
    stakes: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct DroppedTable {
    segments: slab::IntoIter<Box<Segment>>,
    held: usize,
}

impl DeferredFree {
    /// Takes a block of data, if there is one.
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

    /// The store has grown by so many bytes. Beyond [`LEEWAY`] twice as many are freed for them, so what is live and what
    /// waits together never exceed the most that was live by more than that. Freeing a page costs a tenth of what
    /// filling one does, so a write takes a fifth longer at most.
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
            // What has become a stake is not free yet, and a table may hold more than its segments say.
            self.ahead += before.saturating_sub(self.held());
        }
        self.ahead = self.ahead.saturating_sub(due);
    }

    /// Frees a piece.
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

    /// Frees so many bytes of blocks. Whether no block is left.
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

    /// Frees one segment of the last table, or that table when it has none left. How many allocations that were.
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

    /// Frees all of a block; while a whole table goes, perhaps all but a stake.
    fn free(&mut self, mut block: Vec<u8>) {
        // The allocator does this in place. One that it has mapped apart is no more than a page afterwards: freeing a
        // larger one would make it return memory less often, and so more at once.
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
    fn a_large_block_goes_in_pieces() {
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
    fn of_a_table_a_stake_in_each_stretch_goes_last() {
        const PAGES: usize = 2000;
        let mut deferred_free = DeferredFree::default();
        let mut segments = slab::Slab::new();
        // What is still in use lies between any two pages.
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
        // The step that dropped the table has taken the first.
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
