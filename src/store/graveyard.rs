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
/// A stake is so large because the allocator puts smaller pieces aside when they are freed, and joins them later, many
/// at once.
const STAKE_BYTES: usize = 2048;

/// Blocks and segments that wait to be freed.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    blocks: Vec<Vec<u8>>,
    block_bytes: usize,
    tables: Vec<DroppedTable>,
    /// By the stretch of memory they stand in.
    stakes: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct DroppedTable {
    segments: slab::IntoIter<Box<Segment>>,
    held: usize,
}

impl Graveyard {
    /// Takes a block of data, if there is one.
    pub(super) fn bury(&mut self, block: Option<Vec<u8>>) {
        if let Some(block) = block.filter(|block| block.capacity() >= SMALL) {
            self.block_bytes += block.capacity();
            self.blocks.push(block);
        }
    }

    /// Takes the segments of a whole table, which hold `held` bytes.
    pub(super) fn bury_table(&mut self, segments: slab::Slab<Box<Segment>>, held: usize) {
        self.tables.push(DroppedTable { segments: segments.into_iter(), held });
    }

    /// Bytes not yet freed.
    pub(super) fn held(&self) -> usize {
        let stakes = self.stakes.len() * STAKE_BYTES;
        stakes + self.block_bytes + self.tables.iter().map(|table| table.held).sum::<usize>()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tables.is_empty() && self.stakes.is_empty()
    }

    /// Frees a piece.
    pub(super) fn step(&mut self) {
        if self.free_blocks() {
            self.free_segments();
        }
        if self.tables.is_empty() {
            self.stakes.pop_last();
        }
    }

    /// Frees blocks as far as a step goes. Whether none is left.
    fn free_blocks(&mut self) -> bool {
        let mut budget = STEP_BYTES;
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

    fn free_segments(&mut self) {
        let mut allocations = 0;
        while allocations < STEP_ALLOCATIONS {
            let Some(table) = self.tables.last_mut() else { return };
            let Some((_, segment)) = table.segments.next() else {
                self.tables.pop();
                return;
            };
            table.held -= segment.held();
            let pages = segment.into_pages();
            allocations += 1 + pages.len();
            for page in pages {
                if page.capacity() < SMALL {
                    self.free(page);
                } else {
                    self.bury(Some(page));
                }
            }
        }
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
        let mut graveyard = Graveyard::default();
        graveyard.bury(Some(vec![1; 3 * STEP_BYTES + 5]));
        graveyard.bury(Some(vec![1; SMALL - 1]));
        let mut steps = 0;
        while !graveyard.is_empty() {
            let held = graveyard.held();
            graveyard.step();
            assert!(held <= graveyard.held() + STEP_BYTES);
            steps += 1;
        }
        assert_eq!((steps, graveyard.held()), (4, 0));
    }

    #[test]
    fn of_a_table_a_stake_in_each_stretch_goes_last() {
        const PAGES: usize = 2000;
        let mut graveyard = Graveyard::default();
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
        graveyard.bury_table(segments, held);
        while !graveyard.tables.is_empty() {
            graveyard.step();
        }
        // The step that dropped the table has taken the first.
        let stakes = graveyard.stakes.len();
        assert!((1..PAGES / 2).contains(&stakes), "{stakes} stakes");
        for left in (0..stakes).rev() {
            let last = graveyard.stakes.last_key_value().map(|(stretch, _)| *stretch);
            assert!(!graveyard.is_empty() && graveyard.held() > 0);
            graveyard.step();
            assert_eq!((graveyard.stakes.len(), graveyard.stakes.contains_key(&last.unwrap())), (left, false));
        }
        assert!(graveyard.is_empty() && graveyard.held() == 0);
        drop(between);
    }
}
