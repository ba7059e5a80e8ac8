//! Keys and typed values in memory, shared by both key/value protocols.
//!
//! Single-threaded, and without a clock: every method that may find an expired key takes the time. No call does more
//! than a bounded amount of work besides copying its value; the rest is left to [`Store::tick`].
//!
//! ```text
//! Store -> Table (directory of hash prefixes) -> Segment (a few hundred records) -> Arena (their bytes)
//!       -> Watches (versions of watched keys)
//!       -> ScanQueue (scans under way)
//!       -> DeferredFree (memory to free in steps)
//!       -> Commits (changes on their way to disk, if anything is kept)
//! ```

mod arena;
mod commits;
mod data_directory;
mod deferred_free;
mod durable;
mod entry;
mod glob;
#[cfg(test)]
mod hit_ratio;
mod housekeeping;
mod json;
mod prefetch;
mod scan_queue;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod typed;
mod watch;

use siphasher::sip::SipHasher13;

pub use arena::spare as spare_room;
pub use commits::{CommitLimits, GroupStatus, Persistence};
pub use data_directory::{DataOptions, DataReport};
pub use durable::{CommitGroup, View};
pub use entry::{Entry, Expiry, Kind, Unfit};
pub use glob::Glob;
#[cfg(any(test, fuzzing))]
pub use glob::property as glob_property;
pub use prefetch::Prefetch;
pub use scan_queue::{KeyScan, ORDINARY_KEY_BYTES, ScanBounds, ScanError};
pub use typed::{plain_bytes, plain_length};
pub use watch::WATCHED_KEY_BYTES;

use crate::timer::Now;
use crate::value::Value;
use arena::{Data, Draft, NEVER};
use commits::Commits;
use deferred_free::DeferredFree;
use housekeeping::Housekeeping;
use prefetch::PREFETCHED;
use scan_queue::ScanQueue;
use segment::Taken;
use table::{Found, SEGMENT_RECORDS, Table};
use watch::Watches;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 65_534;
/// The largest value, in bytes: what Redis allows.
pub const MAX_VALUE: usize = 512 << 20;
/// Maximum number of segments that one call of [`Store::scan`] visits: about 20,000 keys.
const SCAN_SEGMENTS: usize = 64;
/// Maximum number of segments that one call of [`Store::random_key`] tries.
pub const RANDOM_SEGMENTS: usize = 16;

/// What happens when a write reaches the memory limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// The write is refused.
    #[default]
    NoEviction,
    /// The least recently used keys are evicted.
    AllKeys,
    /// The least recently used keys with an expiry are evicted.
    Volatile,
}

/// Options of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreOptions {
    /// The most bytes that keys, values, tables and clients may take together. `None` means no limit.
    pub max_memory: Option<usize>,
    /// The part of `max_memory` reserved for clients: client memory up to this neither fails a write nor evicts a key.
    pub client_reserve: usize,
    /// What to do at the limit.
    pub eviction: Eviction,
    /// The secret of the hash function, from the operating system's random source.
    pub hash_key: [u8; 16],
}

/// Why a write was refused; the key is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The memory limit is reached and nothing may be, or could be, evicted.
    #[error("the memory limit is reached")]
    OutOfMemory,
    /// The caller's key is longer than 65,534 bytes.
    #[error("the key is longer than {MAX_KEY} bytes")]
    KeyTooLong,
    /// The caller's value is larger than 512 MiB.
    #[error("the value is larger than {MAX_VALUE} bytes")]
    ValueTooLarge,
    /// The data directory cannot be written to.
    #[error("writes are refused: the data directory cannot be written to")]
    ReadOnly,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys removed because their TTL expired.
    pub expired: u64,
    /// Keys evicted to make room.
    pub evicted: u64,
    /// Reads of existing keys.
    pub hits: u64,
    /// Reads of missing keys.
    pub misses: u64,
}

/// Approximate bytes of a record in the table besides its key and data.
const TABLE_SHARE: usize = 64;

/// Approximate size of a processor core's own caches.
const PROCESSOR_CACHE: usize = 1 << 20;

/// The table of keys and values.
#[derive(Debug)]
pub struct Store {
    table: Table,
    watches: Watches,
    deferred_free: DeferredFree,
    housekeeping: Housekeeping,
    scans: ScanQueue,
    stats: Stats,
    client_memory: usize,
    /// Room for the writes that follow is already reserved.
    is_reserved: bool,
    /// Reads do not mark keys as used.
    is_untouched: bool,
    options: StoreOptions,
    /// `None` without a data directory.
    commits: Option<Box<Commits>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        Self::with_segment_records(options, SEGMENT_RECORDS)
    }

    fn with_segment_records(options: StoreOptions, records: usize) -> Self {
        Self {
            table: Table::new(SipHasher13::new_with_key(&options.hash_key), records),
            watches: Watches::default(),
            deferred_free: DeferredFree::default(),
            housekeeping: Housekeeping::default(),
            scans: ScanQueue::default(),
            stats: Stats::default(),
            client_memory: 0,
            is_reserved: false,
            is_untouched: false,
            options,
            commits: None,
        }
    }

    /// The hash of `key`, and its record. An expired record is removed instead.
    fn lookup(&mut self, key: &[u8], now: Now) -> (u64, Option<Found>) {
        let hash = self.table.hash(key);
        if let Some(commits) = &self.commits {
            commits.note_read(hash);
        }
        let Some(found) = self.table.find(hash, key) else { return (hash, None) };
        if self.table.expires(found) > now.unix_ms {
            return (hash, Some(found));
        }
        self.discard(found, hash);
        if let Some(commits) = &mut self.commits {
            commits.expired(key);
        }
        self.stats.expired += 1;
        (hash, None)
    }

    /// Whether [`prefetch`](Self::prefetch) pays off: a smaller table stays in the processor's caches anyway.
    #[must_use]
    pub(crate) fn outgrows_caches(&self) -> bool {
        self.table.held() > PROCESSOR_CACHE
    }

    /// Begins a prefetch of keys that are read soon.
    #[must_use]
    pub(crate) fn prefetch(&self) -> Prefetch<'_> {
        Prefetch { table: &self.table, hashes: [0; PREFETCHED], count: 0 }
    }

    fn discard(&mut self, found: Found, hash: u64) {
        let block = self.table.remove(found);
        self.deferred_free.defer(block);
        self.watches.changed(hash, false);
        self.reset_if_hollow();
    }

    /// Frees the directory of a large table that has become empty.
    fn reset_if_hollow(&mut self) {
        if self.table.is_hollow() {
            self.table.clear(&mut self.deferred_free);
        }
    }

    /// The value under `key`, marked as used and counted as a hit or a miss.
    pub fn get(&mut self, key: &[u8], now: Now) -> Option<Entry<'_>> {
        let Some(found) = self.lookup(key, now).1 else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        if !self.is_untouched {
            self.table.mark_used(found);
        }
        self.table.entry(found).map(|(_, entry)| entry)
    }

    /// While set, reading a value or editing it in place does not mark it as used, which would keep it from eviction
    /// for longer. Returns the previous setting.
    pub(crate) fn set_untouched(&mut self, is_untouched: bool) -> bool {
        std::mem::replace(&mut self.is_untouched, is_untouched)
    }

    /// The value under `key`, without side effects.
    pub fn peek(&self, key: &[u8], now: Now) -> Option<Entry<'_>> {
        let hash = self.table.hash(key);
        if let Some(commits) = &self.commits {
            commits.note_read(hash);
        }
        let found = self.table.find(hash, key)?;
        let (_, entry) = self.table.entry(found)?;
        entry.expires_ms.is_none_or(|at| at > now.unix_ms).then_some(entry)
    }

    /// Whether `key` exists. Counts neither as a use nor as a hit.
    pub fn contains(&mut self, key: &[u8], now: Now) -> bool {
        self.lookup(key, now).1.is_some()
    }

    /// Stores a value under `key`.
    pub fn set(&mut self, key: &[u8], kind: Kind, data: &[u8], expiry: Expiry, now: Now) -> Result<(), StoreError> {
        self.set_data(key, kind, Data::Borrowed(data), expiry, now)
    }

    /// Stores a value under `key` and takes ownership of it: a large one is not copied.
    pub(crate) fn set_owned(
        &mut self,
        key: &[u8],
        kind: Kind,
        data: Vec<u8>,
        expiry: Expiry,
        now: Now,
    ) -> Result<(), StoreError> {
        self.set_data(key, kind, Data::Owned(data), expiry, now)
    }

    fn set_data(&mut self, key: &[u8], kind: Kind, data: Data<'_>, expiry: Expiry, now: Now) -> Result<(), StoreError> {
        let length = match &data {
            Data::Borrowed(data) => data.len(),
            Data::Owned(data) => data.capacity(),
        };
        self.check(key, length)?;
        let expires = match expiry {
            // Checked before room is made: eviction may remove the key itself.
            Expiry::Keep => self.lookup(key, now).1.map_or(NEVER, |found| self.table.expires(found)),
            Expiry::Never => NEVER,
            Expiry::At(at) => at,
        };
        self.make_room(key.len() + length)?;
        let (hash, _) = self.lookup(key, now);
        self.put(hash, Draft { key, kind, used: false, expires, data })
    }

    /// Stores all of these bytes under their keys, none of which expires any longer, or none of them.
    ///
    /// # Errors
    ///
    /// A key or value is too long, or there is no room for all of them.
    pub fn set_all<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        now: Now,
    ) -> Result<(), StoreError> {
        let mut bytes: usize = 0;
        for (key, data) in pairs.clone() {
            self.check(key, data.len())?;
            bytes = bytes.saturating_add(key.len() + data.len());
        }
        self.make_room(bytes)?;
        for (key, data) in pairs {
            let (hash, _) = self.lookup(key, now);
            let data = Data::Borrowed(data);
            self.put(hash, Draft { key, kind: Kind::Bytes, used: false, expires: NEVER, data })?;
        }
        Ok(())
    }

    fn put(&mut self, hash: u64, draft: Draft<'_>) -> Result<(), StoreError> {
        let (key, grown) = (draft.key, draft.len() + TABLE_SHARE);
        if let Some(commits) = &mut self.commits {
            commits.put(hash, &draft);
        }
        let Ok(block) = self.table.put(hash, draft) else {
            // The put was recorded too early: record what the table holds instead.
            match &mut self.commits {
                Some(commits) if self.table.find(hash, key).is_none() => commits.removed(hash, key),
                commits => commits::note(commits.as_deref_mut(), &self.table, hash, key),
            }
            return Err(StoreError::OutOfMemory);
        };
        self.deferred_free.defer(block);
        self.deferred_free.keep_pace(grown);
        self.watches.changed(hash, true);
        Ok(())
    }

    /// Appends to the value under `key`, in time proportional to `data`; a missing key is created with kind `Bytes`.
    /// Returns the new length. The caller has checked that the kind [is plain](Kind::is_plain).
    pub fn append(&mut self, key: &[u8], data: &[u8], now: Now) -> Result<usize, StoreError> {
        let length = self.peek(key, now).map_or(0, |entry| entry.data.len());
        self.check(key, length.saturating_add(data.len()))?;
        self.make_room(key.len() + data.len())?;
        let (hash, found) = self.lookup(key, now);
        let Some(found) = found else {
            let draft = Draft { key, kind: Kind::Bytes, used: false, expires: NEVER, data: Data::Borrowed(data) };
            return self.put(hash, draft).map(|()| data.len());
        };
        if !self.is_untouched {
            self.table.mark_used(found);
        }
        let held = self.table.held();
        let length = self.table.append(found, data).map_err(|_full| StoreError::OutOfMemory)?;
        self.deferred_free.keep_pace(self.table.held().saturating_sub(held));
        commits::note(self.commits.as_deref_mut(), &self.table, hash, key);
        self.watches.changed(hash, true);
        Ok(length)
    }

    /// Overwrites a part of the value under `key` in place, in time proportional to `patch` and to the growth of the
    /// value; zeros fill a gap between the old end and `offset`. Returns the new length, or `None`, with nothing
    /// changed, where a copy is cheaper: the value is small, or would grow to twice its length. The caller has checked
    /// that the kind is plain.
    pub fn patch(&mut self, key: &[u8], offset: usize, patch: &[u8], now: Now) -> Result<Option<usize>, StoreError> {
        let Some(old) = self.peek(key, now).map(|entry| entry.data.len()) else { return Ok(None) };
        let end = offset.saturating_add(patch.len());
        self.check(key, end)?;
        if end > old {
            self.make_room(end - old)?;
        }
        let (hash, Some(found)) = self.lookup(key, now) else { return Ok(None) };
        let held = self.table.held();
        let patched = self.table.patch(found, offset, patch);
        if patched.is_some() {
            if !self.is_untouched {
                self.table.mark_used(found);
            }
            self.deferred_free.keep_pace(self.table.held().saturating_sub(held));
            self.watches.changed(hash, true);
            commits::note(self.commits.as_deref_mut(), &self.table, hash, key);
        }
        Ok(patched)
    }

    /// Removes `key`; returns whether it existed.
    pub fn remove(&mut self, key: &[u8], now: Now) -> bool {
        let (hash, Some(found)) = self.lookup(key, now) else { return false };
        self.discard(found, hash);
        if let Some(commits) = &mut self.commits {
            commits.removed(hash, key);
        }
        true
    }

    /// Moves the value and expiry of `from` to `to`, replacing what is there; returns whether `from` existed.
    ///
    /// # Errors
    ///
    /// `to` is too long for a key, or there is no room; nothing is changed.
    pub fn rename(&mut self, from: &[u8], to: &[u8], now: Now) -> Result<bool, StoreError> {
        self.check(to, 0)?;
        // Checked before the value is taken out, because putting it back could fail.
        let target = self.table.hash(to);
        if !self.table.has_room(target) {
            return Err(StoreError::OutOfMemory);
        }
        let (hash, Some(found)) = self.lookup(from, now) else { return Ok(false) };
        if from == to {
            return Ok(true);
        }
        let Some(Taken { kind, expires, data }) = self.table.take(found) else { return Ok(false) };
        self.watches.changed(hash, false);
        if let Some(commits) = &mut self.commits {
            commits.removed(hash, from);
        }
        let draft = Draft { key: to, kind, used: false, expires, data: Data::Owned(data) };
        self.put(target, draft).map(|()| true)
    }

    /// Sets or removes the expiry of `key`; returns whether it exists.
    pub fn set_expiry(&mut self, key: &[u8], expires_ms: Option<u64>, now: Now) -> bool {
        let (hash, Some(found)) = self.lookup(key, now) else { return false };
        self.table.set_expires(found, expires_ms.unwrap_or(NEVER));
        commits::note(self.commits.as_deref_mut(), &self.table, hash, key);
        self.watches.changed(hash, true);
        true
    }

    /// Number of keys, including expired ones that have not been removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys with an expiry.
    #[must_use]
    pub fn timed_len(&self) -> usize {
        self.table.timed()
    }

    /// Visits keys from `cursor` on, in whole segments, until at least `count` keys were visited, but for well under a
    /// millisecond. Returns the next cursor, 0 at the end; begin with 0.
    ///
    /// The guarantee is stronger than that of Redis's SCAN: a key that exists from the first call to the last is
    /// visited exactly once, whatever is written between the calls. A key that is removed and created again meanwhile
    /// may be visited twice.
    pub fn scan(&mut self, mut cursor: u64, count: usize, now: Now, visit: &mut dyn FnMut(&[u8], Entry<'_>)) -> u64 {
        self.note_read_all();
        let mut visited = 0;
        for _ in 0..count.clamp(1, SCAN_SEGMENTS) {
            cursor = self.table.scan(cursor, now.unix_ms, &mut |key, entry| {
                visited += 1;
                visit(key, entry);
            });
            if cursor == 0 || visited >= count {
                break;
            }
        }
        cursor
    }

    /// A key chosen by `random`, each with about the same probability. `None` in an empty store, and in one where
    /// nearly all keys have expired.
    pub fn random_key(&mut self, random: u64, now: Now) -> Option<&[u8]> {
        self.note_read_all();
        self.table.random(random, now.unix_ms, RANDOM_SEGMENTS)
    }

    /// Removes every key in constant time; [`Store::tick`] frees the memory.
    pub fn clear(&mut self) {
        let table = self.table.take_all();
        match &mut self.commits {
            Some(commits) => commits.cleared(table, &mut self.deferred_free),
            None => table.defer(&mut self.deferred_free),
        }
        self.watches.cleared();
    }

    /// Bytes allocated for keys, values and tables, including those waiting to be freed.
    #[must_use]
    pub fn memory(&self) -> usize {
        let cleared = self.commits.as_ref().map_or(0, |commits| commits.cleared_bytes());
        self.table.held() + self.deferred_free.held() + cleared
    }

    /// Bytes allocated for keys, values and tables, without those waiting to be freed.
    #[must_use]
    pub fn table_memory(&self) -> usize {
        self.table.held()
    }

    /// The store's hash of `key`; it is keyed with a secret, so that clients cannot choose colliding keys.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.table.hash(key)
    }

    /// Bytes held by clients, which count against the memory limit too.
    pub(crate) fn set_client_memory(&mut self, bytes: usize) {
        self.client_memory = bytes;
    }

    /// Bytes held by clients, as last reported.
    #[must_use]
    pub(crate) fn client_memory(&self) -> usize {
        self.client_memory
    }

    /// Adds a watcher of `key`; returns its version. Call [`Store::contains`] first, so that an expired key does not
    /// count as existing.
    pub(crate) fn watch(&mut self, key: &[u8]) -> u64 {
        let hash = self.table.hash(key);
        let present = self.table.find(hash, key).is_some();
        self.watches.watch(hash, present)
    }

    /// The version of a watched key, 0 for one without watchers. It grows with every write, expiry or removal of that
    /// key only. Call [`Store::contains`] first, so that an expiry not noticed yet counts.
    #[must_use]
    pub(crate) fn version(&self, key: &[u8]) -> u64 {
        self.watches.version(self.table.hash(key))
    }

    /// Removes a watcher.
    pub(crate) fn unwatch(&mut self, key: &[u8]) {
        self.watches.unwatch(self.table.hash(key));
    }

    /// The value as XML-RPC sees it: bytes set over RESP are a string if they are legal XML text, else base64.
    pub(crate) fn value(&mut self, key: &[u8], now: Now) -> Option<Value> {
        self.get(key, now).map(|entry| typed::decode(&entry))
    }

    /// Stores a typed value under `key`, which no longer expires.
    pub(crate) fn set_value(&mut self, key: &[u8], value: Value, now: Now) -> Result<(), StoreError> {
        let (kind, mut data) = typed::encode(value);
        data.shrink_to_fit();
        self.set_owned(key, kind, data, Expiry::Never, now)
    }

    /// Keys evicted since start.
    #[must_use]
    pub(crate) fn evicted(&self) -> u64 {
        self.stats.evicted
    }

    /// Counters since start.
    #[must_use]
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }
}
