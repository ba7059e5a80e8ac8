//! Snapshot and journals merged: every key with its newest value, for loading, backups and compaction.
//!
//! Two passes over the journals keep only an index in memory: the first records which change of a key is its newest,
//! the second emits those, after the values of the snapshot that have not changed since. An index has a bounded number
//! of keys; with more keys, the work is done in parts, each for some keys.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::folder::FileHandle;
use super::group::{Changes, Group, Raw};
use super::record::Reader;

/// Keys in an index: about a hundred megabytes.
pub(super) const INDEX: usize = 3_500_000;

/// A file, up to its last valid record.
pub(super) struct MergeSource {
    pub(super) name: String,
    pub(super) file: Box<dyn FileHandle>,
    /// The end of the last record that is valid.
    pub(super) end: u64,
}

/// The state of a directory at one time. The files stay readable after they are removed.
pub(super) struct View {
    pub(super) snapshot: Option<MergeSource>,
    /// Journals, the oldest first.
    pub(super) journals: Vec<MergeSource>,
    /// Set to stop reading.
    pub(super) is_cancelled: Arc<AtomicBool>,
    /// Changes that [`before`](Self::before) has read.
    pub(super) seen: Arc<AtomicU64>,
}

/// Keys, each with its former value, if it had one.
pub(super) type Before = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Called with a key and its value as it is stored.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>;

impl MergeSource {
    /// Visits every change.
    pub(super) fn each(&self, stop: &AtomicBool, visit: &mut dyn FnMut(Raw<'_>) -> io::Result<()>) -> io::Result<()> {
        let damaged = |at: u64| io::Error::other(format!("{} is damaged at byte {at}", self.name));
        let Some((_, mut reader)) = Reader::open(&*self.file)? else { return Err(damaged(0)) };
        while reader.position() < self.end {
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the server is stopping"));
            }
            let at = reader.position();
            let Some((_, body)) = reader.read()? else { return Err(damaged(at)) };
            let mut changes = Changes::new(body);
            for change in &mut changes {
                visit(change)?;
            }
            if !changes.rest().is_empty() {
                return Err(io::Error::other(format!("{} holds a change of an unknown kind at byte {at}", self.name)));
            }
        }
        Ok(())
    }
}

impl View {
    fn each_journaled(&self, visit: &mut dyn FnMut(u64, Raw<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut ordinal = 0;
        for journal in &self.journals {
            journal.each(&self.is_cancelled, &mut |change| {
                ordinal += 1;
                visit(ordinal, change)
            })?;
        }
        Ok(())
    }

    /// Visits every key once, in no order, with an index of at most about `limit` keys.
    pub(super) fn merge(&self, limit: usize, visit: Visit<'_>) -> io::Result<()> {
        let prints = Prints::new();
        let mut parts = 1;
        let mut first = loop {
            match self.index(&prints, Part { number: 0, of: parts }, limit)? {
                Some(index) => break Some(index),
                None => parts *= 2,
            }
        };
        for number in 0..parts {
            let part = Part { number, of: parts };
            let index = match first.take() {
                Some(index) => index,
                // Parts differ little: that this one is larger than the first is no reason to start over.
                None => self.index(&prints, part, usize::MAX)?.unwrap_or_default(),
            };
            self.emit(&prints, part, &index, visit)?;
        }
        Ok(())
    }

    /// The newest change of each key of a part; `None` if there are too many keys.
    fn index(&self, prints: &Prints, part: Part, limit: usize) -> io::Result<Option<Index>> {
        let mut index = Index::default();
        let mut is_full = false;
        self.each_journaled(&mut |ordinal, change| {
            match change {
                Raw::Clear => {
                    index.newest.clear();
                    index.is_cleared = true;
                }
                Raw::Put { key, .. } | Raw::Remove { key } => {
                    let print = prints.of(key);
                    if part.has(print) && !is_full {
                        index.newest.insert(print, ordinal);
                        is_full = index.newest.len() > limit;
                    }
                }
            }
            Ok(())
        })?;
        Ok((!is_full).then_some(index))
    }

    fn emit(&self, prints: &Prints, part: Part, index: &Index, visit: Visit<'_>) -> io::Result<()> {
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| !index.is_cleared) {
            snapshot.each(&self.is_cancelled, &mut |change| {
                let Raw::Put { key, value } = change else {
                    return Err(io::Error::other(format!("{} has records other than values", snapshot.name)));
                };
                let print = prints.of(key);
                if part.has(print) && !index.newest.contains_key(&print) { visit(key, value) } else { Ok(()) }
            })?;
        }
        self.each_journaled(&mut |ordinal, change| match change {
            Raw::Put { key, value } if index.newest.get(&prints.of(key)) == Some(&ordinal) => visit(key, value),
            _ => Ok(()),
        })
    }

    /// The values of the keys that `group` changes before it removes all, by one pass over all files.
    pub(super) fn before(&self, group: &Group) -> io::Result<Before> {
        let mut before: HashMap<&[u8], Option<Vec<u8>>> = HashMap::new();
        for change in group.raw() {
            match change {
                Raw::Put { key, .. } | Raw::Remove { key } => drop(before.insert(key, None)),
                Raw::Clear => break,
            }
        }
        if before.is_empty() {
            return Ok(Before::new());
        }
        let mut note = |change: Raw<'_>| {
            self.seen.fetch_add(1, Ordering::Relaxed);
            match change {
                Raw::Put { key, value } => {
                    if let Some(known) = before.get_mut(key) {
                        *known = Some(value.to_vec());
                    }
                }
                Raw::Remove { key } => {
                    if let Some(known) = before.get_mut(key) {
                        *known = None;
                    }
                }
                Raw::Clear => before.values_mut().for_each(|known| *known = None),
            }
            Ok(())
        };
        if let Some(snapshot) = &self.snapshot {
            snapshot.each(&self.is_cancelled, &mut note)?;
        }
        self.each_journaled(&mut |_, change| note(change))?;
        Ok(before.into_iter().map(|(key, value)| (key.to_vec(), value)).collect())
    }
}

/// A subset of all keys.
#[derive(Clone, Copy)]
struct Part {
    number: u64,
    of: u64,
}

impl Part {
    fn has(self, print: Print) -> bool {
        print.1 % self.of == self.number
    }
}

/// The fingerprint of a key. Two keys collide with the probability of guessing 128 bits: the hash is keyed with a
/// secret.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print(u64, u64);

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

struct Prints {
    hasher: SipHasher13,
}

impl Prints {
    fn new() -> Self {
        let random = RandomState::new();
        Self { hasher: SipHasher13::new_with_keys(random.hash_one(1), random.hash_one(2)) }
    }

    fn of(&self, key: &[u8]) -> Print {
        let mut hasher = self.hasher;
        hasher.write(key);
        let print = hasher.finish128();
        Print(print.h1, print.h2)
    }
}

/// A hasher for what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
struct Index {
    /// By key, the number of its newest change, counted from the oldest.
    newest: HashMap<Print, u64, BuildHasherDefault<AsItIs>>,
    /// Every key was removed before this change.
    is_cleared: bool,
}
