//! The stages of a run, and what moves a thread from one to the next.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::link::Virtual;
use super::{Arrivals, Runner};
use crate::load::plan::LoadProtocol;
use crate::net::Net;

/// How often a thread that waits for the others looks whether they have come.
pub(super) const MEETING: Duration = Duration::from_millis(1);
/// From the arrival of the last thread to the schedule's origin: so long that each has seen it before it is there.
const LEAD_IN: Duration = Duration::from_millis(10);
/// Nothing has been answered for so many times the timeout of a request while some were waited for: the server is dead.
/// A single request that is never answered times out before. A new connection is no answer.
const DEAD_AFTER: u32 = 2;

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connections are being made.
    Opening,
    /// This thread's are made; those of others are waited for.
    Gathering,
    /// All are made, and held in silence.
    Holding { until: Instant },
    /// The hold is over on this thread; the origin of the schedule, the same for all threads, is waited for.
    Starting,
    /// Requests are made.
    Running,
    /// No more are made; answers are awaited.
    Draining { until: Instant },
    /// All is over.
    Done,
}

impl<N: Net> Runner<N> {
    /// Moves from stage to stage.
    pub(super) fn advance(&mut self) {
        match self.stage {
            Stage::Opening | Stage::Gathering | Stage::Holding { .. } | Stage::Starting
                if self.progress.is_stopping() =>
            {
                self.end_hold();
                self.stage = Stage::Done;
            }
            Stage::Opening if self.untried == 0 || self.opens_while_it_asks() => {
                if self.progress.connected.arrive(self.share.of) {
                    self.progress.connected.fix(self.now);
                }
                self.stage = Stage::Gathering;
                self.advance();
            }
            Stage::Gathering => self.hold(),
            Stage::Holding { until } if until <= self.now => self.let_go(),
            Stage::Starting => self.start(),
            Stage::Running => {
                self.note_silence();
                self.begin_measuring();
                if self.progress.is_stopping() || self.is_over() {
                    self.stop();
                }
            }
            Stage::Draining { until } if self.outstanding == 0 || until <= self.now => self.finish(),
            _ => {}
        }
    }

    /// Whether requests begin before all connections are made: a server that takes one connection at a time, as Python's
    /// does, shakes hands with the second when the first has been served.
    fn opens_while_it_asks(&self) -> bool {
        let all_begun = self.next_to_open == self.clients.len();
        let any_made = self.progress.made.load(Ordering::Relaxed) > 0;
        self.plan.protocol == LoadProtocol::XmlRpc && !self.plan.once && all_begun && any_made
    }

    /// Holds the connections once those of all threads are made.
    fn hold(&mut self) {
        let Some(since) = self.progress.connected.at() else { return };
        self.held.since = Some(since);
        let nobody_is_there = self.progress.made.load(Ordering::Relaxed) == 0;
        self.stage = if nobody_is_there && self.plan.protocol != LoadProtocol::HandshakeOnly {
            Stage::Done
        } else {
            Stage::Holding { until: since + self.plan.hold }
        };
        self.advance();
    }

    /// The hold is over: it began and ends at the same moment on all threads. The last thread to see its end says when
    /// the schedule begins.
    fn let_go(&mut self) {
        self.end_hold();
        self.stage = Stage::Starting;
        if self.progress.held.arrive(self.share.of) {
            if let Some(look) = &self.progress.before_asking {
                look();
                self.now = self.net.now().instant;
            }
            let lead = if self.share.of > 1 { LEAD_IN } else { Duration::ZERO };
            self.progress.held.fix(self.now + lead);
        }
        self.advance();
    }

    fn end_hold(&mut self) {
        let is_open = |client: &&Virtual<N::Socket>| client.link.as_ref().is_some_and(|link| link.opened.is_some());
        self.held.time = self.held.since.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since));
        self.held.open = self.clients.iter().filter(is_open).count().try_into().unwrap_or(u64::MAX);
    }

    fn start(&mut self) {
        let Some(origin) = self.progress.held.at().filter(|at| *at <= self.now) else { return };
        if self.plan.once {
            // Those that were lost are not waited for.
            self.quota = self.held.open;
        }
        self.stage = Stage::Running;
        self.origin = Some(origin);
        self.alive_at = self.now;
        self.arrivals = self.plan.schedule.arrivals(self.share, self.plan.mix.seed);
        (0..self.clients.len()).for_each(|index| self.offer(index));
    }

    pub(super) fn is_over(&self) -> bool {
        if let Some(over) = self.plan.schedule.over_at() {
            return self.at(self.now) >= over;
        }
        // A number of requests can be asked of a server that never answers again.
        let is_dead = self.now.saturating_duration_since(self.alive_at) > DEAD_AFTER * self.plan.timeout;
        let is_done = self.arrivals.as_ref().map_or(self.quota == 0, |arrivals| arrivals.next_due().is_none());
        is_dead || is_done
    }

    /// Silence says nothing of a server that has nothing to answer: its time counts from the first request that waits.
    fn note_silence(&mut self) {
        let is_due = match &self.arrivals {
            Some(arrivals) => arrivals.next_due().is_some_and(|due| due <= self.at(self.now)),
            None => self.quota > 0,
        };
        if self.outstanding == 0 && !is_due {
            self.alive_at = self.now;
        }
    }

    /// Makes no more requests. What was due and found nobody free has waited in vain, and counts so.
    fn stop(&mut self) {
        // The last turn may have taken long: what fell due in it is not lost for that.
        if !self.progress.is_stopping() {
            self.dispatch();
        }
        let at = self.at(self.now);
        self.end_measuring();
        self.pressure.ended = self.plan.schedule.over_at().map_or(at, |over| over.min(at));
        while let Some(intended) = self.arrivals.as_ref().and_then(Arrivals::next_due).filter(|due| *due <= at) {
            self.arrivals.as_mut().map(Iterator::next);
            if self.plan.schedule.measures(intended) {
                self.tally.due += 1;
                let since_measured = at.saturating_sub(self.plan.schedule.warmup);
                self.tally.recorder.unanswered(since_measured, at.saturating_sub(intended));
            }
        }
        for since in self.clients.iter_mut().filter_map(|client| client.waits_since.take()) {
            let since_measured = at.saturating_sub(self.plan.schedule.warmup);
            self.tally.recorder.unanswered(since_measured, at.saturating_sub(since).min(since_measured));
        }
        self.stage = Stage::Draining { until: self.now + self.plan.timeout };
        self.advance();
    }
}
