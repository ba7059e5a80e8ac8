//! Keys and typed values in memory.

mod entry;
mod glob;
mod typed;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

pub use entry::{Entry, Expiry, Kind};
pub use glob::Glob;
pub use typed::plain_bytes;

use crate::timer::Now;
use crate::value::Value;
use watch::Watches;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 65_534;
/// The largest value, in bytes: what Redis allows.
pub const MAX_VALUE: usize = 512 << 20;

/// What happens when a write finds the memory limit reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The write is refused.
    #[default]
    NoEviction,
    /// Keys that were not used lately are dropped.
    AllKeys,
    /// Keys that have an expiry and were not used lately are dropped.
    Volatile,
}

/// How a store is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreOptions {
    /// Bytes that keys, values, tables and clients may take together.
    pub max_memory: Option<usize>,
    /// What to do at that limit.
    pub eviction: Eviction,
    /// The secret of the hash function, from the operating system's random source.
    pub hash_key: [u8; 16],
}

/// Why a write was refused; the store is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The memory limit is reached and nothing may be, or could be, evicted.
    #[error("the memory limit is reached")]
    OutOfMemory,
    /// The caller's key is longer than [`MAX_KEY`].
    #[error("the key is longer than {MAX_KEY} bytes")]
    KeyTooLong,
    /// The caller's value is larger than [`MAX_VALUE`].
    #[error("the value is larger than {MAX_VALUE} bytes")]
    ValueTooLarge,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys whose time had come.
    pub expired: u64,
    /// Keys dropped to make room.
    pub evicted: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
}

#[derive(Clone, Debug)]
struct Record {
    kind: Kind,
    data: Vec<u8>,
    expires_ms: Option<u64>,
}

impl Record {
    fn entry(&self) -> Entry<'_> {
        Entry { kind: self.kind, data: &self.data, expires_ms: self.expires_ms }
    }
}

/// The table of keys and values.
#[derive(Debug)]
pub struct Store {
    keys: BTreeMap<Box<[u8]>, Record>,
    watches: Watches,
    stats: Stats,
    clients: usize,
    options: StoreOptions,
}

impl Store {
    /// An empty store.
    pub fn new(options: StoreOptions) -> Self {
        Self { keys: BTreeMap::new(), watches: Watches::default(), stats: Stats::default(), clients: 0, options }
    }

    fn expire(&mut self, key: &[u8], now: Now) {
        let due = |record: &Record| record.expires_ms.is_some_and(|at| at <= now.unix_ms);
        if self.keys.get(key).is_some_and(due) {
            self.keys.remove(key);
            self.stats.expired += 1;
            self.watches.changed(key, false);
        }
    }

    /// The value under `key`, marked as used; a key whose time has come is removed instead.
    pub fn get(&mut self, key: &[u8], now: Now) -> Option<Entry<'_>> {
        self.expire(key, now);
        let found = self.keys.get(key);
        if found.is_some() {
            self.stats.hits += 1;
        } else {
            self.stats.misses += 1;
        }
        found.map(Record::entry)
    }

    /// The value under `key`, with no effect on the store.
    pub fn peek(&self, key: &[u8], now: Now) -> Option<Entry<'_>> {
        self.keys.get(key).map(Record::entry).filter(|entry| entry.expires_ms.is_none_or(|at| at > now.unix_ms))
    }

    /// Whether `key` exists; a key whose time has come is removed.
    pub fn contains(&mut self, key: &[u8], now: Now) -> bool {
        self.expire(key, now);
        self.keys.contains_key(key)
    }

    /// Puts a value under `key`.
    pub fn set(&mut self, key: &[u8], kind: Kind, data: &[u8], expiry: Expiry, now: Now) -> Result<(), StoreError> {
        if key.len() > MAX_KEY {
            return Err(StoreError::KeyTooLong);
        }
        if data.len() > MAX_VALUE {
            return Err(StoreError::ValueTooLarge);
        }
        let max = self.options.max_memory.unwrap_or(usize::MAX);
        if self.memory() + self.clients + data.len() > max {
            return Err(StoreError::OutOfMemory);
        }
        self.expire(key, now);
        let expires_ms = match expiry {
            Expiry::Keep => self.keys.get(key).and_then(|record| record.expires_ms),
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        self.keys.insert(key.into(), Record { kind, data: data.to_vec(), expires_ms });
        self.watches.changed(key, true);
        Ok(())
    }

    /// Appends to the value under `key`, or makes it; the new length.
    pub fn append(&mut self, key: &[u8], data: &[u8], now: Now) -> Result<usize, StoreError> {
        self.expire(key, now);
        if let Some(record) = self.keys.get_mut(key) {
            record.data.extend_from_slice(data);
            let length = record.data.len();
            self.watches.changed(key, true);
            return Ok(length);
        }
        self.set(key, Kind::Bytes, data, Expiry::Never, now)?;
        Ok(data.len())
    }

    /// Removes `key`; whether it existed.
    pub fn remove(&mut self, key: &[u8], now: Now) -> bool {
        self.expire(key, now);
        let removed = self.keys.remove(key).is_some();
        if removed {
            self.watches.changed(key, false);
        }
        removed
    }

    /// Moves the value and expiry of `from` to `to`; whether `from` existed.
    pub fn rename(&mut self, from: &[u8], to: &[u8], now: Now) -> bool {
        self.expire(from, now);
        let Some(record) = self.keys.remove(from) else { return false };
        self.watches.changed(from, false);
        self.keys.insert(to.into(), record);
        self.watches.changed(to, true);
        true
    }

    /// Sets or takes away the expiry of `key`; whether it exists.
    pub fn set_expiry(&mut self, key: &[u8], expires_ms: Option<u64>, now: Now) -> bool {
        self.expire(key, now);
        let Some(record) = self.keys.get_mut(key) else { return false };
        record.expires_ms = expires_ms;
        self.watches.changed(key, true);
        true
    }

    /// Keys, including those whose time has come but that were not met since.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that have an expiry.
    pub fn timed_len(&self) -> usize {
        self.keys.values().filter(|record| record.expires_ms.is_some()).count()
    }

    /// Visits keys from `cursor` on, about `count` of them; the next cursor, 0 at the end.
    pub fn scan(&mut self, cursor: u64, count: usize, now: Now, visit: &mut dyn FnMut(&[u8], Entry<'_>)) -> u64 {
        let start = usize::try_from(cursor).unwrap_or(usize::MAX);
        for (key, record) in self.keys.iter().skip(start).take(count) {
            if record.expires_ms.is_none_or(|at| at > now.unix_ms) {
                visit(key, record.entry());
            }
        }
        let next = start.saturating_add(count);
        if next >= self.keys.len() { 0 } else { next as u64 }
    }

    /// Some key, chosen by `random`.
    pub fn random_key(&mut self, random: u64, now: Now) -> Option<&[u8]> {
        let live = |record: &Record| record.expires_ms.is_none_or(|at| at > now.unix_ms);
        let count = self.keys.values().filter(|record| live(record)).count() as u64;
        let index = usize::try_from(random.checked_rem(count)?).ok()?;
        self.keys.iter().filter(|(_, record)| live(record)).nth(index).map(|(key, _)| &**key)
    }

    /// Removes every key.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.watches.cleared();
    }

    /// A bounded step of housekeeping; when it wants to run again.
    pub fn tick(&mut self, now: Now) -> Option<Duration> {
        let due = |record: &Record| record.expires_ms.is_some_and(|at| at <= now.unix_ms);
        let keys: Vec<_> = self.keys.iter().filter(|(_, r)| due(r)).map(|(k, _)| k.clone()).collect();
        for key in keys {
            self.expire(&key, now);
        }
        (self.timed_len() > 0).then_some(Duration::from_millis(100))
    }

    /// Bytes held by keys, values and tables.
    pub fn memory(&self) -> usize {
        self.keys.iter().map(|(key, record)| key.len() + record.data.len() + 64).sum::<usize>()
    }

    /// Bytes held by clients, which count against the limit too.
    pub fn set_client_memory(&mut self, bytes: usize) {
        self.clients = bytes;
    }

    /// One more watcher of `key`; its version now.
    pub fn watch(&mut self, key: &[u8]) -> u64 {
        self.watches.watch(key, self.keys.contains_key(key))
    }

    /// The version of a watched key, 0 if nobody watches it. Ask [`Store::contains`] first, so that an expiry counts.
    pub fn version(&self, key: &[u8]) -> u64 {
        self.watches.version(key)
    }

    /// One watcher less.
    pub fn unwatch(&mut self, key: &[u8]) {
        self.watches.unwatch(key);
    }

    /// The value as XML-RPC sees it.
    pub fn value(&mut self, key: &[u8], now: Now) -> Option<Value> {
        self.get(key, now).map(|entry| typed::decode(&entry))
    }

    /// Puts a typed value under `key`, which no longer expires.
    pub fn set_value(&mut self, key: &[u8], value: &Value, now: Now) -> Result<(), StoreError> {
        let (kind, data) = typed::encode(value);
        self.set(key, kind, &data, Expiry::Never, now)
    }

    /// Counters since start.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
