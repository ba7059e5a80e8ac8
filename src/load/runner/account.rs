//! What answers and failures count for.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Runner, Stage};
use crate::load::codec::ReplyCheck;
use crate::load::connection::SentRequest;
use crate::load::outcome::RequestFailure;
use crate::load::schedule::StopAfter;
use crate::load::workload::OperationKind;
use crate::net::Net;

impl<N: Net> Runner<N> {
    /// Counts what was just decoded; whether the last of it was as it should be, if there was any.
    pub(super) fn count_answers(&mut self, index: usize, now: Instant) -> Option<bool> {
        let at = self.at(now);
        let mut answers = std::mem::take(&mut self.buffers.answers);
        let mut is_well = None;
        for (request, answer) in answers.drain(..) {
            is_well = Some(matches!(answer, ReplyCheck::Good | ReplyCheck::Missing));
            self.count(request, &answer, at);
        }
        self.buffers.answers = answers;
        if let Some(client) = self.clients.get_mut(index) {
            client.free_since = at;
        }
        is_well
    }

    pub(super) fn count(&mut self, request: SentRequest, answer: &ReplyCheck, at: Duration) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.alive_at = self.now;
        match answer {
            ReplyCheck::Bad(failure) => return self.fail_request(request, *failure, at),
            ReplyCheck::Refused(words) => {
                if self.counts(request, at) {
                    self.tally.wordings.add(words, 1);
                }
                return self.fail_request(request, RequestFailure::ErrorReply, at);
            }
            ReplyCheck::Good | ReplyCheck::Missing => {}
        }
        let writes = request.operation.kind == OperationKind::Write && self.plan.writes();
        self.tally.writes += u64::from(writes);
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
        let since_measured = at.saturating_sub(self.plan.schedule.warmup);
        let latency = at.saturating_sub(request.intended);
        let is_in_time = match self.plan.schedule.end {
            StopAfter::Count(_) => request.measured,
            StopAfter::After(_) => {
                self.plan.schedule.measures(at) && (self.stage == Stage::Running || at <= self.pressure.ended)
            }
        };
        self.tally.in_time += u64::from(is_in_time);
        if request.measured {
            self.tally.recorder.answered(since_measured, latency, at.saturating_sub(request.sent));
            self.tally.answered += 1;
            self.tally.misses += u64::from(*answer == ReplyCheck::Missing);
        } else if self.arrivals.is_none() && self.counts(request, at) {
            // In a closed loop nothing else was due meanwhile, and a server that stood still would look fast.
            self.tally.recorder.unanswered(since_measured, latency);
        }
    }

    /// Whether what became of a request at `at` belongs to the measured part: it was due there, or it is of the warm-up
    /// and has kept its client waiting for longer since than before.
    fn counts(&self, request: SentRequest, at: Duration) -> bool {
        let warmup = self.plan.schedule.warmup;
        let (before, since) = (warmup.saturating_sub(request.intended), at.saturating_sub(warmup));
        request.measured || request.intended < warmup && since > before
    }

    /// Whether a failure of a connection without a request counts. One that cannot be made spoils the run whenever it happens.
    pub(super) fn counts_lost(&self, at: Duration) -> bool {
        self.stage != Stage::Running || at >= self.plan.schedule.warmup
    }

    /// Counts a request that has failed: without an answer, or with a wrong one. What it waited is latency all the same, or
    /// a server would look fast whose slowest answers are errors.
    pub(super) fn fail_request(&mut self, request: SentRequest, failure: RequestFailure, at: Duration) {
        if self.counts(request, at) {
            let since_measured = at.saturating_sub(self.plan.schedule.warmup);
            self.tally.recorder.unanswered(since_measured, at.saturating_sub(request.intended));
        }
        self.fail(failure, Some(request), at);
    }

    /// Counts a failure: of `request`, or of a connection that carried none.
    pub(super) fn fail(&mut self, failure: RequestFailure, request: Option<SentRequest>, at: Duration) {
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
        let warmup = self.plan.schedule.warmup;
        let counts = match request {
            Some(request) => self.counts(request, at),
            None => self.counts_lost(at),
        };
        if counts {
            self.tally.failures.add(failure, 1);
            self.tally.recorder.failed(at.saturating_sub(warmup));
        }
    }
}
