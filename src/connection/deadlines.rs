//! How long a peer is waited for: for what, since when, until when.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::{Phase, Timer, WriteShutdown};
use super::service::Service;
use crate::limits::Limits;
use crate::net::Delivery;
use crate::timer::after;

/// A peer's socket is full while more waits for it.
///
/// It may be slow, but not at will: whoever could hold a buffer for ever by taking a byte now and then would. So what
/// it takes is counted over each `write_timeout`, and must be `write_rate` bytes a second at least.
///
/// What the socket accepts is not what the peer takes: epoll reports a socket as writable only when a third of its buffer
/// is free (a Unix socket: three quarters), which is megabytes. So the socket is asked what was delivered, when the stall
/// begins and before the peer is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteProgress {
    since: Instant,
    /// Bytes that the socket has accepted since then.
    taken: usize,
    /// What had been delivered when it began, once the socket was asked.
    delivered: Option<u64>,
    /// What it has taken beyond what it had to in the times before, at most [`STEP`]. A new stall begins with all of it.
    credit: u64,
}

/// A peer with TLS takes a record of 16 KiB at a time, however steadily it reads: in one `write_timeout` it may have taken
/// so much less than in another.
const STEP: u64 = 16 << 10;

/// What was delivered when the socket was last asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Instant,
    delivery: Delivery,
}

impl WriteProgress {
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, taken: 0, delivered: None, credit: STEP }
    }

    pub(super) fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count);
    }

    /// After a `write_timeout`: the next one, or nothing if the peer was too slow.
    fn next(&self, delivered: Option<u64>, now: Instant, limits: &Limits) -> Option<Self> {
        let by_socket = delivered.zip(self.delivered).map_or(0, |(now, before)| now.saturating_sub(before));
        let taken = by_socket.max(self.taken as u64);
        let surplus = taken.saturating_add(self.credit).checked_sub(enough(limits.write_timeout, limits));
        let credit = surplus.filter(|_| taken > 0)?.min(STEP);
        Some(Self { delivered, credit, ..Self::begin(now) })
    }
}

/// What a peer must take in `time`.
fn enough(time: Duration, limits: &Limits) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ((limits.write_rate as u64).saturating_mul(millis) / 1000).max(1)
}

impl<S: Service> Connection<S> {
    /// Acts on a deadline that has passed.
    pub fn expire(&mut self, context: &mut Context<S>) {
        let now = context.env.now.instant;
        let delivered = self.asked.as_ref().filter(|asked| asked.at == now).map(|asked| asked.delivery.taken);
        let Some((deadline, timer)) = self.next_deadline(&context.env.limits) else { return };
        let Some(reason) = timer.reason() else {
            if deadline <= now {
                self.phase = Phase::Closed;
            }
            return;
        };
        match timer {
            _ if deadline > now => {}
            Timer::Header | Timer::Request if self.framing.is_mid_request() => {
                self.refuse(reason, String::new(), context);
                self.drain_if_ended(now);
            }
            Timer::Header | Timer::Request | Timer::Idle | Timer::HalfClose if self.phase == Phase::Open => {
                self.framing.end(reason, &mut context.env.scratch);
                self.drain_if_ended(now);
            }
            Timer::Write => {
                let progress = self.write_progress.take();
                match progress.and_then(|progress| progress.next(delivered, now, &context.env.limits)) {
                    Some(next) => self.write_progress = Some(Box::new(next)),
                    None => self.close(reason, &mut context.env.scratch),
                }
            }
            _ => self.close(reason, &mut context.env.scratch),
        }
    }

    /// Whether [`note_delivery`](Self::note_delivery) is to be called behind `transmit`: what comes is measured from there.
    pub fn wants_delivery(&self) -> bool {
        let lingers = self.phase == Phase::Lingering && self.asked.as_ref().is_none_or(|asked| asked.at < self.since);
        lingers || self.write_progress.as_ref().is_some_and(|progress| progress.delivered.is_none())
    }

    /// Whether it is about to be cut off for taking nothing, or for having nothing to say while it may still be reading
    /// what the socket holds: [`note_delivery`](Self::note_delivery) comes first.
    pub fn may_be_cut(&self, limits: &Limits, now: Instant) -> bool {
        self.next_deadline(limits).is_some_and(|(deadline, timer)| {
            let is_over_output = matches!(self.phase, Phase::Open | Phase::Draining | Phase::Lingering);
            deadline <= now && is_over_output && !matches!(timer, Timer::Request | Timer::Header)
        })
    }

    /// The socket was asked what has become of the bytes that it was given. Returns whether the peer has taken enough of
    /// them since it was last asked: `write_rate`, or all there were. The first answer can only be a beginning: it is
    /// enough if there is something left to take.
    pub fn note_delivery(&mut self, delivery: Delivery, limits: &Limits, now: Instant) -> bool {
        let before = self.asked.replace(Box::new(Asked { at: now, delivery }));
        if let Some(progress) = self.write_progress.as_mut() {
            progress.delivered.get_or_insert(delivery.taken);
        }
        let Some(before) = before else { return delivery.is_pending };
        let taken = delivery.taken.saturating_sub(before.delivery.taken);
        let time = now.saturating_duration_since(before.at);
        before.delivery.is_pending && taken > 0 && (!delivery.is_pending || taken >= enough(time, limits))
    }

    /// It, or the connection that it is linked to, is still reading: time counts from now on. But to linger is to wait for
    /// what an early close could destroy, and there is none of that when all has been taken.
    pub fn keep_waiting(&mut self, now: Instant) {
        let is_waited_for = match self.phase {
            Phase::Open | Phase::Draining => true,
            Phase::Lingering => self.asked.as_ref().is_some_and(|asked| asked.delivery.is_pending),
            Phase::Connecting | Phase::Handshaking | Phase::Closed => false,
        };
        if is_waited_for {
            self.since = now;
        }
    }

    /// When [`expire`](Self::expire) must be called.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        self.next_deadline(limits).map(|(deadline, _)| deadline)
    }

    fn next_deadline(&self, limits: &Limits) -> Option<(Instant, Timer)> {
        let since = |time: Duration, timer| Some((after(self.since, time), timer));
        let stalled =
            self.write_progress.as_ref().map(|progress| (after(progress.since, limits.write_timeout), Timer::Write));
        match self.phase {
            Phase::Connecting => since(limits.connect_timeout, Timer::Connect),
            Phase::Handshaking => since(limits.handshake_timeout, Timer::Handshake),
            Phase::Open => {
                // A linked connection has no requests, only a stream: whoever sends a record slowly is judged by its idle time.
                let begun = self.request_since.filter(|_| self.framing.info.link.is_none());
                let request = begun.map(|begun| self.request_deadline(begun, limits));
                // Whose requests wait for us is not idle: for room on the way to disk, perhaps, or for a server that we wrap
                // to take them. Those have other deadlines.
                let is_owed = !self.framing.output.replies.is_empty() || !self.unsent.is_empty();
                let is_owed = is_owed || self.framing.is_paused() || self.is_carried;
                let at_rest = request.is_none() && !is_owed;
                let idle = self.idle_timeout.filter(|_| at_rest).and_then(|idle| since(idle, Timer::Idle));
                let half = self.write_shutdown > WriteShutdown::Open || self.framing.is_half_closed();
                let half = half && !self.is_carried;
                let half = half.then(|| (after(self.since, limits.half_close_timeout), Timer::HalfClose));
                [stalled, request, idle, half].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
            }
            // What is owed may still have to be worked out, but nobody is waited for without end.
            Phase::Draining => [stalled, since(limits.half_close_timeout, Timer::HalfClose)]
                .into_iter()
                .flatten()
                .min_by_key(|(deadline, _)| *deadline),
            Phase::Lingering => since(limits.linger_timeout, Timer::Linger),
            Phase::Closed => None,
        }
    }

    fn request_deadline(&self, begun: Instant, limits: &Limits) -> (Instant, Timer) {
        if self.framing.is_in_head() && limits.header_timeout < limits.request_timeout {
            (after(begun, limits.header_timeout), Timer::Header)
        } else {
            (after(begun, limits.request_timeout), Timer::Request)
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
