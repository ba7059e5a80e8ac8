//! Snapshot and journals as one: every key with its newest value. Loading, backups and compaction are this.
//!
//! Two passes over the journals, so that nothing is kept but an index: the first notes which change of a key is its
//! newest, the second gives those that are, behind what of the snapshot has not changed since. An index holds a bounded
//! number of keys; where there are more, the work is done in parts, each for some keys.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::folder::FileHandle;
use super::group::{Changes, Group, Raw};
use super::record::Reader;

/// Keys that an index holds: about a hundred megabytes.
pub(super) const INDEX: usize = 3_500_000;

/// A file, as far as it counts.
pub(super) struct MergeSource {
    pub(super) name: String,
    pub(super) file: Box<dyn FileHandle>,
    /// Where the last record that counts ends.
    pub(super) end: u64,
}

/// The state of a directory at one time. The files stay readable when their names are gone.
pub(super) struct View {
    pub(super) snapshot: Option<MergeSource>,
    /// Journals, the oldest first.
    pub(super) journals: Vec<MergeSource>,
    /// Set by who wants to read no further.
    pub(super) is_cancelled: Arc<AtomicBool>,
    /// Changes that [`before`](Self::before) has seen.
    pub(super) seen: Arc<AtomicU64>,
}

/// Keys, each with the value that stood under it, if one did.
pub(super) type Before = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What is done with a key and its value as it is stored.
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

    /// Visits every key once, in no order, with an index of about `limit` keys at most.
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
                // Parts differ little: that this one is larger than the first is no reason to begin again.
                None => self.index(&prints, part, usize::MAX)?.unwrap_or_default(),
            };
            self.emit(&prints, part, &index, visit)?;
        }
        Ok(())
    }

    /// The newest change of each key of a part; `None` if these are too many.
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
                    return Err(io::Error::other(format!("{} holds more than values", snapshot.name)));
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

    /// What stands under the keys that `group` changes before it removes all, by one pass over all files.
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

/// Some of all keys.
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

/// Stands for a key. Two keys have the same with the probability of guessing 128 bits: the hash is keyed, and nobody
/// knows the key.
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

/// The hash of what is a hash already.
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
    /// By key, which change is its newest, counted from the oldest.
    newest: HashMap<Print, u64, BuildHasherDefault<AsItIs>>,
    /// Every key was removed before these changes.
    is_cleared: bool,
}
