//! The manifest: up to which group the journals are known to be on disk.
//!
//! A journal whose end is missing looks like one that was never written any further: only a second file shows the
//! difference. Two slots are written in turn, each with a checksum: a torn write loses one step. A slot is written
//! after the journal's sync, so the manifest is never ahead of the journal; it is not synced each time, so after a
//! crash of the machine it may be behind.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::failure::StorageError;
use super::folder::{FileHandle, Folder};
use super::names;

const SLOT: usize = 32;
const MAGIC: [u8; 8] = *b"latchkey";

/// The content of the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The last group known to be on disk.
    pub(super) group: u64,
    /// The directory was closed cleanly.
    pub(super) clean: bool,
}

/// The manifest, open.
pub(super) struct ManifestFile {
    file: Box<dyn FileHandle>,
    manifest: Manifest,
    /// Which slot is written next.
    next: bool,
}

/// The newest readable slot, and whether it is the second; `None` if there is none.
fn read(file: &dyn FileHandle) -> io::Result<Option<(Manifest, bool)>> {
    let mut newest: Option<(Manifest, bool)> = None;
    for second in [false, true] {
        let mut slot = [0; SLOT];
        if file.read_at(&mut slot, offset(second))? == SLOT
            && let Some(manifest) = decode(&slot)
            && newest.is_none_or(|(newest, _)| (manifest.group, manifest.clean) >= (newest.group, newest.clean))
        {
            newest = Some((manifest, second));
        }
    }
    Ok(newest)
}

/// Reads the manifest without changing it.
pub(super) fn look(folder: &dyn Folder) -> io::Result<Option<Manifest>> {
    match folder.open(names::MARK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(read(&*file?)?.map(|(manifest, _)| manifest)),
    }
}

impl ManifestFile {
    /// Opens or creates the manifest, and records on disk that the directory is in use.
    pub(super) fn open(folder: &dyn Folder) -> io::Result<Self> {
        let file = match folder.open(names::MARK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder.create(names::MARK)?,
            file => file?,
        };
        let (manifest, second) = read(&*file)?.unwrap_or_default();
        let mut opened = Self { file, manifest, next: !second };
        // The error is returned as it is: a full disk must be recognised at start.
        opened.write_both(Manifest { clean: false, ..manifest })?;
        opened.sync()?;
        folder.sync()?;
        Ok(opened)
    }

    /// Records that everything up to `group` is on disk.
    pub(super) fn advance(&mut self, group: u64) -> io::Result<()> {
        self.write(Manifest { group, clean: false })
    }

    /// Records whether the directory is closed, and forces that to disk.
    pub(super) fn set_clean(&mut self, clean: bool) -> Result<(), StorageError> {
        self.write_both(Manifest { clean, ..self.manifest }).map_err(|error| StorageError::write(&error))?;
        self.sync().map_err(|error| StorageError::sync(&error))
    }

    /// Writes both slots, so that no older one contradicts.
    fn write_both(&mut self, manifest: Manifest) -> io::Result<()> {
        self.write(manifest)?;
        self.write(manifest)
    }

    /// Forces what was written to disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&mut self, manifest: Manifest) -> io::Result<()> {
        self.file.write_at(&encode(manifest), offset(self.next))?;
        self.manifest = manifest;
        self.next = !self.next;
        Ok(())
    }
}

/// Each slot has a block of its own, so that no write can tear both.
fn offset(second: bool) -> u64 {
    if second { 4096 } else { 0 }
}

fn encode(manifest: Manifest) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let (front, sum) = slot.split_at_mut(SLOT - 8);
    let parts = MAGIC.into_iter().chain(manifest.group.to_le_bytes()).chain(u64::from(manifest.clean).to_le_bytes());
    front.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    sum.copy_from_slice(&xxh3_64(front).to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT]) -> Option<Manifest> {
    let (front, sum) = slot.split_at_checked(SLOT - 8)?;
    let (magic, rest) = front.split_at_checked(8)?;
    let (group, clean) = rest.split_at_checked(8)?;
    let is_good = magic == MAGIC && u64::from_le_bytes(sum.try_into().ok()?) == xxh3_64(front);
    let manifest = Manifest {
        group: u64::from_le_bytes(group.try_into().ok()?),
        clean: clean.first().is_some_and(|byte| *byte == 1),
    };
    is_good.then_some(manifest)
}

#[cfg(test)]
mod tests {
    use super::super::folder::RealFolder;
    use super::*;

    #[test]
    fn the_newest_readable_slot_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = RealFolder::new(folder.path().into()).expect("a folder");
        assert_eq!(look(&real).expect("read"), None);
        let mut file = ManifestFile::open(&real).expect("made");
        for group in 1..=5 {
            file.advance(group).expect("written");
        }
        let look = || look(&real).expect("read");
        assert_eq!(look(), Some(Manifest { group: 5, clean: false }));
        // The slot written last is torn: the other one is used.
        let torn = offset(!file.next);
        file.file.write_at(&[0; 16], torn).expect("written");
        assert_eq!(look(), Some(Manifest { group: 4, clean: false }));
        let mut file = ManifestFile::open(&real).expect("opened");
        file.advance(6).expect("written");
        assert_eq!(look(), Some(Manifest { group: 6, clean: false }));
        file.set_clean(true).expect("written");
        assert_eq!(look(), Some(Manifest { group: 6, clean: true }));
        file.set_clean(false).expect("written");
        assert_eq!(look(), Some(Manifest { group: 6, clean: false }));
        std::fs::write(folder.path().join(names::MARK), [0; 10]).expect("cut");
        assert_eq!(look(), None);
    }
}
