//! A simulated disk: files in memory that lose what was not synced, with injected faults.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::folder::{FileHandle, Folder};
use super::names::MARK;

/// The unit in which the disk writes.
const PAGE: usize = 4096;

/// Which faults occur, and when. Syncs of the manifest neither take time nor count.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// Duration of each sync.
    pub sync_takes: Duration,
    /// Duration of each read.
    pub read_takes: Duration,
    /// Reported free space, in bytes.
    pub free: Option<u64>,
    /// Writes that need space before the disk is full; half of the next one is written.
    pub room: Option<usize>,
    /// Total size of all files before the disk is full, in bytes; a write is truncated to the space left.
    pub capacity: Option<usize>,
    /// Syncs that succeed before one fails.
    pub syncs: Option<usize>,
    /// The next write panics, like a bug.
    pub panics: bool,
    /// Changing calls before the machine stops.
    pub stops_after: Option<usize>,
    /// Changing calls before one fails, once, without effect.
    pub fails_after: Option<usize>,
    /// There are no descriptors: no file can be opened.
    pub no_descriptors: bool,
}

#[derive(Clone, Debug)]
enum Rename {
    Add(String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
struct Inode {
    /// What survives a crash of the machine.
    synced: Vec<u8>,
    /// What reads return.
    seen: Vec<u8>,
    is_mark: bool,
}

#[derive(Debug)]
struct Write {
    inode: usize,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// Names that survive a crash of the machine.
    synced_names: BTreeMap<String, usize>,
    /// Renames that may not, in order.
    renames: Vec<Rename>,
    /// Writes that survive the process only, in order.
    writes: Vec<Write>,
    faults: DiskFaults,
    syncs: usize,
    has_stopped: bool,
    /// How often the machine has stopped. Handles opened before no longer write.
    crashes: u64,
}

/// The disk, which outlives the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// Chooses the fate of unsynced writes in a crash: a number below the given one.
pub type Fate<'a> = &'a mut dyn FnMut(u64) -> u64;

impl Disk {
    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults = faults;
    }

    /// The one folder on the disk.
    #[must_use]
    pub fn folder(&self) -> Arc<dyn Folder> {
        Arc::new(SimFolder { disk: self.clone(), crashes: self.lock().crashes })
    }

    /// The machine stops: of what was not synced, all renames and the first `kept` writes are on disk, not counting
    /// those of the manifest.
    pub fn crash(&self, kept: usize) {
        let mut state = self.lock();
        let names = state.renames.len();
        let writes = std::mem::take(&mut state.writes);
        let (mark, journal): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| state.is_mark(write.inode));
        for write in mark.iter().chain(journal.iter().take(kept)) {
            state.reach(write.inode, write.offset, &write.bytes);
        }
        state.stop(names);
    }

    /// The machine stops: of what was not synced, a part is on disk. Renames are applied in order; of writes, any
    /// pages. A missing page before one that is on disk is as it was or zero.
    pub fn crash_torn(&self, fate: Fate<'_>) {
        let mut state = self.lock();
        let names = usize::try_from(fate(state.renames.len() as u64 + 1)).unwrap_or(0);
        // One crash in four tears nothing: all writes up to one of them.
        let whole = (fate(4) == 0).then(|| fate(state.writes.len() as u64 + 1));
        for (number, write) in std::mem::take(&mut state.writes).into_iter().enumerate() {
            if let Some(whole) = whole {
                if (number as u64) < whole {
                    state.reach(write.inode, write.offset, &write.bytes);
                }
                continue;
            }
            let mut offset = write.offset;
            let mut bytes = write.bytes.as_slice();
            while !bytes.is_empty() {
                let (page, rest) = bytes.split_at((PAGE - offset % PAGE).min(bytes.len()));
                match fate(3) {
                    0 => {}
                    1 if !state.is_mark(write.inode) && !state.was_synced(write.inode, offset) => {
                        state.reach(write.inode, offset, &vec![0; page.len()]);
                    }
                    _ => state.reach(write.inode, offset, page),
                }
                offset += page.len();
                bytes = rest;
            }
        }
        state.stop(names);
    }

    /// Number of syncs so far.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.lock().syncs
    }

    /// Total size of all files in bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.lock().used()
    }

    /// Number of writes that a crash could lose, not counting those of the manifest.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let state = self.lock();
        state.writes.iter().filter(|write| !state.is_mark(write.inode)).count()
    }

    /// Whether the machine has stopped, until its crash.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.lock().has_stopped
    }

    /// The files by name, with what reads return.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let seen = |inode: &usize| state.inodes.get(*inode).map(|inode| inode.seen.clone()).unwrap_or_default();
        state.names.iter().map(|(name, inode)| (name.clone(), seen(inode))).collect()
    }

    /// A disk with these files.
    #[must_use]
    pub fn with_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name.clone(), state.inodes.len());
            let is_mark = name == MARK;
            state.inodes.push(Inode { synced: bytes.clone(), seen: bytes.clone(), is_mark });
        }
        state.synced_names.clone_from(&state.names);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, unless the machine has stopped since the handle was opened.
    fn running(&self, crashes: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.crashes == crashes && !state.has_stopped { Ok(state) } else { Err(stopped()) }
    }

    /// The same, for a call that changes something.
    fn changing(&self, crashes: u64) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.running(crashes)?;
        if let Some(calls) = state.faults.stops_after.as_mut() {
            let Some(left) = calls.checked_sub(1) else {
                state.has_stopped = true;
                return Err(stopped());
            };
            *calls = left;
        }
        Ok(state)
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

fn input_output_error() -> io::Error {
    io::Error::other("input/output error")
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    if let Some(there) = to.get_mut(offset..offset + bytes.len()) {
        there.copy_from_slice(bytes);
    }
}

impl State {
    /// A changing call fails when its number comes up.
    fn may_fail(&mut self) -> io::Result<()> {
        match self.faults.fails_after {
            Some(0) => {
                self.faults.fails_after = None;
                Err(input_output_error())
            }
            left => {
                self.faults.fails_after = left.map(|left| left - 1);
                Ok(())
            }
        }
    }

    fn count_sync(&mut self) -> io::Result<()> {
        if let Some(syncs) = self.faults.syncs.as_mut() {
            *syncs = syncs.checked_sub(1).ok_or_else(input_output_error)?;
        }
        self.syncs += 1;
        Ok(())
    }

    fn used(&self) -> usize {
        self.names.values().filter_map(|inode| self.inodes.get(*inode)).map(|inode| inode.seen.len()).sum()
    }

    /// How many of `length` bytes at `offset` of a file fit on the disk.
    fn fitting(&self, inode: usize, offset: usize, length: usize) -> usize {
        let Some(capacity) = self.faults.capacity else { return length };
        let there = self.inodes.get(inode).map_or(0, |inode| inode.seen.len());
        length.min((there + capacity.saturating_sub(self.used())).saturating_sub(offset))
    }

    fn has_descriptors(&self) -> io::Result<()> {
        if self.faults.no_descriptors { Err(io::Error::other("too many open files")) } else { Ok(()) }
    }

    fn is_mark(&self, inode: usize) -> bool {
        self.inodes.get(inode).is_some_and(|inode| inode.is_mark)
    }

    fn was_synced(&self, inode: usize, offset: usize) -> bool {
        self.inodes.get(inode).is_some_and(|inode| offset < inode.synced.len())
    }

    /// Bytes become durable.
    fn reach(&mut self, inode: usize, offset: usize, bytes: &[u8]) {
        if let Some(inode) = self.inodes.get_mut(inode) {
            put(&mut inode.synced, offset, bytes);
        }
    }

    fn stop(&mut self, names: usize) {
        for rename in std::mem::take(&mut self.renames).into_iter().take(names) {
            apply(&mut self.synced_names, rename);
        }
        self.names.clone_from(&self.synced_names);
        for inode in &mut self.inodes {
            inode.seen.clone_from(&inode.synced);
        }
        self.writes.clear();
        self.faults = DiskFaults::default();
        self.has_stopped = false;
        self.crashes += 1;
    }

    fn rename(&mut self, rename: Rename) {
        apply(&mut self.names, rename.clone());
        self.renames.push(rename);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, rename: Rename) {
    match rename {
        Rename::Add(name, inode) => {
            // A renamed file has exactly one name, before and after.
            names.retain(|_, other| *other != inode);
            names.insert(name, inode);
        }
        Rename::Remove(name) => drop(names.remove(&name)),
    }
}

struct SimFolder {
    disk: Disk,
    /// How often the machine had stopped when this was opened.
    crashes: u64,
}

impl SimFolder {
    fn handle(&self, inode: usize) -> Box<dyn FileHandle> {
        Box::new(SimHandle { disk: self.disk.clone(), crashes: self.crashes, inode })
    }
}

impl Folder for SimFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.running(self.crashes)?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn FileHandle>> {
        let mut state = self.disk.changing(self.crashes)?;
        state.has_descriptors()?;
        state.may_fail()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode { is_mark: name == MARK, ..Inode::default() });
        state.rename(Rename::Add(name.into(), inode));
        drop(state);
        Ok(self.handle(inode))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn FileHandle>> {
        let state = self.disk.running(self.crashes)?;
        state.has_descriptors()?;
        let inode = state.names.get(name).copied();
        drop(state);
        inode.map(|inode| self.handle(inode)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.changing(self.crashes)?;
        state.may_fail()?;
        let inode = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.rename(Rename::Add(to.into(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.changing(self.crashes)?;
        state.may_fail()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Rename::Remove(name.into()));
        Ok(())
    }

    fn room(&self) -> io::Result<u64> {
        let state = self.disk.running(self.crashes)?;
        let faults = state.faults;
        let left = faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()) as u64);
        Ok(if faults.room == Some(0) { 0 } else { faults.free.unwrap_or(u64::MAX).min(left) })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.changing(self.crashes)?;
        state.may_fail()?;
        for rename in std::mem::take(&mut state.renames) {
            apply(&mut state.synced_names, rename);
        }
        Ok(())
    }
}

struct SimHandle {
    disk: Disk,
    crashes: u64,
    inode: usize,
}

impl FileHandle for SimHandle {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let takes = self.disk.lock().faults.read_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let state = self.disk.running(self.crashes)?;
        let seen = state.inodes.get(self.inode).map(|inode| inode.seen.as_slice()).unwrap_or_default();
        let there = usize::try_from(offset).ok().and_then(|offset| seen.get(offset..)).unwrap_or_default();
        let length = there.len().min(bytes.len());
        bytes.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        Ok(length)
    }

    #[expect(clippy::panic, reason = "that is what is simulated")]
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.changing(self.crashes)?;
        if state.faults.panics {
            drop(state);
            panic!("the simulated disk has a bug");
        }
        state.may_fail()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut taken = bytes;
        taken = taken.get(..state.fitting(self.inode, offset, taken.len())).unwrap_or_default();
        let needs_room = state.inodes.get(self.inode).is_some_and(|inode| offset + bytes.len() > inode.seen.len());
        if let Some(room) = state.faults.room.as_mut().filter(|_| needs_room) {
            match room.checked_sub(1) {
                Some(left) => *room = left,
                None => taken = bytes.get(..bytes.len() / 2).unwrap_or_default(),
            }
        }
        if let Some(inode) = state.inodes.get_mut(self.inode) {
            put(&mut inode.seen, offset, taken);
        }
        state.writes.push(Write { inode: self.inode, offset, bytes: taken.to_vec() });
        if taken.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let is_mark = self.disk.lock().is_mark(self.inode);
        if !is_mark {
            let takes = self.disk.lock().faults.sync_takes;
            std::thread::sleep(takes);
        }
        let mut state = self.disk.changing(self.crashes)?;
        let may_sync = state.may_fail().and_then(|()| if is_mark { Ok(()) } else { state.count_sync() });
        if may_sync.is_err() {
            // As on Linux: pages that could not be written are treated as written. They can be read, but are not on
            // disk, and no later sync writes them.
            let inode = self.inode;
            state.writes.retain(|write| write.inode != inode);
            return may_sync;
        }
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.writes).into_iter().partition(|write| write.inode == self.inode);
        state.writes = others;
        for write in mine {
            state.reach(write.inode, write.offset, &write.bytes);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.running(self.crashes)?;
        Ok(state.inodes.get(self.inode).map_or(0, |inode| inode.seen.len() as u64))
    }
}
