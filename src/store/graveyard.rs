//! What is no longer needed, freed a piece at a time: a large block or ten million records at once would stall the loop.

use super::segment::Segment;

/// Blocks below this size are freed where they fall; the allocator does it in well under a microsecond.
const SMALL: usize = 16 << 10;
/// Bytes freed in one step: giving pages back to the system costs about 0.1 us for each 4 KiB.
pub(super) const STEP_BYTES: usize = 2 << 20;
/// Allocations given back in one step, where one segment more may be begun: 0.5 us each, as their memory is cold.
const STEP_ALLOCATIONS: usize = 256;

/// Blocks and segments that wait to be freed.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    blocks: Vec<Vec<u8>>,
    block_bytes: usize,
    tables: Vec<DroppedTable>,
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
        self.block_bytes + self.tables.iter().map(|table| table.held).sum::<usize>()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tables.is_empty()
    }

    /// Frees a piece.
    pub(super) fn step(&mut self) {
        let mut budget = STEP_BYTES;
        while let Some(mut block) = self.blocks.pop() {
            let size = block.capacity();
            if size > budget {
                block.truncate(size - budget);
                block.shrink_to(size - budget);
                self.block_bytes -= size - block.capacity();
                self.blocks.push(block);
                return;
            }
            budget -= size;
            self.block_bytes -= size;
        }
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
                self.bury(Some(page));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_block_goes_in_pieces() {
        let mut graveyard = Graveyard::default();
        graveyard.bury(Some(vec![1; 3 * STEP_BYTES + 5]));
        graveyard.bury(Some(vec![1; SMALL - 1]));
        let mut steps = 0;
        while !graveyard.is_empty() {
            let held = graveyard.held();
            graveyard.step();
            assert!(held - graveyard.held() <= STEP_BYTES);
            steps += 1;
        }
        assert_eq!((steps, graveyard.held()), (4, 0));
    }
}
