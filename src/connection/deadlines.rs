//! The deadlines of a connection: what a peer is waited for, since when and until when.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::{Phase, Timer, WriteShutdown};
use super::service::Service;
use super::write_progress::{Asked, enough};
use crate::limits::Limits;
use crate::net::Delivery;
use crate::timer::after;

impl<S: Service> Connection<S> {
    /// Handles a deadline that has passed.
    pub fn expire(&mut self, context: &mut Context<S>) {
        let now = context.env.now.instant;
        let delivered = self.asked.as_ref().filter(|asked| asked.at == now).map(|asked| asked.delivery.taken);
        let due = self.next_deadline(&context.env.limits).filter(|(deadline, _)| *deadline <= now);
        let Some((_, timer)) = due else { return };
        let Some(reason) = timer.reason() else {
            self.phase = Phase::Closed;
            return;
        };
        match timer {
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

    /// Whether [`note_delivery`](Self::note_delivery) must be called after `transmit`, so that later progress is
    /// measured from there.
    pub fn wants_delivery(&self) -> bool {
        let lingers = self.phase == Phase::Lingering && self.asked.as_ref().is_none_or(|asked| asked.at < self.since);
        lingers || self.write_progress.as_ref().is_some_and(|progress| progress.delivered.is_none())
    }

    /// Whether it is about to be closed as stalled, or as idle while it may still be reading what the socket holds. If
    /// so, [`note_delivery`](Self::note_delivery) must be called first.
    pub fn wants_delivery_before_expiry(&self, limits: &Limits, now: Instant) -> bool {
        self.next_deadline(limits).is_some_and(|(deadline, timer)| {
            let is_over_output = matches!(self.phase, Phase::Open | Phase::Draining | Phase::Lingering);
            deadline <= now && is_over_output && !matches!(timer, Timer::Request | Timer::Header)
        })
    }

    /// Records the socket's delivery. Returns whether the peer has taken enough since the last query: `write_rate`, or
    /// all there was. The first query has no earlier one to compare with, so it is enough if there is something left to
    /// take.
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

    /// It, or its linked connection, is still reading: time counts from now on. Not in [`Phase::Lingering`]: it only
    /// protects bytes that an early close could destroy, and there are none when all have been taken.
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

    /// When [`expire`](Self::expire) must be called; `None` if there is no deadline.
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
                // A linked connection has a stream, not requests: an incomplete record is subject to the idle timeout.
                let begun = self.request_since.filter(|_| self.framing.info.link.is_none());
                let request = begun.map(|begun| self.request_deadline(begun, limits));
                // A peer whose requests wait for this server is not idle: they may wait for room on the way to disk, or
                // for a backend to take them. Those waits have other deadlines.
                let is_owed = !self.framing.output.replies.is_empty() || !self.unsent.is_empty();
                let is_owed = is_owed || self.framing.is_paused() || self.is_carried;
                let at_rest = request.is_none() && !is_owed;
                let idle = self.idle_timeout.filter(|_| at_rest).and_then(|idle| since(idle, Timer::Idle));
                let half = self.write_shutdown > WriteShutdown::Open || self.framing.is_half_closed();
                let half = half && !self.is_carried;
                let half = half.then(|| (after(self.since, limits.half_close_timeout), Timer::HalfClose));
                [stalled, request, idle, half].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
            }
            // Owed replies may still have to be computed, but not without end.
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

    /// Records, after this turn's share of receiving, whether a request has begun, and when.
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

    /// Whether a request has begun and not ended. The beginning of a record counts too: its contents cannot be known
    /// yet, and it costs as much as a request that does not end.
    pub(super) fn is_mid_request(&self) -> bool {
        self.framing.is_mid_request() || !self.framing.is_paused() && self.channel.is_mid_record()
    }
}
