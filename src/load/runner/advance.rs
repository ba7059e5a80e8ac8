//! What moves a thread from one stage of the run to the next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Runner;
use super::stage::{Hold, Stage};
use crate::net::Net;

/// From the arrival of the last thread to the schedule's origin: long enough for each to have seen it before.
const LEAD_IN: Duration = Duration::from_millis(10);

impl<N: Net> Runner<N> {
    /// Moves from stage to stage, as far as it can at once.
    pub(super) fn advance(&mut self) {
        match self.stages.stage {
            stage if stage.is_before_start() && self.stages.progress.is_stopping() => {
                self.end_hold();
                self.stages.stage = Stage::Done;
            }
            Stage::Opening if self.clients.opening.is_complete() || self.may_start_early() => {
                if self.stages.progress.connected.arrive(self.stages.threads) {
                    self.stages.progress.connected.fix(self.now);
                }
                self.stages.stage = Stage::Gathering;
                self.advance();
            }
            Stage::Gathering => self.begin_hold(),
            Stage::Holding { until } if until <= self.now => self.leave_hold(),
            Stage::Starting => self.start(),
            Stage::Sending => {
                self.note_silence();
                if self.pacer.has_warmed_up(self.pacer.at(self.now)) {
                    self.own_time.begin_measuring(|| self.net.processor());
                }
                if self.stages.progress.is_stopping() || self.is_over() {
                    self.stop();
                }
            }
            Stage::Draining { until } if self.account.outstanding() == 0 || until <= self.now => self.finish(),
            _ => {}
        }
    }

    fn has_reached_server(&self) -> bool {
        self.stages.progress.made.load(Ordering::Relaxed) > 0
    }

    fn may_start_early(&self) -> bool {
        self.driver.sends_while_connecting() && self.clients.opening.has_begun_all() && self.has_reached_server()
    }

    /// Holds the connections once those of all threads are made. Where none is, the run is over.
    fn begin_hold(&mut self) {
        let Some(since) = self.stages.progress.connected.at() else { return };
        self.stages.hold.since = Some(since);
        self.stages.stage = if self.has_reached_server() || !self.driver.connects_ahead() {
            Stage::Holding { until: since + self.plan.hold }
        } else {
            Stage::Done
        };
        self.advance();
    }

    /// The hold is over: it began and ends at the same moment on all threads. The last thread to see its end fixes the
    /// origin of the schedule.
    fn leave_hold(&mut self) {
        self.end_hold();
        self.stages.stage = Stage::Starting;
        let progress = &self.stages.progress;
        if progress.held.arrive(self.stages.threads) {
            if let Some(look) = &progress.before_asking {
                look();
                self.now = self.net.now().instant;
            }
            let lead = if self.stages.threads > 1 { LEAD_IN } else { Duration::ZERO };
            progress.held.fix(self.now + lead);
        }
        self.advance();
    }

    fn end_hold(&mut self) {
        let since = self.stages.hold.since;
        let open = self.clients.iter().filter(|client| client.link().is_some_and(|link| link.opened().is_some()));
        self.stages.hold = Hold {
            since,
            time: since.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since)),
            open: open.count().try_into().unwrap_or(u64::MAX),
        };
    }

    fn start(&mut self) {
        let Some(origin) = self.stages.progress.held.at().filter(|at| *at <= self.now) else { return };
        if !self.driver.replaces_lost() {
            self.pacer.limit(self.stages.hold.open);
        }
        self.stages.stage = Stage::Sending;
        self.pacer.start(origin);
        self.account.note_alive(self.now);
        (0..self.clients.len()).for_each(|index| self.offer(index));
    }

    /// Whether all is sent or the time is over, or a server that owes a number of answers is dead.
    pub(super) fn is_over(&self) -> bool {
        let is_dead = || self.pacer.ends_by_count() && self.account.is_dead(self.now, self.plan.timeout);
        self.pacer.is_over(self.pacer.at(self.now)) || is_dead()
    }

    /// Silence is no sign of a dead server while it has nothing to answer.
    fn note_silence(&mut self) {
        if self.account.outstanding() == 0 && !self.pacer.has_due(self.pacer.at(self.now)) {
            self.account.note_alive(self.now);
        }
    }

    /// Sends no more requests. Those that were due and found no client free count with the time they waited.
    fn stop(&mut self) {
        // The last turn may have taken long: what fell due in it is still sent.
        if !self.stages.progress.is_stopping() {
            self.send_due();
        }
        let at = self.pacer.at(self.now);
        self.own_time.end_measuring(self.net.processor());
        self.pacer.stop(at);
        while let Some(intended) = self.pacer.next_due().filter(|due| *due <= at) {
            self.pacer.take_due();
            self.account.count_never_sent(intended, at, &self.pacer);
        }
        for outage in self.clients.iter_mut().filter_map(|client| client.outage.take()) {
            self.account.count_unmet(outage.due(), at, &self.pacer);
        }
        self.stages.stage = Stage::Draining { until: self.now + self.plan.timeout };
        self.advance();
    }

    /// Ends the run: requests still in flight have failed.
    fn finish(&mut self) {
        self.pacer.finish(self.pacer.at(self.now));
        if self.pacer.ends_by_count() {
            self.own_time.end_measuring(self.net.processor());
        }
        self.stages.stage = Stage::Done;
        for index in 0..self.clients.len() {
            if let Some(link) = self.clients.take_link(index) {
                self.abandon(index, link);
            }
        }
    }
}
