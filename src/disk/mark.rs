//! The side file: how far the journal is known to be on disk, kept apart from it.
//!
//! The engine's reader stops in silence at the first thing it cannot read, so only a second witness can tell that the
//! end of a journal is missing. Two slots are written in turn, each with a checksum: one torn write loses one step. A
//! slot is written after the journal's sync, so the file is never ahead of the journal; it is not synced each time, so
//! after a crash of the machine it may be behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

const SLOT: usize = 32;
const MAGIC: [u8; 8] = *b"latchkey";

/// What the side file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last group known to be on disk.
    pub(super) group: u64,
    /// The directory was closed in order.
    pub(super) clean: bool,
}

/// The side file, open.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    mark: Mark,
    /// Which slot is written next.
    next: bool,
}

impl MarkFile {
    /// Opens the file at `path`, or makes it. `None` for the mark of a file with no readable slot.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut newest: Option<(Mark, bool)> = None;
        for second in [false, true] {
            let mut slot = [0; SLOT];
            if file.read_exact_at(&mut slot, offset(second)).is_ok()
                && let Some(mark) = decode(&slot)
                && newest.is_none_or(|(newest, _)| (mark.group, mark.clean) >= (newest.group, newest.clean))
            {
                newest = Some((mark, second));
            }
        }
        let (mark, second) = newest.unwrap_or_default();
        Ok((Self { file, mark, next: !second }, newest.map(|(mark, _)| mark)))
    }

    /// Writes down that everything up to `group` is on disk.
    pub(super) fn advance(&mut self, group: u64) -> io::Result<()> {
        self.write(Mark { group, clean: false })
    }

    /// Writes down whether the directory is closed, and forces that to disk.
    pub(super) fn set_clean(&mut self, clean: bool) -> io::Result<()> {
        let mark = Mark { clean, ..self.mark };
        // Both slots, so that no older one can say otherwise.
        self.write(mark)?;
        self.write(mark)?;
        self.sync()
    }

    /// Forces what was written to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&encode(mark), offset(self.next))?;
        self.mark = mark;
        self.next = !self.next;
        Ok(())
    }
}

/// Each slot has a block of its own, so that no write can tear both.
fn offset(second: bool) -> u64 {
    if second { 4096 } else { 0 }
}

fn encode(mark: Mark) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let (front, sum) = slot.split_at_mut(SLOT - 8);
    let parts = MAGIC.into_iter().chain(mark.group.to_le_bytes()).chain(u64::from(mark.clean).to_le_bytes());
    front.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    sum.copy_from_slice(&xxh3_64(front).to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT]) -> Option<Mark> {
    let (front, sum) = slot.split_at_checked(SLOT - 8)?;
    let (magic, rest) = front.split_at_checked(8)?;
    let (group, clean) = rest.split_at_checked(8)?;
    let is_good = magic == MAGIC && u64::from_le_bytes(sum.try_into().ok()?) == xxh3_64(front);
    let mark =
        Mark { group: u64::from_le_bytes(group.try_into().ok()?), clean: clean.first().is_some_and(|byte| *byte == 1) };
    is_good.then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        let (mut file, found) = MarkFile::open(&path).expect("made");
        assert_eq!(found, None);
        for group in 1..=5 {
            file.advance(group).expect("written");
        }
        let reopen = || MarkFile::open(&path).expect("opened").1;
        assert_eq!(reopen(), Some(Mark { group: 5, clean: false }));
        // The slot that was written last is torn: the other stands.
        let torn = offset(!file.next);
        file.file.write_all_at(&[0; 16], torn).expect("written");
        assert_eq!(reopen(), Some(Mark { group: 4, clean: false }));
        let (mut file, _) = MarkFile::open(&path).expect("opened");
        file.advance(6).expect("written");
        assert_eq!(reopen(), Some(Mark { group: 6, clean: false }));
        file.set_clean(true).expect("written");
        assert_eq!(reopen(), Some(Mark { group: 6, clean: true }));
        file.set_clean(false).expect("written");
        assert_eq!(reopen(), Some(Mark { group: 6, clean: false }));
        file.file.set_len(10).expect("cut");
        assert_eq!(reopen(), None);
    }
}
