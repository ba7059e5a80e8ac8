//! A segment of the table: a few hundred records whose hashes begin with the same bits.

use std::hint::black_box;
use std::ops::{AddAssign, SubAssign};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::arena::{Arena, Data, Draft, Full, NEVER, PAGE, Place};
use super::deferred_free::DeferredFree;
use super::entry::{Entry, Kind};

/// Target size of a segment's records in bytes: a split or a copy moves about this much, a scan of it reads no more.
const ARENA_BYTES: usize = 64 << 10;
/// A segment with fewer records is not split because of its bytes.
const FEW: usize = 16;

/// A segment's contribution to the table's totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) held: usize,
    pub(super) len: usize,
    pub(super) timed: usize,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.held += other.held;
        self.len += other.len;
        self.timed += other.timed;
    }
}

impl SubAssign for Totals {
    fn sub_assign(&mut self, other: Self) {
        self.held -= other.held;
        self.len -= other.len;
        self.timed -= other.timed;
    }
}

/// Which records a step of eviction chooses, and how much it frees.
#[derive(Clone, Copy, Debug)]
pub(super) struct EvictionStep {
    /// Only keys that have an expiry.
    pub(super) volatile: bool,
    /// Also keys used since the hand last passed.
    pub(super) force: bool,
    /// Bytes to free.
    pub(super) bytes: usize,
}

/// A value taken out of the table, to be stored under another key.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) kind: Kind,
    pub(super) expires: u64,
    pub(super) data: Vec<u8>,
}

/// A small hash table over an arena.
#[derive(Debug)]
pub(super) struct Segment {
    table: HashTable<Place>,
    arena: Arena,
    /// How many leading bits all hashes in it share.
    depth: u8,
    /// Those bits at the top; the rest is zero.
    prefix: u64,
    /// Records that have an expiry.
    timed: usize,
    /// No record expires before this.
    due: u64,
}

/// Permutes a hash so that the bits hashbrown uses (low bits for the position, top seven for the tag) are not the bits
/// that selected the segment, which are equal for all its keys.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(36)
}

impl Segment {
    pub(super) fn new(depth: u8, prefix: u64) -> Self {
        Self { table: HashTable::new(), arena: Arena::default(), depth, prefix, timed: 0, due: NEVER }
    }

    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    pub(super) fn prefix(&self) -> u64 {
        self.prefix
    }

    pub(super) fn due(&self) -> u64 {
        self.due
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes allocated.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.table.allocation_size() + self.arena.held()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { held: self.held(), len: self.len(), timed: self.timed }
    }

    /// Whether the segment must be split before another record is added.
    pub(super) fn is_crowded(&self, capacity: usize) -> bool {
        self.len() >= capacity || (self.arena.records() > ARENA_BYTES && self.len() > FEW)
    }

    /// Whether a record can be added.
    pub(super) fn has_room(&self) -> bool {
        self.arena.has_room()
    }

    /// Whether it may be merged with another one as small.
    pub(super) fn is_sparse(&self, capacity: usize) -> bool {
        self.len() <= capacity / 8 && self.arena.records() <= ARENA_BYTES / 8
    }

    pub(super) fn into_pages(self) -> Vec<Vec<u8>> {
        self.arena.into_pages()
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.table.find(spread(hash), |place| self.arena.key(*place) == Some(key)).copied()
    }

    /// Prefetches the bucket where a search for `hash` begins.
    pub(super) fn prefetch_bucket(&self, hash: u64) {
        // Masks the bits beyond the number of buckets, as the table itself does.
        let mask = self.table.num_buckets().wrapping_sub(1);
        let bucket = usize::try_from(spread(hash)).unwrap_or(0) & mask;
        black_box(self.table.get_bucket(bucket));
    }

    /// Prefetches the first record with a matching tag, which nearly always is the one searched for.
    pub(super) fn prefetch_record(&self, hash: u64) {
        if let Some(place) = self.table.find(spread(hash), |_| true) {
            black_box(self.arena.expires(*place));
        }
    }

    pub(super) fn entry(&self, place: Place) -> Option<(&[u8], Entry<'_>)> {
        self.arena.entry(place)
    }

    pub(super) fn expires(&self, place: Place) -> u64 {
        self.arena.expires(place)
    }

    pub(super) fn mark_used(&mut self, place: Place) {
        self.arena.mark_used(place);
    }

    /// The first record at or after bucket `start % buckets`, cyclically, that does not expire before `now_ms`.
    pub(super) fn any_live(&self, start: u64, now_ms: u64) -> Option<Place> {
        let buckets = self.table.num_buckets();
        let start = usize::try_from(start % (buckets as u64).max(1)).unwrap_or(0);
        let places = (start..buckets).chain(0..start).filter_map(|bucket| self.table.get_bucket(bucket).copied());
        places.into_iter().find(|place| self.arena.expires(*place) > now_ms)
    }

    /// Calls `visit` for every record that has not expired at `now_ms`.
    pub(super) fn visit(&self, now_ms: u64, visit: &mut dyn FnMut(&[u8], Entry<'_>)) {
        for place in &self.table {
            if let Some((key, entry)) = self.arena.entry(*place)
                && entry.expires_ms.is_none_or(|at| at > now_ms)
            {
                visit(key, entry);
            }
        }
    }

    /// Stores a record, replacing one with the same key. Returns the block that is no longer needed.
    pub(super) fn put(&mut self, hash: u64, draft: Draft<'_>, hasher: &SipHasher13) -> Result<Option<Vec<u8>>, Full> {
        let (expires, key) = (draft.expires, draft.key);
        let old = self.find(hash, key);
        let was_timed = old.is_some_and(|place| self.arena.expires(place) != NEVER);
        let mut block = None;
        match (old, &draft.data) {
            (Some(place), Data::Borrowed(data)) if self.arena.overwrite(place, draft.kind, data, expires) => {}
            (Some(place), _) => {
                let new = self.arena.put(Draft { used: true, ..draft })?;
                block = self.arena.remove(place);
                self.replace(hash, place, new);
            }
            (None, _) => {
                let place = self.arena.put(draft)?;
                let arena = &self.arena;
                let rehash = |place: &Place| spread(hasher.hash(arena.key(*place).unwrap_or_default()));
                self.table.insert_unique(spread(hash), place, rehash);
            }
        }
        self.count_expiry(was_timed, expires);
        self.tidy(hasher);
        Ok(block)
    }

    fn replace(&mut self, hash: u64, old: Place, new: Place) {
        if let Some(place) = self.table.find_mut(spread(hash), |place| *place == old) {
            *place = new;
        }
    }

    fn count_expiry(&mut self, was_timed: bool, expires: u64) {
        self.timed -= usize::from(was_timed);
        self.timed += usize::from(expires != NEVER);
        self.due = self.due.min(expires);
    }

    /// Removes the record at `place`; returns its block, if it had one.
    pub(super) fn remove(&mut self, hash: u64, place: Place, hasher: &SipHasher13) -> Option<Vec<u8>> {
        let entry = self.table.find_entry(spread(hash), |candidate| *candidate == place).ok()?;
        entry.remove();
        self.timed -= usize::from(self.arena.expires(place) != NEVER);
        let block = self.arena.remove(place);
        self.tidy(hasher);
        block
    }

    /// Removes the record at `place` and returns its value.
    pub(super) fn take(&mut self, hash: u64, place: Place, hasher: &SipHasher13) -> Option<Taken> {
        let (_, entry) = self.arena.entry(place)?;
        let (kind, expires) = (entry.kind, entry.expires_ms.unwrap_or(NEVER));
        let copy = self.arena.inline(place).unwrap_or_default().to_vec();
        let block = self.remove(hash, place, hasher);
        Some(Taken { kind, expires, data: block.unwrap_or(copy) })
    }

    /// Appends to the value at `place`; returns the new length.
    pub(super) fn append(&mut self, hash: u64, place: Place, data: &[u8], hasher: &SipHasher13) -> Result<usize, Full> {
        if let Some(length) = self.arena.append(place, data) {
            return Ok(length);
        }
        let Some((key, entry)) = self.arena.entry(place) else { return Err(Full) };
        let (key, whole) = (key.to_vec(), [entry.data, data].concat());
        let expires = entry.expires_ms.unwrap_or(NEVER);
        let length = whole.len();
        let draft = Draft { key: &key, kind: entry.kind, used: true, expires, data: Data::Owned(whole) };
        let new = self.arena.put(draft)?;
        self.arena.remove(place);
        self.replace(hash, place, new);
        self.tidy(hasher);
        Ok(length)
    }

    /// Overwrites a part of a large value in place, growing it if necessary; returns the new length, if that was
    /// possible.
    pub(super) fn patch(&mut self, place: Place, offset: usize, patch: &[u8]) -> Option<usize> {
        self.arena.patch(place, offset, patch)
    }

    /// Changes the expiry of the record at `place`.
    pub(super) fn set_expires(&mut self, hash: u64, place: Place, expires: u64, hasher: &SipHasher13) {
        let was_timed = self.arena.expires(place) != NEVER;
        if !self.arena.set_expires(place, expires)
            && let Some(new) = self.arena.rewrite(place, expires)
        {
            self.replace(hash, place, new);
        }
        self.count_expiry(was_timed, expires);
        self.tidy(hasher);
    }

    /// Removes records expired at `now_ms`, and calls `gone` with each key.
    pub(super) fn expire(
        &mut self,
        now_ms: u64,
        deferred_free: &mut DeferredFree,
        gone: &mut dyn FnMut(&[u8]),
        hasher: &SipHasher13,
    ) {
        let Self { table, arena, timed, due, .. } = self;
        *due = NEVER;
        table.retain(|place| {
            let expires = arena.expires(*place);
            if expires > now_ms {
                *due = expires.min(*due);
                return true;
            }
            gone(arena.key(*place).unwrap_or_default());
            *timed -= 1;
            deferred_free.defer(arena.remove(*place));
            false
        });
        self.tidy(hasher);
    }

    /// Moves the clock hand on from `bucket`: evicts records not used since it last passed, until enough is free.
    /// Returns where it stopped; `None` at the end.
    pub(super) fn evict(
        &mut self,
        bucket: usize,
        how: EvictionStep,
        deferred_free: &mut DeferredFree,
        gone: &mut dyn FnMut(&[u8]),
        hasher: &SipHasher13,
    ) -> Option<usize> {
        let mut freed = self.arena.garbage();
        let mut stopped = None;
        for bucket in bucket..self.table.num_buckets() {
            if freed >= how.bytes {
                stopped = Some(bucket);
                break;
            }
            let Ok(entry) = self.table.get_bucket_entry(bucket) else { continue };
            let place = *entry.get();
            let timed = self.arena.expires(place) != NEVER;
            if (how.volatile && !timed) || (self.arena.take_used(place) && !how.force) {
                continue;
            }
            entry.remove();
            freed += self.arena.weight(place);
            gone(self.arena.key(place).unwrap_or_default());
            self.timed -= usize::from(timed);
            deferred_free.defer(self.arena.remove(place));
        }
        if self.arena.wastes_a_page() {
            self.compact();
        }
        self.tidy(hasher);
        stopped
    }

    /// Reclaims the space of removed records when that is worth a copy.
    fn tidy(&mut self, hasher: &SipHasher13) {
        if self.table.is_empty() {
            *self = Self::new(self.depth, self.prefix);
            return;
        }
        if self.timed == 0 {
            self.due = NEVER;
        }
        // A byte is copied at most four times per byte written, and at most a quarter is wasted.
        if self.arena.garbage() >= PAGE.max(self.arena.live() / 4) {
            self.compact();
        }
        if self.table.len() < self.table.capacity() / 8 {
            let arena = &self.arena;
            let rehash = |place: &Place| spread(hasher.hash(arena.key(*place).unwrap_or_default()));
            self.table.shrink_to(self.table.len() * 2, rehash);
        }
    }

    /// Copies live records into new pages. Buckets are unchanged, and so is the clock hand.
    fn compact(&mut self) {
        let mut old = std::mem::take(&mut self.arena);
        for place in &mut self.table {
            if let Some(new) = self.arena.adopt(&mut old, *place) {
                *place = new;
            }
        }
    }

    /// Splits the segment by the next bit of the hashes: zeros stay, ones are returned.
    pub(super) fn split(&mut self, hasher: &SipHasher13) -> Self {
        let bit = 1 << (63 - self.depth);
        let mut ones = Self::new(self.depth + 1, self.prefix | bit);
        let zeros = Self::new(self.depth + 1, self.prefix);
        let mut old = std::mem::replace(self, zeros);
        for place in &old.table {
            let hash = hasher.hash(old.arena.key(*place).unwrap_or_default());
            let half = if hash & bit == 0 { &mut *self } else { &mut ones };
            half.adopt(hash, &mut old.arena, *place, hasher);
        }
        ones
    }

    /// Takes over all records of the other half, and its range of hashes.
    pub(super) fn merge(&mut self, mut other: Self, hasher: &SipHasher13) {
        self.depth -= 1;
        self.prefix &= other.prefix;
        for place in &other.table {
            let hash = hasher.hash(other.arena.key(*place).unwrap_or_default());
            self.adopt(hash, &mut other.arena, *place, hasher);
        }
    }

    fn adopt(&mut self, hash: u64, other: &mut Arena, place: Place, hasher: &SipHasher13) {
        let Some(new) = self.arena.adopt(other, place) else { return };
        self.count_expiry(false, self.arena.expires(new));
        let arena = &self.arena;
        let rehash = |place: &Place| spread(hasher.hash(arena.key(*place).unwrap_or_default()));
        self.table.insert_unique(spread(hash), new, rehash);
    }
}

#[cfg(test)]
impl Segment {
    /// Recounts everything and compares.
    pub(super) fn check(&self) -> Totals {
        let expiries = self.table.iter().map(|place| self.arena.expires(*place)).filter(|expires| *expires != NEVER);
        assert_eq!(expiries.clone().count(), self.timed);
        assert!(expiries.min().map_or(self.due == NEVER, |first| self.due <= first));
        self.arena.check(self.table.iter().copied());
        self.totals()
    }
}
