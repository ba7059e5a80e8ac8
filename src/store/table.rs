//! The directory: extendible hashing over small segments, so that growth never moves more than one segment's records.
//!
//! The top bits of a key's hash select a slot, and the slot names a segment. A segment that uses fewer bits than the
//! directory occupies several adjacent slots. A full segment is split by its next bit; only when it already uses all of
//! the directory's bits is the directory, four bytes per slot, doubled.

use siphasher::sip::SipHasher13;
use slab::Slab;

use super::arena::{Draft, Full, NEVER, Place};
use super::deferred_free::{DeferredFree, SMALL_TABLE};
use super::entry::Entry;
use super::segment::{EvictionStep, Segment, Taken, Totals};

/// Records per segment: as many as fill a hash table of 512 buckets.
pub(super) const SEGMENT_RECORDS: usize = 448;
/// A wider directory would take a gigabyte: beyond this, segments grow instead.
const MAX_BITS: u8 = 28;

/// A record that was found; valid until the table is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    hash: u64,
    segment: usize,
    place: Place,
}

/// The position of a walk over all segments, in no particular order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hand {
    segment: usize,
    bucket: usize,
}

/// All records.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<u32>,
    /// The directory has two to the power of this many slots.
    bits: u8,
    segments: Slab<Box<Segment>>,
    /// Per segment, when its first record expires; contiguous, so that a walk over all of them reads memory once.
    due: Vec<u64>,
    totals: Totals,
    capacity: usize,
    hasher: SipHasher13,
}

impl Table {
    /// An empty table whose segments are split at `capacity` records.
    pub(super) fn new(hasher: SipHasher13, capacity: usize) -> Self {
        let mut segments = Slab::new();
        let first = Segment::new(0, 0);
        let totals = first.totals();
        segments.insert(Box::new(first));
        Self { slots: vec![0], bits: 0, segments, due: vec![NEVER], totals, capacity, hasher }
    }

    /// The hash of a key, which the other methods take.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The hash function.
    pub(super) fn hasher(&self) -> SipHasher13 {
        self.hasher
    }

    pub(super) fn len(&self) -> usize {
        self.totals.len
    }

    pub(super) fn timed(&self) -> usize {
        self.totals.timed
    }

    /// Bytes allocated.
    pub(super) fn held(&self) -> usize {
        let segment = size_of::<(usize, Box<Segment>)>();
        self.totals.held
            + self.slots.capacity() * size_of::<u32>()
            + self.segments.capacity() * segment
            + self.due.capacity() * size_of::<u64>()
    }

    /// Whether the table is empty but still has the directory of a large one.
    pub(super) fn is_hollow(&self) -> bool {
        self.totals.len == 0 && self.bits > 0
    }

    /// Empties the table in constant time; its memory goes to deferred free.
    pub(super) fn clear(&mut self, deferred_free: &mut DeferredFree) {
        self.take_all().defer(deferred_free);
    }

    /// Empties the table in constant time; returns the contents.
    pub(super) fn take_all(&mut self) -> Self {
        let fresh = Self::new(self.hasher, self.capacity);
        std::mem::replace(self, fresh)
    }

    /// Defers freeing the contents if they are large.
    pub(super) fn defer(self, deferred_free: &mut DeferredFree) {
        let held = self.held();
        if held > SMALL_TABLE {
            deferred_free.defer_table(self.segments, held);
        }
    }

    fn index(&self, hash: u64) -> usize {
        let slot = usize::try_from(prefix(hash, self.bits)).unwrap_or(0);
        self.slots.get(slot).map_or(0, |segment| *segment as usize)
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Found> {
        let segment = self.index(hash);
        let place = self.segments.get(segment)?.find(hash, key)?;
        Some(Found { hash, segment, place })
    }

    /// Prefetches what searches for `hashes` will read. The reads of each loop are independent, so the processor waits
    /// for all of them at once.
    pub(super) fn prefetch(&self, hashes: &[u64]) {
        let segments = || hashes.iter().filter_map(|hash| Some((*hash, self.segments.get(self.index(*hash))?)));
        for (hash, segment) in segments() {
            segment.prefetch_bucket(hash);
        }
        for (hash, segment) in segments() {
            segment.prefetch_record(hash);
        }
    }

    pub(super) fn entry(&self, found: Found) -> Option<(&[u8], Entry<'_>)> {
        self.segments.get(found.segment)?.entry(found.place)
    }

    pub(super) fn expires(&self, found: Found) -> u64 {
        self.segments.get(found.segment).map_or(NEVER, |segment| segment.expires(found.place))
    }

    pub(super) fn mark_used(&mut self, found: Found) {
        if let Some(segment) = self.segments.get_mut(found.segment) {
            segment.mark_used(found.place);
        }
    }

    /// Changes one segment and updates the totals.
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Segment, &SipHasher13) -> R) -> Option<R> {
        let segment = self.segments.get_mut(index)?;
        let before = segment.totals();
        let result = change(segment, &self.hasher);
        self.totals += segment.totals();
        self.totals -= before;
        if let Some(due) = self.due.get_mut(index) {
            *due = segment.due();
        }
        Some(result)
    }

    /// Stores a record, replacing one with the same key. Returns the block that is no longer needed.
    pub(super) fn put(&mut self, hash: u64, draft: Draft<'_>) -> Result<Option<Vec<u8>>, Full> {
        self.split_crowded(hash);
        self.change(self.index(hash), |segment, hasher| segment.put(hash, draft, hasher)).unwrap_or(Err(Full))
    }

    /// Whether [`put`](Self::put) has room for a record with this hash. Invalidates every [`Found`].
    pub(super) fn has_room(&mut self, hash: u64) -> bool {
        self.split_crowded(hash);
        self.segments.get(self.index(hash)).is_some_and(|segment| segment.has_room())
    }

    /// Splits the segment of this hash until it is no longer crowded, or cannot be split.
    fn split_crowded(&mut self, hash: u64) {
        while self.segments.get(self.index(hash)).is_some_and(|segment| segment.is_crowded(self.capacity)) {
            if !self.split(self.index(hash)) {
                break;
            }
        }
    }

    /// Removes a record; returns its block, if it had one.
    pub(super) fn remove(&mut self, found: Found) -> Option<Vec<u8>> {
        let block = self.change(found.segment, |segment, hasher| segment.remove(found.hash, found.place, hasher));
        self.merge(found.segment);
        block.flatten()
    }

    /// Removes a record and returns its value.
    pub(super) fn take(&mut self, found: Found) -> Option<Taken> {
        let taken = self.change(found.segment, |segment, hasher| segment.take(found.hash, found.place, hasher));
        self.merge(found.segment);
        taken.flatten()
    }

    /// Appends to a value; returns the new length.
    pub(super) fn append(&mut self, found: Found, data: &[u8]) -> Result<usize, Full> {
        let append = |segment: &mut Segment, hasher: &_| segment.append(found.hash, found.place, data, hasher);
        self.change(found.segment, append).unwrap_or(Err(Full))
    }

    /// Overwrites a part of a large value in place, growing it if necessary; returns the new length, or `None` where a
    /// copy is cheaper.
    pub(super) fn patch(&mut self, found: Found, offset: usize, patch: &[u8]) -> Option<usize> {
        self.change(found.segment, |segment, _| segment.patch(found.place, offset, patch)).flatten()
    }

    /// Changes the expiry of a record.
    pub(super) fn set_expires(&mut self, found: Found, expires: u64) {
        self.change(found.segment, |segment, hasher| segment.set_expires(found.hash, found.place, expires, hasher));
    }

    /// Visits the records of the segment at `cursor`; returns the next cursor, 0 after the last segment.
    ///
    /// A cursor is the first hash not yet visited, bit-reversed so that it is a small number. Segments split and merge
    /// in the order of their hashes, so a record that stays is visited exactly once.
    pub(super) fn scan(&self, cursor: u64, now_ms: u64, visit: &mut dyn FnMut(&[u8], Entry<'_>)) -> u64 {
        let Some(segment) = self.segments.get(self.index(cursor.reverse_bits())) else { return 0 };
        let from = cursor.reverse_bits();
        if segment.prefix() < from {
            // The segment was merged during the scan: its first part has been visited.
            segment.visit(now_ms, &mut |key, entry| {
                if self.hash(key) >= from {
                    visit(key, entry);
                }
            });
        } else {
            segment.visit(now_ms, visit);
        }
        next_prefix(segment).map_or(0, u64::reverse_bits)
    }

    /// The key of a record that does not expire before `now_ms`, chosen by `random`; tries at most `segments` segments.
    pub(super) fn random(&self, random: u64, now_ms: u64, segments: usize) -> Option<&[u8]> {
        let mut hash = random;
        for _ in 0..segments {
            let segment = self.segments.get(self.index(hash))?;
            // The top bits have selected the segment.
            if let Some(place) = segment.any_live(random & u64::from(u32::MAX), now_ms) {
                return segment.entry(place).map(|(key, _)| key);
            }
            hash = next_prefix(segment).unwrap_or(0);
        }
        None
    }

    /// Number of segment numbers, used or not, for [`Table::expire`].
    pub(super) fn segment_numbers(&self) -> usize {
        self.due.len()
    }

    /// Removes expired records from the segment with this number; returns how many records were visited.
    pub(super) fn expire(
        &mut self,
        index: usize,
        now_ms: u64,
        deferred_free: &mut DeferredFree,
        gone: &mut dyn FnMut(&[u8]),
    ) -> usize {
        if self.due.get(index).is_none_or(|due| *due > now_ms) {
            return 0;
        }
        let expire = |segment: &mut Segment, hasher: &_| {
            let count = segment.len();
            segment.expire(now_ms, deferred_free, gone, hasher);
            count
        };
        let count = self.change(index, expire);
        self.merge(index);
        count.unwrap_or(0)
    }

    /// Moves the clock hand over (a part of) one segment and evicts records; returns the new position.
    pub(super) fn evict(
        &mut self,
        mut hand: Hand,
        how: EvictionStep,
        deferred_free: &mut DeferredFree,
        gone: &mut dyn FnMut(&[u8]),
    ) -> Hand {
        let numbers = self.due.len();
        let has_work = |index: &usize| {
            let timed = self.due.get(*index).is_some_and(|due| *due != NEVER);
            (timed || !how.volatile) && self.segments.get(*index).is_some_and(|segment| segment.len() > 0)
        };
        let Some(index) = (hand.segment..numbers).find(has_work) else { return Hand::default() };
        if index != hand.segment {
            hand = Hand { segment: index, bucket: 0 };
        }
        let stopped =
            self.change(index, |segment, hasher| segment.evict(hand.bucket, how, deferred_free, gone, hasher));
        self.merge(index);
        match stopped.flatten() {
            Some(bucket) => Hand { segment: index, bucket },
            None if index + 1 < numbers => Hand { segment: index + 1, bucket: 0 },
            None => Hand::default(),
        }
    }

    /// Splits a segment in two; `false` if the directory would grow out of proportion.
    fn split(&mut self, index: usize) -> bool {
        let Some(depth) = self.segments.get(index).map(|segment| segment.depth()) else { return false };
        if depth == self.bits {
            // Hashes are uniform: a directory much wider than the number of segments would be the result of an attack.
            if self.bits == MAX_BITS || self.slots.len() > 64 + 16 * self.segments.len() {
                return false;
            }
            let mut slots = Vec::with_capacity(self.slots.len() * 2);
            slots.extend(self.slots.iter().flat_map(|segment| [*segment, *segment]));
            self.slots = slots;
            self.bits += 1;
        }
        let Some(ones) = self.change(index, Segment::split) else { return false };
        self.totals += ones.totals();
        let due = ones.due();
        let new = self.segments.insert(Box::new(ones));
        match self.due.get_mut(new) {
            Some(vacant) => *vacant = due,
            None => self.due.push(due),
        }
        self.assign(new);
        true
    }

    /// Merges a segment with its other half when both have become nearly empty, and then the result.
    fn merge(&mut self, index: usize) {
        while self.merge_once(index) {}
    }

    fn merge_once(&mut self, index: usize) -> bool {
        let sparse = |index: usize| self.segments.get(index).filter(|segment| segment.is_sparse(self.capacity));
        let Some(segment) = sparse(index).filter(|segment| segment.depth() > 0) else { return false };
        let other = self.index(segment.prefix() ^ (1 << (64 - segment.depth())));
        if sparse(other).is_none_or(|other| other.depth() != segment.depth()) {
            return false;
        }
        let Some(other_half) = self.segments.try_remove(other) else { return false };
        self.due.get_mut(other).into_iter().for_each(|due| *due = NEVER);
        self.totals -= other_half.totals();
        self.change(index, |segment, hasher| segment.merge(*other_half, hasher));
        self.assign(index);
        true
    }

    /// Writes the segment into all slots of its hashes.
    fn assign(&mut self, index: usize) {
        let Some(segment) = self.segments.get(index) else { return };
        let start = usize::try_from(prefix(segment.prefix(), self.bits)).unwrap_or(0);
        let count = 1 << (self.bits - segment.depth());
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        self.slots.get_mut(start..start + count).into_iter().for_each(|slots| slots.fill(number));
    }
}

#[cfg(test)]
impl Table {
    /// Recounts everything and compares.
    pub(super) fn check(&self) {
        let mut totals = Totals::default();
        for (index, segment) in &self.segments {
            totals += segment.check();
            assert_eq!(self.due[index], segment.due());
            assert_eq!(self.index(segment.prefix()), index);
        }
        assert_eq!(totals, self.totals);
        assert_eq!(self.slots.len(), 1 << self.bits);
        let shares = self.segments.iter().map(|(_, segment)| 1 << (self.bits - segment.depth())).sum::<usize>();
        assert_eq!(shares, self.slots.len());
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }
}

/// The top `bits` bits of a hash.
fn prefix(hash: u64, bits: u8) -> u64 {
    hash.checked_shr(64 - u32::from(bits)).unwrap_or(0)
}

/// The first hash of the next segment; `None` for the last.
fn next_prefix(segment: &Segment) -> Option<u64> {
    let share = 1_u64.checked_shl(64 - u32::from(segment.depth()))?;
    segment.prefix().checked_add(share)
}
