//! How long a peer is waited for: for what, since when, until when.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::framing::Turn;
use super::phase::{Farewell, Phase};
use super::service::Service;
use crate::limits::Limits;
use crate::metrics::Disconnect;

/// A peer's socket is full while more waits for it.
///
/// It may be slow, but not at will: whoever could hold a buffer for ever by taking a byte now and then would. So what
/// it takes is counted over each `write_timeout`, and must be `write_rate` bytes a second at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    since: Instant,
    taken: usize,
}

impl Stall {
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, taken: 0 }
    }

    pub(super) fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count);
    }

    fn is_too_slow(&self, limits: &Limits) -> bool {
        let millis = usize::try_from(limits.write_timeout.as_millis()).unwrap_or(usize::MAX);
        self.taken < (limits.write_rate.saturating_mul(millis) / 1000).max(1)
    }
}

impl<S: Service> Connection<S> {
    /// Acts on a deadline that has passed.
    pub fn expire(&mut self, turn: &mut Turn<'_, S>) {
        let now = turn.now.instant;
        match self.next_deadline(turn.limits) {
            Some((deadline, reason)) if deadline <= now => match reason {
                Disconnect::RequestTimeout | Disconnect::HeaderTimeout
                    if self.framing.is_mid_request() && self.framing.info.link.is_none() =>
                {
                    self.refuse(reason, String::new(), turn);
                    self.drain_if_ended(now);
                }
                Disconnect::RequestTimeout | Disconnect::HeaderTimeout | Disconnect::Idle
                    if self.phase == Phase::Open =>
                {
                    self.framing.end(reason, turn.scratch);
                    self.drain_if_ended(now);
                }
                Disconnect::Stalled if self.stall.is_some_and(|stall| !stall.is_too_slow(turn.limits)) => {
                    self.stall = Some(Stall::begin(now));
                }
                _ => self.close(reason, turn.scratch),
            },
            _ => {}
        }
    }

    /// When [`expire`](Self::expire) must be called.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        self.next_deadline(limits).map(|(deadline, _)| deadline)
    }

    fn next_deadline(&self, limits: &Limits) -> Option<(Instant, Disconnect)> {
        let since = |time: Duration, reason| Some((self.since + time, reason));
        let stalled = self.stall.map(|stall| (stall.since + limits.write_timeout, Disconnect::Stalled));
        match self.phase {
            Phase::Connecting => since(limits.connect_timeout, Disconnect::HandshakeTimeout),
            Phase::Handshaking => since(limits.handshake_timeout, Disconnect::HandshakeTimeout),
            Phase::Open => {
                let request = self.request_since.map(|begun| self.request_deadline(begun, limits));
                // Whose requests wait for us is not idle: for room on the way to disk, perhaps, or for a server that we wrap
                // to take them. Those have other deadlines.
                let is_owed = !self.framing.replies.is_empty() || !self.unsent.is_empty();
                let is_owed = is_owed || self.framing.is_paused() || self.is_carried;
                let at_rest = request.is_none() && !is_owed;
                let idle = self.idle_timeout.filter(|_| at_rest).and_then(|idle| since(idle, Disconnect::Idle));
                let half = self.farewell > Farewell::NotDue || self.framing.is_half_closed();
                let half = half && !self.is_carried;
                let half = half.then(|| (self.since + limits.half_close_timeout, Disconnect::Idle));
                [stalled, request, idle, half].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
            }
            // What is owed may still have to be worked out, but nobody is waited for without end.
            Phase::Draining => [stalled, since(limits.half_close_timeout, Disconnect::Idle)]
                .into_iter()
                .flatten()
                .min_by_key(|(deadline, _)| *deadline),
            Phase::Lingering => since(limits.linger_timeout, Disconnect::PeerClosed),
            Phase::Closed => None,
        }
    }

    fn request_deadline(&self, begun: Instant, limits: &Limits) -> (Instant, Disconnect) {
        if self.framing.is_in_head() && limits.header_timeout < limits.request_timeout {
            (begun + limits.header_timeout, Disconnect::HeaderTimeout)
        } else {
            (begun + limits.request_timeout, Disconnect::RequestTimeout)
        }
    }

    /// After this turn's share of receiving: whether a request has begun, and when.
    pub(super) fn note_activity(&mut self, now: Instant) {
        let served = self.framing.served() > 0;
        if served {
            self.since = now;
        }
        if !self.is_mid_request() {
            self.request_since = None;
        } else if served || self.request_since.is_none() {
            self.request_since = Some(now);
        }
    }

    /// Whether the beginning of a request has arrived and its end has not. The beginning of a record counts too: what
    /// it holds cannot be known yet, and it costs as much as a request that does not end.
    pub(super) fn is_mid_request(&self) -> bool {
        self.framing.is_mid_request() || !self.framing.is_paused() && !self.retained.is_empty()
    }
}
