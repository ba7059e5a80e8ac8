//! Groups to records of the engine, and back.
//!
//! | key | value |
//! |---|---|
//! | `m` | the last group: see [`Meta`] |
//! | `d`, generation (4 bytes, big-endian), key | kind (1 byte), expiry (8 bytes), data |
//!
//! The byte in front makes an engine key of the empty key, which the engine would not take. Removing every key is a new
//! generation, recorded in the same batch as the changes around it; what the old one left is swept away in small steps.

use std::collections::HashMap;
use std::io;

use super::engine::{Engine, Snapshot};
use super::group::{Group, Raw, split_value};

/// The expiry of what never expires.
pub const NO_EXPIRY: u64 = u64::MAX;
/// What stands before a key in the engine: one byte, and the generation.
pub(super) const PREFIX: usize = 5;
pub(super) const META_KEY: &[u8] = b"m";
const DATA: u8 = b'd';
/// Behind every key that begins with [`DATA`].
const DATA_END: &[u8] = b"e";
/// Records one step of sweeping removes.
const SWEEP: usize = 1000;

/// What each batch says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The first group in the batch.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
    /// The present generation of keys.
    pub(super) generation: u32,
    /// How many keys there are, after the batch.
    pub(super) keys: u64,
}

impl Meta {
    const VERSION: u8 = 1;

    fn encode(self) -> [u8; 29] {
        let mut bytes = [0; 29];
        let parts = [Self::VERSION].into_iter().chain(self.first.to_le_bytes()).chain(self.last.to_le_bytes());
        let parts = parts.chain(self.generation.to_le_bytes()).chain(self.keys.to_le_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let generation = u32::from_le_bytes(bytes.get(17..21)?.try_into().ok()?);
        let meta = Self { first: long(1)?, last: long(9)?, generation, keys: long(21)? };
        (bytes.len() == 29 && *bytes.first()? == Self::VERSION).then_some(meta)
    }
}

/// One key's value as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The kind of the value.
    pub kind: u8,
    /// Unix milliseconds, or [`NO_EXPIRY`].
    pub expires: u64,
    /// The value.
    pub data: &'a [u8],
}

/// What was found in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// How to take changes back that could not be kept: what stood under each key before them.
#[derive(Debug, Default)]
pub struct Undo {
    /// Every key goes first.
    pub clear: bool,
    /// Then these are put back; a key with no record is removed.
    pub records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Undo {
    /// Each key with the record that it had, if it had one.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Option<Record<'_>>)> {
        self.records.iter().map(|(key, value)| {
            let record = value.as_ref().and_then(|value| split_value(value));
            (key.as_slice(), record.map(|(kind, expires, data)| Record { key, kind, expires, data }))
        })
    }
}

/// An engine that holds groups.
pub struct Keeper<E> {
    engine: E,
    meta: Meta,
    /// Where sweeping goes on; `None` when there is nothing to sweep.
    swept: Option<Vec<u8>>,
    /// An engine key in the making.
    key: Vec<u8>,
}

impl<E: Engine> Keeper<E> {
    /// Takes over an engine, with what it holds.
    ///
    /// # Errors
    ///
    /// The engine's, or what it holds was not written by a keeper of this version.
    pub fn new(engine: E) -> io::Result<Self> {
        let meta = match engine.get(META_KEY)? {
            None => Meta::default(),
            Some(bytes) => Meta::decode(&bytes).ok_or_else(|| io::Error::other("its format is of another version"))?,
        };
        let swept = (meta.generation > 0).then(|| vec![DATA]);
        Ok(Self { engine, meta, swept, key: Vec::new() })
    }

    /// The last group it holds.
    #[must_use]
    pub fn last_group(&self) -> u64 {
        self.meta.last
    }

    /// How many keys it should hold.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.meta.keys
    }

    /// Writes the changes of all groups since the last one written, up to `last`, as one batch. `keys` is how many keys
    /// there are after them.
    pub fn write(&mut self, group: &Group, last: u64, keys: u64) -> io::Result<()> {
        let mut generation = self.meta.generation;
        // Within one batch the engine knows no order: only the last change of a key is written.
        let mut latest: HashMap<&[u8], Option<&[u8]>> = HashMap::new();
        for change in group.raw() {
            match change {
                Raw::Put { key, value } => drop(latest.insert(key, Some(value))),
                Raw::Remove { key } => drop(latest.insert(key, None)),
                Raw::Clear => {
                    latest.clear();
                    generation += 1;
                }
            }
        }
        let meta = Meta { first: self.meta.last + 1, last, generation, keys };
        for (key, value) in latest {
            engine_key(&mut self.key, generation, key);
            match value {
                Some(value) => self.engine.put(&self.key, value),
                None => self.engine.remove(&self.key),
            }
        }
        self.engine.put(META_KEY, &meta.encode());
        self.engine.commit()?;
        if generation != self.meta.generation {
            self.swept = Some(vec![DATA]);
        }
        self.meta = meta;
        Ok(())
    }

    /// Forces what was written to disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.engine.sync()
    }

    /// Removes some records of generations that are over. Whether there may be more.
    pub fn sweep(&mut self) -> io::Result<bool> {
        let Some(from) = self.swept.take() else { return Ok(false) };
        engine_key(&mut self.key, self.meta.generation, b"");
        let mut old = Vec::new();
        self.engine.snapshot().visit(&from, &self.key, &mut |key, _| {
            old.push(key.to_vec());
            old.len() < SWEEP
        })?;
        for key in &old {
            self.engine.remove(key);
        }
        if !old.is_empty() {
            self.engine.commit()?;
        }
        if old.len() == SWEEP {
            self.swept = old.pop();
        }
        Ok(self.swept.is_some())
    }

    /// What stood under the keys of `group` before it, in what has been written.
    pub fn undo(&mut self, group: &Group) -> io::Result<Undo> {
        if group.raw().any(|change| matches!(change, Raw::Clear)) {
            let mut records = Vec::new();
            let (snapshot, generation) = self.snapshot();
            visit_raw(&*snapshot, generation, &mut |key, value| records.push((key.to_vec(), Some(value.to_vec()))))?;
            return Ok(Undo { clear: true, records });
        }
        let mut before = HashMap::new();
        for change in group.raw() {
            if let Raw::Put { key, .. } | Raw::Remove { key } = change
                && !before.contains_key(key)
            {
                engine_key(&mut self.key, self.meta.generation, key);
                before.insert(key, self.engine.get(&self.key)?);
            }
        }
        let records = before.into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
        Ok(Undo { clear: false, records })
    }

    /// What has been written, to be read from any thread, and its generation for [`visit`].
    pub(super) fn snapshot(&self) -> (Box<dyn Snapshot>, u32) {
        (self.engine.snapshot(), self.meta.generation)
    }

    /// Visits every key.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> io::Result<Loaded> {
        let (snapshot, generation) = self.snapshot();
        load(&*snapshot, generation, visit)
    }

    #[cfg(test)]
    pub(super) fn engine(&mut self) -> &mut E {
        &mut self.engine
    }
}

/// Visits every key of a generation.
pub(super) fn load(snapshot: &dyn Snapshot, generation: u32, visit: &mut dyn FnMut(Record<'_>)) -> io::Result<Loaded> {
    let (mut loaded, mut strange) = (Loaded::default(), false);
    visit_raw(snapshot, generation, &mut |key, value| {
        let Some((kind, expires, data)) = split_value(value) else {
            strange = true;
            return;
        };
        loaded.keys += 1;
        loaded.bytes += (key.len() + data.len()) as u64;
        visit(Record { key, kind, expires, data });
    })?;
    if strange { Err(io::Error::other("a record is too short")) } else { Ok(loaded) }
}

fn visit_raw(snapshot: &dyn Snapshot, generation: u32, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
    let mut from = Vec::new();
    engine_key(&mut from, generation, b"");
    snapshot.visit(&from, DATA_END, &mut |key, value| {
        visit(key.get(PREFIX..).unwrap_or_default(), value);
        true
    })
}

fn engine_key(out: &mut Vec<u8>, generation: u32, key: &[u8]) {
    out.clear();
    out.push(DATA);
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(key);
}
