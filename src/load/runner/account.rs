//! How answers and failures count.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::pacer::Pacer;
use crate::load::codec::ReplyCheck;
use crate::load::connection::SentRequest;
use crate::load::outcome::RequestFailure;
use crate::load::plan::{Plan, RunProgress};
use crate::load::tally::Tally;
use crate::load::workload::OperationKind;

/// A server is dead if it has answered nothing for so many times the timeout of a request while some were awaited. A
/// single request that is never answered times out before. A new connection is no answer.
const DEAD_AFTER: u32 = 2;

/// The counts of one thread, and the requests it still waits for.
pub(super) struct Account {
    pub(super) tally: Tally,
    progress: Arc<RunProgress>,
    /// Requests without a reply.
    outstanding: u64,
    /// When something was last answered, or nothing was awaited.
    alive_at: Instant,
    /// Whether writes are of keys that stay on the server.
    writes_keys: bool,
}

impl Account {
    pub(super) fn new(plan: &Plan, progress: Arc<RunProgress>, now: Instant) -> Self {
        Self { tally: Tally::default(), progress, outstanding: 0, alive_at: now, writes_keys: plan.writes() }
    }

    /// Requests without a reply.
    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// A request is sent, or is about to be.
    pub(super) fn count_sent(&mut self, request: SentRequest, pacer: &Pacer) {
        self.outstanding += 1;
        if request.measured {
            self.tally.sent += 1;
            self.tally.due += u64::from(pacer.is_open_loop());
        }
    }

    /// A request that fell due was not sent before the end. Its wait is latency.
    pub(super) fn count_never_sent(&mut self, intended: Duration, at: Duration, pacer: &Pacer) {
        if pacer.measures(intended) {
            self.tally.due += 1;
            self.tally.recorder.unanswered(pacer.since_measured(at), at.saturating_sub(intended));
        }
    }

    /// The next request of a client, due at `intended`, had no connection before the end.
    pub(super) fn count_unmet(&mut self, intended: Duration, at: Duration, pacer: &Pacer) {
        let since_measured = pacer.since_measured(at);
        self.tally.recorder.unanswered(since_measured, at.saturating_sub(intended).min(since_measured));
    }

    /// The connection for a request could not be begun, for a reason that has been counted.
    pub(super) fn count_without_connection(&mut self, request: SentRequest, at: Duration, pacer: &Pacer) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if request.measured {
            self.tally.recorder.unanswered(pacer.since_measured(at), at.saturating_sub(request.intended));
        }
    }

    /// A request got its reply at `at`.
    pub(super) fn count_reply(&mut self, request: SentRequest, reply: &ReplyCheck, at: Duration, pacer: &Pacer) {
        match reply {
            ReplyCheck::Bad(failure) => self.fail_request(request, *failure, at, pacer),
            ReplyCheck::Refused(words) => {
                if pacer.concerns(request, at) {
                    self.tally.wordings.add(words, 1);
                }
                self.fail_request(request, RequestFailure::ErrorReply, at, pacer);
            }
            ReplyCheck::Good => self.count_answer(request, false, at, pacer),
            ReplyCheck::Missing => self.count_answer(request, true, at, pacer),
        }
    }

    fn count_answer(&mut self, request: SentRequest, is_missing: bool, at: Duration, pacer: &Pacer) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.tally.writes += u64::from(request.operation.kind == OperationKind::Write && self.writes_keys);
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
        let since_measured = pacer.since_measured(at);
        let latency = at.saturating_sub(request.intended);
        self.tally.in_time += u64::from(pacer.is_in_time(request, at));
        if request.measured {
            self.tally.recorder.answered(since_measured, latency, at.saturating_sub(request.sent));
            self.tally.answered += 1;
            self.tally.misses += u64::from(is_missing);
        } else if !pacer.is_open_loop() && pacer.concerns(request, at) {
            // In a closed loop nothing else was due meanwhile, and a server that stood still would look fast.
            self.tally.recorder.unanswered(since_measured, latency);
        }
    }

    /// A request has failed: without an answer, or with a wrong one. Its wait is latency all the same, or a server would
    /// look fast whose slowest answers are errors.
    pub(super) fn fail_request(&mut self, request: SentRequest, failure: RequestFailure, at: Duration, pacer: &Pacer) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let is_counted = pacer.concerns(request, at);
        if is_counted {
            let since_measured = pacer.since_measured(at);
            self.tally.recorder.unanswered(since_measured, at.saturating_sub(request.intended));
        }
        self.count_failure(failure, is_counted, at, pacer);
    }

    /// A connection has failed that carried no request; the server may have said why in an error of its protocol.
    pub(super) fn fail_connection(
        &mut self,
        failure: RequestFailure,
        refusal: Option<&str>,
        at: Duration,
        pacer: &Pacer,
    ) {
        let is_counted = pacer.concerns_connections(at);
        if let Some(words) = refusal.filter(|_| is_counted) {
            self.tally.wordings.add(words, 1);
        }
        self.count_failure(failure, is_counted, at, pacer);
    }

    fn count_failure(&mut self, failure: RequestFailure, is_counted: bool, at: Duration, pacer: &Pacer) {
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
        if is_counted {
            self.tally.failures.add(failure, 1);
            self.tally.recorder.failed(pacer.since_measured(at));
        }
    }

    /// A connection can carry requests; whether it `replaces` an earlier one of its client.
    pub(super) fn count_opened(&mut self, replaces: bool) {
        self.tally.connections += 1;
        self.tally.reconnections += u64::from(replaces);
        self.progress.open.fetch_add(1, Ordering::Relaxed);
        self.progress.made.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was opened is no longer open.
    pub(super) fn count_closed(&self) {
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// The server has answered, or has nothing to answer: its silence counts from `now`.
    pub(super) fn note_alive(&mut self, now: Instant) {
        self.alive_at = now;
    }

    /// Whether the server has been silent for so long that it answers nothing any more.
    pub(super) fn is_dead(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.alive_at) > DEAD_AFTER * timeout
    }
}
