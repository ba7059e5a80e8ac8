//! What the store does in small steps: the walk that finds expired keys, eviction, freeing.

use std::time::{Duration, Instant};

use super::arena::PAGE;
use super::deferred_free::STEP_BYTES;
use super::segment;
use super::table::Hand;
use super::{Eviction, Store, StoreError};
use crate::timer::Now;

/// Records the walk looks at in one step, about 50 us of memory latency.
const WALK_RECORDS: usize = 1024;
/// Segments the walk passes in one step: their deadlines are 8 bytes each, side by side.
const WALK_SEGMENTS: usize = 32 << 10;
/// While a walk is on its way: so it costs a busy loop no more than a twentieth of its time.
const WALK_STEP: Duration = Duration::from_millis(1);
/// From the end of one walk to the beginning of the next.
const WALK_PAUSE: Duration = Duration::from_millis(100);
/// Steps of eviction one write may wait for, beside those its own size asks for; each frees some pages at least.
const EVICT_STEPS: usize = 64;
/// What one step of eviction frees when enough may go at once: a segment of small records.
const EVICT_BYTES: usize = 16 << 10;
/// Steps of eviction in one tick.
const TICK_EVICT_STEPS: usize = 8;

/// How far the walks have come.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    /// The next segment of the walk.
    walked: usize,
    /// Not before this does the walk go on.
    next_walk: Option<Instant>,
    /// Where eviction goes on.
    hand: Hand,
}

impl Store {
    /// Does a small piece of housekeeping, well under a millisecond: frees what was dropped, evicts what is over the
    /// memory limit, removes expired keys.
    ///
    /// Returns when it wants to be called again: at once if there is more to free, soon if a walk is on its way, in
    /// 100 ms while keys expire, never if there is nothing to do.
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
        let mut gone = |key: &[u8]| {
            stats.expired += 1;
            watches.changed(key, false);
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

    /// How many bytes stand over the limit once `need` more are stored. What waits in the graveyard is not counted: it
    /// is on its way out, and nobody could make it go faster by refusing writes.
    fn excess(&self, max: usize, need: usize) -> usize {
        self.table.held().saturating_add(self.clients_share()).saturating_add(need).saturating_sub(max)
    }

    /// What of the memory limit is not for keys: a fixed part, so that no client that holds less than it can make a write
    /// fail or a key go; or what clients hold, should that be more.
    fn clients_share(&self) -> usize {
        self.client_memory.max(self.options.client_reserve)
    }

    /// Whether so many bytes more fit, or others may be dropped for them.
    #[must_use]
    pub fn has_room(&self, need: usize) -> bool {
        let is_fixed = self.options.eviction == Eviction::NoEviction;
        self.options.max_memory.is_none_or(|max| !is_fixed || self.excess(max, need) == 0)
    }

    /// Makes room for all that is written before [`release`](Self::release), so that no write between them fails for want of
    /// memory: what must be done as a whole is either begun or refused.
    ///
    /// # Errors
    ///
    /// There is no room for `need` bytes.
    pub fn reserve(&mut self, need: usize) -> Result<(), StoreError> {
        if need > 0 {
            self.make_room(need)?;
        }
        self.is_reserved = true;
        Ok(())
    }

    /// Ends what [`reserve`](Self::reserve) began.
    pub fn release(&mut self) {
        self.is_reserved = false;
    }

    /// Evicts until `need` more bytes fit under the memory limit.
    pub(super) fn make_room(&mut self, need: usize) -> Result<(), StoreError> {
        let Some(max) = self.options.max_memory.filter(|_| !self.is_reserved) else { return Ok(()) };
        // A write that makes others be dropped frees as much as it brings, so the graveyard cannot outgrow the table.
        for _ in 0..=need / STEP_BYTES {
            self.deferred_free.step();
        }
        let steps = match self.options.eviction {
            // It would not fit if all keys were gone.
            _ if need.saturating_add(self.clients_share()) > max => 0,
            Eviction::NoEviction => 0,
            Eviction::AllKeys | Eviction::Volatile => EVICT_STEPS + need / EVICT_BYTES,
        };
        for step in 0..steps {
            let excess = self.excess(max, need);
            if excess == 0 {
                break;
            }
            // Where everything was used lately, the second half of the steps takes what the hand points at.
            self.evict(excess, step >= steps / 2);
        }
        self.reset_if_hollow();
        if self.excess(max, need) == 0 { Ok(()) } else { Err(StoreError::OutOfMemory) }
    }

    /// A few steps of eviction, if clients' memory has pushed the store over the limit. Whether more are needed.
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

    /// One step of SIEVE: the hand passes over records, spares each that was used since it last came by, and drops the
    /// others. The hand stays where it stopped; unlike in CLOCK, survivors are not moved to another place in line.
    fn evict(&mut self, excess: usize, force: bool) {
        let volatile = self.options.eviction == Eviction::Volatile;
        let Self { table, watches, deferred_free, stats, housekeeping, commits, .. } = self;
        let hasher = table.hasher();
        let mut gone = |key: &[u8]| {
            stats.evicted += 1;
            watches.changed(key, false);
            if let Some(commits) = commits {
                commits.removed(hasher.hash(key), key);
            }
        };
        let how = segment::EvictionStep { volatile, force, bytes: excess.max(PAGE) };
        housekeeping.hand = table.evict(housekeeping.hand, how, deferred_free, &mut gone);
    }
}
