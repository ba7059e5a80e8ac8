//! How the first connections of a thread are made: one after the other, and no more than a listen queue takes.

use std::time::{Duration, Instant};

use crate::load::plan::Plan;
use crate::load::schedule::{Arrivals, Schedule, ThreadShare};

/// Handshakes that one thread has in progress while it opens its connections: enough to keep any server busy, and few
/// enough for the listen queue of a modest one.
const MAX_IN_PROGRESS: usize = 256;

/// The first connections of a thread's clients.
#[derive(Debug)]
pub(super) struct Opening {
    /// When the thread was made.
    pub(super) began: Instant,
    /// When each is due; `None` where all are due at once.
    ramp: Option<Arrivals>,
    /// The client that connects next.
    next: usize,
    /// How many clients connect before the schedule begins.
    count: usize,
    /// Those whose first connection is neither made nor failed.
    untried: usize,
    /// Connections that are being made, later ones of a client included.
    in_progress: usize,
}

impl Opening {
    /// The first `count` clients of `share` connect, none where `count` is 0.
    pub(super) fn new(plan: &Plan, share: ThreadShare, count: usize, began: Instant) -> Self {
        let ramp = Schedule::spread(plan.connections, plan.connect_over).arrivals(share, 0);
        Self { began, ramp, next: 0, count, untried: count, in_progress: 0 }
    }

    /// The client whose first connection is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<usize> {
        if !self.may_begin() {
            return None;
        }
        if let Some(ramp) = &mut self.ramp {
            if ramp.next_due().is_some_and(|due| self.began + due > now) {
                return None;
            }
            ramp.next();
        }
        let index = self.next;
        self.next += 1;
        Some(index)
    }

    /// How long until the next connection is due; `None` while none can be begun.
    pub(super) fn time_to_next(&self, now: Instant) -> Option<Duration> {
        let due = self.ramp.as_ref().and_then(Arrivals::next_due);
        let until = due.map_or(Duration::ZERO, |due| (self.began + due).saturating_duration_since(now));
        self.may_begin().then_some(until)
    }

    fn may_begin(&self) -> bool {
        self.next < self.count && self.in_progress < MAX_IN_PROGRESS
    }

    /// A connection was begun.
    pub(super) fn count_begun(&mut self) {
        self.in_progress += 1;
    }

    /// A connection was made, or has failed.
    pub(super) fn count_ended(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// The first connection of one more client is made, or has failed.
    pub(super) fn count_tried(&mut self) {
        self.untried = self.untried.saturating_sub(1);
    }

    /// Whether every client has begun to connect.
    pub(super) fn has_begun_all(&self) -> bool {
        self.next >= self.count
    }

    /// Whether the first connection of every client is made or has failed.
    pub(super) fn is_complete(&self) -> bool {
        self.untried == 0
    }
}
