//! When the next request is due, what counts as late, and when the schedule is over: in an open loop and in a closed one.

use std::time::{Duration, Instant};

use crate::load::connection::SentRequest;
use crate::load::schedule::{Arrivals, Schedule, StopAfter, ThreadShare};

/// A request that is sent later than this after it was due is late.
pub(super) const LATE: Duration = Duration::from_millis(1);
/// The thread wakes this long before a request is due: a kernel takes tens of microseconds to wake one.
const LEAD: Duration = Duration::from_micros(60);

/// The schedule of one thread, and how far it is. All times count from the schedule's origin.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    pace: ThreadPace,
    state: PacerState,
}

/// The cause that makes the next request due.
#[derive(Debug)]
enum ThreadPace {
    /// The clock. Arrivals that are due and not taken yet are the backlog.
    Open(Arrivals),
    /// An answer, until `quota` measured requests were sent.
    Closed { quota: u64 },
}

/// How far the schedule is.
#[derive(Clone, Copy, Debug)]
enum PacerState {
    /// Its origin is not known yet.
    Waiting,
    /// Requests are sent.
    Sending { origin: Instant },
    /// No more requests are sent since `ended`; answers are awaited.
    Draining { origin: Instant, ended: Duration },
    /// The measured part is over: at `ended` too, or, where a number of requests ends it, with the last answer.
    Over { origin: Instant, ended: Duration, over: Duration },
}

impl Pacer {
    /// The pacer of `share` of `schedule`; `seed` draws the gaps between arrivals.
    pub(super) fn new(schedule: Schedule, share: ThreadShare, seed: u64) -> Self {
        let quota = match schedule.end {
            StopAfter::After(_) => u64::MAX,
            StopAfter::Count(count) => share.part(count),
        };
        let pace = schedule.arrivals(share, seed).map_or(ThreadPace::Closed { quota }, ThreadPace::Open);
        Self { schedule, pace, state: PacerState::Waiting }
    }

    /// In a closed loop, at most `count` more measured requests are sent.
    pub(super) fn limit(&mut self, count: u64) {
        if let ThreadPace::Closed { quota } = &mut self.pace {
            *quota = count;
        }
    }

    /// Starts the schedule at `origin`.
    pub(super) fn start(&mut self, origin: Instant) {
        self.state = PacerState::Sending { origin };
    }

    /// No more requests are sent from `at` on.
    pub(super) fn stop(&mut self, at: Duration) {
        if let PacerState::Sending { origin } = self.state {
            let ended = self.schedule.over_at().map_or(at, |over| over.min(at));
            self.state = PacerState::Draining { origin, ended };
        }
    }

    /// Every answer has come, or is no longer awaited, at `at`.
    pub(super) fn finish(&mut self, at: Duration) {
        if let PacerState::Draining { origin, ended } = self.state {
            let over = if self.ends_by_count() { at } else { ended };
            self.state = PacerState::Over { origin, ended, over };
        }
    }

    /// When the schedule began: the same moment on all threads; `None` if it never did.
    pub(super) fn origin(&self) -> Option<Instant> {
        match self.state {
            PacerState::Waiting => None,
            PacerState::Sending { origin } | PacerState::Draining { origin, .. } | PacerState::Over { origin, .. } => {
                Some(origin)
            }
        }
    }

    /// Time since the schedule began; zero before.
    pub(super) fn at(&self, instant: Instant) -> Duration {
        self.origin().map_or(Duration::ZERO, |origin| instant.saturating_duration_since(origin))
    }

    /// Whether requests are sent now.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.state, PacerState::Sending { .. })
    }

    /// Whether the clock makes requests due, and not answers.
    pub(super) fn is_open_loop(&self) -> bool {
        matches!(self.pace, ThreadPace::Open(_))
    }

    /// Whether a number of requests ends the schedule, and not the clock.
    pub(super) fn ends_by_count(&self) -> bool {
        matches!(self.schedule.end, StopAfter::Count(_))
    }

    /// In an open loop, when the next request is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        match &self.pace {
            ThreadPace::Open(arrivals) => arrivals.next_due(),
            ThreadPace::Closed { .. } => None,
        }
    }

    /// The request that is due next has been taken from the backlog.
    pub(super) fn take_due(&mut self) {
        if let ThreadPace::Open(arrivals) = &mut self.pace {
            arrivals.next();
        }
    }

    /// Drops the unsent requests of the warm-up once measuring has begun: behind such a backlog no measured request would
    /// ever be sent.
    pub(super) fn drop_warmup_backlog(&mut self, at: Duration) {
        let warmup = self.schedule.warmup;
        while at >= warmup && self.next_due().is_some_and(|due| due < warmup) {
            self.take_due();
        }
    }

    /// Whether a request could be sent at `at`.
    pub(super) fn has_due(&self, at: Duration) -> bool {
        match self.pace {
            ThreadPace::Open(_) => self.next_due().is_some_and(|due| due <= at),
            ThreadPace::Closed { quota } => quota > 0,
        }
    }

    /// A measured request was sent.
    pub(super) fn count_sent(&mut self) {
        if let ThreadPace::Closed { quota } = &mut self.pace {
            *quota = quota.saturating_sub(1);
        }
    }

    /// Whether all was sent, or the time is over.
    pub(super) fn is_over(&self, at: Duration) -> bool {
        match (self.schedule.over_at(), &self.pace) {
            (Some(over), _) => at >= over,
            (None, ThreadPace::Open(arrivals)) => arrivals.next_due().is_none(),
            (None, ThreadPace::Closed { quota }) => *quota == 0,
        }
    }

    /// How long the thread may sleep at `now`; `None` for as long as it likes. A request that is due cannot be sent while
    /// no client is free.
    pub(super) fn time_to_next(&self, now: Instant, is_client_free: bool) -> Option<Duration> {
        if is_client_free && !self.is_open_loop() {
            return Some(Duration::ZERO);
        }
        let at = self.at(now);
        let due = self.next_due().filter(|_| is_client_free).map(|due| due.saturating_sub(at).saturating_sub(LEAD));
        let over = self.schedule.over_at().map(|over| over.saturating_sub(at));
        due.into_iter().chain(over).min()
    }

    /// Whether a request that is due at `intended` is measured.
    pub(super) fn measures(&self, intended: Duration) -> bool {
        self.schedule.measures(intended)
    }

    /// Whether measuring has begun at `at`.
    pub(super) fn has_warmed_up(&self, at: Duration) -> bool {
        at >= self.schedule.warmup
    }

    /// Time since measuring began; zero before.
    pub(super) fn since_measured(&self, at: Duration) -> Duration {
        at.saturating_sub(self.schedule.warmup)
    }

    /// Whether a request that was due at `intended` and is sent at `at` is late. A closed loop has no due times.
    pub(super) fn is_late(&self, intended: Duration, at: Duration) -> bool {
        self.is_open_loop() && at.saturating_sub(intended) > LATE
    }

    /// In a closed loop, when a request is due that is sent at `at` by a client without a connection since `waited`. Only
    /// the measured part of such a wait counts.
    pub(super) fn due_after(&self, waited: Option<Duration>, at: Duration) -> Duration {
        waited.map_or(at, |since| since.max(self.schedule.warmup.min(at)))
    }

    /// Whether the end of `request` at `at` belongs to the measured part: the request was due there, or it is one of the
    /// warm-up that has kept its client waiting for longer since then than before.
    pub(super) fn concerns(&self, request: SentRequest, at: Duration) -> bool {
        let warmup = self.schedule.warmup;
        let (before, since) = (warmup.saturating_sub(request.intended), at.saturating_sub(warmup));
        request.measured || request.intended < warmup && since > before
    }

    /// Whether the failure of a connection without a request belongs to the measured part. A connection that cannot be
    /// made before or after the schedule counts too.
    pub(super) fn concerns_connections(&self, at: Duration) -> bool {
        !self.is_sending() || self.has_warmed_up(at)
    }

    /// Whether the answer to `request` at `at` came before the measured part was over.
    pub(super) fn is_in_time(&self, request: SentRequest, at: Duration) -> bool {
        let is_before_end = match self.state {
            PacerState::Waiting | PacerState::Sending { .. } => true,
            PacerState::Draining { ended, .. } | PacerState::Over { ended, .. } => at <= ended,
        };
        if self.ends_by_count() { request.measured } else { self.schedule.measures(at) && is_before_end }
    }

    /// Whether the thread's own time at `at` belongs to the measured part. The last of a number of requests are awaited
    /// there, too.
    pub(super) fn measures_time(&self, at: Duration) -> bool {
        let counts = match self.state {
            PacerState::Sending { .. } => true,
            PacerState::Draining { .. } => self.ends_by_count(),
            PacerState::Waiting | PacerState::Over { .. } => false,
        };
        counts && self.schedule.measures(at)
    }

    /// Length of the measured part, once it is over.
    pub(super) fn duration(&self) -> Duration {
        match self.state {
            PacerState::Over { over, .. } => self.since_measured(over),
            _ => Duration::ZERO,
        }
    }

    /// The part of it in which requests were sent; all of it in a closed loop.
    pub(super) fn sending(&self) -> Duration {
        match self.state {
            PacerState::Over { ended, .. } if self.is_open_loop() => self.since_measured(ended),
            _ => self.duration(),
        }
    }

    /// From the origin to the first measured moment.
    pub(super) fn warmup(&self) -> Duration {
        self.schedule.warmup
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::{Gaps, Pace, Ramp};
    use crate::load::workload::{Operation, OperationKind};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn started(pace: Pace, end: StopAfter) -> (Pacer, Instant) {
        let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: millis(100), end };
        let (mut pacer, origin) = (Pacer::new(schedule, ThreadShare::WHOLE, 1), Instant::now());
        assert!(!pacer.is_sending() && pacer.at(origin + millis(5)).is_zero());
        pacer.start(origin);
        assert!(pacer.is_sending());
        (pacer, origin)
    }

    fn request(pacer: &Pacer, intended: Duration) -> SentRequest {
        let operation = Operation { kind: OperationKind::Read, key: 1 };
        SentRequest { operation, intended, sent: intended, measured: pacer.measures(intended) }
    }

    #[test]
    fn open_loop_is_due_by_the_clock_and_over_by_the_clock() {
        let pace = Pace::Open { rate: 100.0, gaps: Gaps::Constant };
        let (mut pacer, origin) = started(pace, StopAfter::After(millis(50)));
        assert_eq!((pacer.next_due(), pacer.has_due(Duration::ZERO)), (Some(Duration::ZERO), true));
        pacer.take_due();
        assert_eq!(pacer.time_to_next(origin, true), Some(millis(10).saturating_sub(LEAD)));
        assert_eq!(pacer.time_to_next(origin, false), Some(millis(150)), "no client can send before the end");
        assert!(!pacer.is_late(millis(10), millis(11)) && pacer.is_late(millis(10), millis(12)));
        pacer.drop_warmup_backlog(millis(99));
        assert_eq!(pacer.next_due(), Some(millis(10)));
        pacer.drop_warmup_backlog(millis(100));
        assert_eq!(pacer.next_due(), Some(millis(100)));
        assert!(!pacer.is_over(millis(149)) && pacer.is_over(millis(150)));
        pacer.stop(millis(170));
        pacer.finish(millis(900));
        assert_eq!((pacer.duration(), pacer.sending()), (millis(50), millis(50)), "the clock ends it");
    }

    #[test]
    fn closed_loop_is_due_by_answers_and_over_by_its_quota() {
        let (mut pacer, origin) = started(Pace::Closed, StopAfter::Count(2));
        assert_eq!((pacer.next_due(), pacer.has_due(Duration::ZERO)), (None, true));
        assert_eq!(pacer.time_to_next(origin, true), Some(Duration::ZERO));
        assert_eq!(pacer.time_to_next(origin, false), None);
        assert!(!pacer.is_late(Duration::ZERO, millis(500)), "there are no due times");
        pacer.count_sent();
        assert!(!pacer.is_over(millis(200)));
        pacer.count_sent();
        assert!(pacer.is_over(millis(200)) && !pacer.has_due(millis(200)));
        pacer.stop(millis(200));
        assert!(pacer.measures_time(millis(250)), "the last answer is awaited");
        pacer.finish(millis(300));
        assert_eq!((pacer.duration(), pacer.sending()), (millis(200), millis(200)));
    }

    #[test]
    fn a_request_of_the_warmup_counts_when_most_of_its_wait_is_measured() {
        let (pacer, _) = started(Pace::Closed, StopAfter::After(millis(100)));
        let early = request(&pacer, millis(60));
        assert!(!early.measured && !pacer.concerns(early, millis(140)) && pacer.concerns(early, millis(141)));
        assert_eq!(pacer.due_after(Some(millis(60)), millis(141)), millis(100));
        assert_eq!(pacer.due_after(None, millis(141)), millis(141));
    }

    #[test]
    fn answers_after_the_end_are_not_in_time() {
        let (mut pacer, _) = started(Pace::Closed, StopAfter::After(millis(100)));
        let last = request(&pacer, millis(199));
        pacer.stop(millis(150));
        assert!(pacer.is_in_time(last, millis(150)) && !pacer.is_in_time(last, millis(151)), "it was stopped early");
        assert!(pacer.concerns_connections(millis(50)), "no warm-up outlasts the end");
    }
}
