//! The store's work in small steps: the walk that removes expired keys, eviction, freeing memory.

use std::time::{Duration, Instant};

use super::arena::PAGE;
use super::deferred_free::STEP_BYTES;
use super::segment;
use super::table::Hand;
use super::{Eviction, Store, StoreError};
use crate::timer::Now;

/// Records that one step of the walk visits: about 50 us of memory latency.
const WALK_RECORDS: usize = 1024;
/// Segments that one step of the walk passes: their first expiries are 8 bytes each, contiguous.
const WALK_SEGMENTS: usize = 32 << 10;
/// Time between steps of a walk, so that it takes at most a twentieth of a busy loop's time.
const WALK_STEP: Duration = Duration::from_millis(1);
/// Time between the end of a walk and the beginning of the next.
const WALK_PAUSE: Duration = Duration::from_millis(100);
/// Steps of eviction that one write may wait for, besides those its own size needs; each frees at least some pages.
const EVICT_STEPS: usize = 64;
/// Keys that one write evicts at most: with a data directory, each takes half a microsecond.
pub(super) const EVICT_KEYS: u64 = 64 << 10;
/// Bytes that one step of eviction frees when many may be freed at once: a segment of small records.
const EVICT_BYTES: usize = 16 << 10;
/// Steps of eviction in one tick.
const TICK_EVICT_STEPS: usize = 8;

/// The positions of the walks.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    /// The next segment of the walk.
    walked: usize,
    /// When the walk continues.
    next_walk: Option<Instant>,
    /// Where eviction continues.
    hand: Hand,
}

impl Store {
    /// Does a small piece of housekeeping, well under a millisecond: frees deferred memory, evicts keys above the
    /// memory limit, removes expired keys.
    ///
    /// Returns when it must be called again: at once if there is more to free, soon during a walk, in 100 ms while keys
    /// expire, `None` if there is nothing to do.
    #[doc(hidden)]
    pub fn tick(&mut self, now: Now) -> Option<Duration> {
        self.deferred_free.step();
        let over = self.evict_excess();
        let walk = self.walk(now);
        self.reset_if_hollow();
        if over || !self.deferred_free.is_empty() { Some(Duration::ZERO) } else { walk }
    }

    /// A step of the walk over all segments that removes expired keys.
    fn walk(&mut self, now: Now) -> Option<Duration> {
        if self.table.timed() == 0 {
            self.housekeeping = Housekeeping { hand: self.housekeeping.hand, ..Housekeeping::default() };
            return None;
        }
        let wait = self.housekeeping.next_walk.map(|next| next.saturating_duration_since(now.instant));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        let Self { table, watches, deferred_free, stats, housekeeping, commits, .. } = self;
        let hasher = table.hasher();
        let mut gone = |key: &[u8]| {
            stats.expired += 1;
            if !watches.is_empty() {
                watches.changed(hasher.hash(key), false);
            }
            if let Some(commits) = commits {
                commits.expired(key);
            }
        };
        let end = (housekeeping.walked + WALK_SEGMENTS).min(table.segment_numbers());
        let mut looked_at = 0;
        while housekeeping.walked < end && looked_at < WALK_RECORDS {
            looked_at += table.expire(housekeeping.walked, now.unix_ms, deferred_free, &mut gone);
            housekeeping.walked += 1;
        }
        let mut wait = WALK_STEP;
        if housekeeping.walked >= table.segment_numbers() {
            housekeeping.walked = 0;
            wait = WALK_PAUSE;
        }
        housekeeping.next_walk = Some(now.instant + wait);
        Some(wait)
    }

    /// Bytes above the limit once `need` more are stored. Deferred memory does not count: it is being freed, and
    /// refusing writes would not free it faster.
    fn excess(&self, max: usize, need: usize) -> usize {
        self.table.held().saturating_add(self.clients_share()).saturating_add(need).saturating_sub(max)
    }

    /// The part of the memory limit that keys may not use: the client reserve, so that clients below it can neither
    /// fail a write nor evict a key; or the clients' actual memory, if that is more.
    fn clients_share(&self) -> usize {
        self.client_memory.max(self.options.client_reserve)
    }

    /// Whether `need` more bytes fit, possibly after eviction.
    #[must_use]
    pub(crate) fn has_room(&self, need: usize) -> bool {
        let is_fixed = self.options.eviction == Eviction::NoEviction;
        self.options.max_memory.is_none_or(|max| !is_fixed || self.excess(max, need) == 0)
    }

    /// Makes room for all writes before [`release`](Self::release), so that none of them fails for lack of memory: a
    /// transaction is either begun or refused.
    ///
    /// # Errors
    ///
    /// There is no room for `need` bytes.
    pub(crate) fn reserve(&mut self, need: usize) -> Result<(), StoreError> {
        if need > 0 {
            self.make_room(need)?;
        }
        self.is_reserved = true;
        Ok(())
    }

    /// Ends a [`reserve`](Self::reserve).
    pub(crate) fn release(&mut self) {
        self.is_reserved = false;
    }

    /// Evicts until `need` more bytes fit under the memory limit.
    pub(super) fn make_room(&mut self, need: usize) -> Result<(), StoreError> {
        let Some(max) = self.options.max_memory.filter(|_| !self.is_reserved) else { return Ok(()) };
        // A write that evicts others frees as much as it stores, so deferred memory cannot outgrow the table.
        for _ in 0..=need / STEP_BYTES {
            self.deferred_free.step();
        }
        let steps = match self.options.eviction {
            // It would not fit in an empty store.
            _ if need.saturating_add(self.clients_share()) > max => 0,
            Eviction::NoEviction => 0,
            Eviction::AllKeys | Eviction::Volatile => EVICT_STEPS + need / EVICT_BYTES,
        };
        let most = self.stats.evicted.saturating_add(EVICT_KEYS);
        for step in 0..steps {
            let excess = self.excess(max, need);
            if excess == 0 || self.stats.evicted >= most {
                break;
            }
            // When all records were used lately, the second half of the steps evicts those under the hand regardless.
            self.evict(excess, step >= steps / 2);
        }
        self.reset_if_hollow();
        if self.excess(max, need) == 0 { Ok(()) } else { Err(StoreError::OutOfMemory) }
    }

    /// A few steps of eviction, if client memory has pushed the store over the limit. Returns whether more are needed.
    fn evict_excess(&mut self) -> bool {
        let Some(max) = self.options.max_memory else { return false };
        for _ in 0..TICK_EVICT_STEPS {
            let candidates = match self.options.eviction {
                Eviction::NoEviction => 0,
                Eviction::AllKeys => self.table.len(),
                Eviction::Volatile => self.table.timed(),
            };
            let excess = self.excess(max, 0);
            if candidates == 0 || excess == 0 {
                return false;
            }
            self.evict(excess, false);
        }
        true
    }

    /// One step of SIEVE: the hand passes over records, spares those used since it last passed, and evicts the others.
    /// The hand stays where it stopped; unlike in CLOCK, survivors are not moved.
    fn evict(&mut self, excess: usize, force: bool) {
        let volatile = self.options.eviction == Eviction::Volatile;
        let Self { table, watches, deferred_free, stats, housekeeping, commits, .. } = self;
        let hasher = table.hasher();
        let mut gone = |key: &[u8]| {
            stats.evicted += 1;
            if watches.is_empty() && commits.is_none() {
                return;
            }
            let hash = hasher.hash(key);
            watches.changed(hash, false);
            if let Some(commits) = commits {
                commits.removed(hash, key);
            }
        };
        let how = segment::EvictionStep { volatile, force, bytes: excess.max(PAGE) };
        housekeeping.hand = table.evict(housekeeping.hand, how, deferred_free, &mut gone);
    }
}
