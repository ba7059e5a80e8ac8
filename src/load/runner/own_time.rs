//! The thread's own time: idle, without a processor, and the requests and answers that this has made late.
//!
//! Three things are kept apart. A *late send* is a request that left more than a millisecond after it was due although a
//! client was free. A *pause* is a time of more than a millisecond that the thread needed a processor and had none: it
//! sends and reads nothing meanwhile, and the answers that it reads next have come up to a pause earlier. *Starvation* is
//! all time without a processor, the many short waits included that a shared machine makes of wake-ups.

use std::time::{Duration, Instant};

use super::pacer::LATE;
use crate::load::outcome::OwnShare;
use crate::load::tally::Tally;
use crate::net::Processor;

/// From the moment that a thread may run to the moment that it does, on a machine with a processor to spare. A wait that
/// ends costs this much without anything being wrong.
const USUAL_WAKE: Duration = Duration::from_micros(10);

/// The account of a thread's own time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnTime {
    /// Time spent with nothing to do, in the measured part.
    idle: Duration,
    /// How often it has slept there.
    sleeps: u32,
    /// How much longer than it meant to.
    overslept: Duration,
    /// Its processor time when the measured part began, and when it was over.
    processor: (Option<Processor>, Option<Processor>),
    turn: OwnTurn,
    pauses: Pauses,
    sends: LateSends,
}

/// The turn of the loop in hand.
#[derive(Clone, Copy, Debug, Default)]
struct OwnTurn {
    /// When it began.
    began: Option<Instant>,
    /// How long the thread slept since the last one began, and how much longer than it meant to.
    slept: Duration,
    overslept: Duration,
    /// Its processor time when that was last read.
    processor: Option<Processor>,
    /// The pause that it began with.
    pause: Duration,
}

/// Pauses of the measured part.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    /// All of them together.
    total: Duration,
    /// Answers that were read just after one.
    answers: u64,
    /// The sum of the pauses before these answers.
    delay: Duration,
}

/// Requests of an open loop that were sent late.
#[derive(Clone, Copy, Debug, Default)]
struct LateSends {
    /// For whatever reason.
    all: u64,
    /// By this side's fault.
    own: u64,
    /// When the schedule was last looked at, and whether a client was free then with nothing due.
    looked: Option<(Duration, bool)>,
    /// Requests that were due until then and have waited since a pause are late because of the pause.
    catching_up: Option<Duration>,
}

impl OwnTime {
    /// The schedule is looked at; its first request has been due since `due`. If a client was free at the last look, a
    /// thread that was awake would have sent it: this one has paused, and the backlog is its own. So are the requests behind
    /// it, but not for longer than the pause was: after that the server keeps the backlog up.
    pub(super) fn begin_look(&mut self, at: Duration, due: Option<Duration>) {
        let is_late = due.is_some_and(|due| at.saturating_sub(due) > LATE);
        if let Some((before, true)) = self.sends.looked
            && is_late
        {
            self.sends.catching_up = Some(at + at.saturating_sub(before));
        }
    }

    /// The look is over: the next request is due at `due`, and `is_free` is whether a client is free for it.
    pub(super) fn end_look(&mut self, at: Duration, due: Option<Duration>, is_free: bool) {
        let is_drained = due.is_none_or(|due| due > at);
        if is_drained {
            self.sends.catching_up = None;
        }
        self.sends.looked = Some((at, is_free && is_drained));
    }

    /// A request that was due at `intended` is sent late. That is this side's own fault if its client was free then, or if
    /// this side has paused.
    pub(super) fn count_late_send(&mut self, intended: Duration, free_since: Duration) {
        self.sends.all += 1;
        self.sends.own += u64::from(free_since <= intended || self.is_own(intended));
    }

    /// Whether a request that was due at `intended` and is late is so because this side has paused.
    fn is_own(&self, intended: Duration) -> bool {
        self.sends.catching_up.is_some_and(|until| intended <= until)
    }

    /// The thread has `slept` where it meant to sleep for `timeout`, or, where that was zero, has looked for events in
    /// vain for the time `spent`. `is_measured` is whether that belongs to the measured part.
    pub(super) fn end_sleep(
        &mut self,
        at: Duration,
        timeout: Duration,
        slept: Duration,
        spent: Duration,
        is_measured: bool,
    ) {
        let overslept = slept.saturating_sub(timeout);
        let overslept = if overslept > LATE { overslept } else { Duration::ZERO };
        if !overslept.is_zero() {
            self.sends.catching_up = Some(at + overslept);
        }
        self.turn.slept += slept;
        self.turn.overslept += overslept;
        if is_measured {
            self.idle += slept + spent;
            self.sleeps = self.sleeps.saturating_add(u32::from(!timeout.is_zero()));
            self.overslept += overslept;
        }
    }

    /// A turn begins at `now`. If the last one began more than a millisecond ago, `processor` is asked whether the thread
    /// was without one meanwhile.
    pub(super) fn begin_turn(
        &mut self,
        now: Instant,
        is_measured: bool,
        processor: impl FnOnce() -> Option<Processor>,
    ) {
        let last = self.turn;
        self.turn = OwnTurn { began: Some(now), processor: last.processor, ..OwnTurn::default() };
        let gap = last.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        if gap <= LATE {
            return;
        }
        self.turn.processor = processor();
        let lacked = last.lacked(gap, self.turn.processor);
        if lacked > LATE && is_measured {
            self.turn.pause = lacked;
            self.pauses.total += lacked;
        }
    }

    /// The thread's processor time by now: short waits before it belong to no later pause.
    pub(super) fn note_processor(&mut self, processor: Option<Processor>) {
        self.turn.processor = processor;
    }

    /// So many measured answers were read in this turn.
    pub(super) fn count_answers(&mut self, count: u64) {
        if !self.turn.pause.is_zero() {
            self.pauses.answers += count;
            let times = u32::try_from(count).unwrap_or(u32::MAX);
            self.pauses.delay = self.pauses.delay.saturating_add(self.turn.pause.saturating_mul(times));
        }
    }

    /// Measuring begins, unless it has begun already.
    pub(super) fn begin_measuring(&mut self, processor: impl FnOnce() -> Option<Processor>) {
        if self.processor.0.is_none() {
            self.processor.0 = processor();
        }
    }

    /// Measuring is over.
    pub(super) fn end_measuring(&mut self, processor: Option<Processor>) {
        self.processor.1 = processor;
    }

    /// How much of what `tally` has measured in `time` may be this thread's own doing.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(super) fn share(&self, time: Duration, tally: &Tally) -> OwnShare {
        let many = |count: u64| count * 100 > tally.sent;
        let service = tally.recorder.service();
        // By Little's law, the requests in flight on average are the sum of their times over the time.
        let in_flight = service.mean() * service.len() as f64 / 1e6 / time.as_secs_f64().max(f64::MIN_POSITIVE);
        let delays = self.pauses.delay.as_secs_f64() / (self.pauses.answers as f64).max(1.0);
        let starved = self.starved(time);
        OwnShare {
            busy: (1.0 - part(self.idle, time)).clamp(0.0, 1.0),
            starved,
            paused: part(self.pauses.total, time).clamp(0.0, 1.0),
            latency: (starved / in_flight.clamp(f64::MIN_POSITIVE, 1.0)).clamp(0.0, 1.0),
            late_sends: many(self.sends.own),
            behind: many(self.sends.all),
            late_reads: self.pauses.answers as f64 / (tally.answered as f64).max(1.0),
            read_delay_us: delays * 1e6,
        }
    }

    /// The part of the measured `time` that the thread had something to do and no processor to do it, 0 to 1.
    ///
    /// The kernel counts how long it stood in a queue for one. A process or a machine that was stopped shows in no such
    /// count, but as waits that ended too late, and as work that took longer than it ran.
    fn starved(&self, time: Duration) -> f64 {
        let (ran, waited) = match self.processor {
            (Some(from), Some(to)) => (to.ran.saturating_sub(from.ran), to.waited.saturating_sub(from.waited)),
            // Nothing is known: the work took as long as it took.
            _ => (time, Duration::ZERO),
        };
        let queued = waited.saturating_sub(USUAL_WAKE * self.sleeps);
        let working = time.saturating_sub(self.idle);
        let absent = self.overslept + working.saturating_sub(ran);
        part(queued.max(absent), time).clamp(0.0, 1.0)
    }
}

impl OwnTurn {
    /// How long the thread was without a processor in a turn that has lasted for `gap`, if it has had `to` of them at its
    /// end. Where the count began in an earlier turn, this is an upper bound.
    fn lacked(self, gap: Duration, to: Option<Processor>) -> Duration {
        let (ran, waited) = match (self.processor, to) {
            (Some(from), Some(to)) => (to.ran.saturating_sub(from.ran), to.waited.saturating_sub(from.waited)),
            _ => (gap, Duration::ZERO),
        };
        let working = gap.saturating_sub(self.slept);
        (self.overslept + working.saturating_sub(ran)).max(waited.min(gap))
    }
}

fn part(some: Duration, all: Duration) -> f64 {
    some.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn processor(ran: u64, waited: u64) -> Processor {
        Processor { ran: millis(ran), waited: millis(waited) }
    }

    /// A second in which the thread slept for `idle` milliseconds, ran for `ran` and was queued for `waited`.
    fn second(idle: u64, ran: u64, waited: u64) -> OwnTime {
        let processor = (Some(processor(100, 7)), Some(processor(100 + ran, 7 + waited)));
        OwnTime { idle: millis(idle), sleeps: 100, processor, ..OwnTime::default() }
    }

    #[test]
    fn a_queue_a_stop_and_a_late_wake_each_starve_a_thread() {
        let part = |own: OwnTime| format!("{:.2}", own.starved(SECOND));
        assert_eq!(part(second(900, 100, 0)), "0.00");
        assert_eq!(part(second(0, 1000, 0)), "0.00", "busy is not starved");
        assert_eq!(part(second(900, 100, 1)), "0.00", "what waking usually takes");
        assert_eq!(part(second(700, 100, 301)), "0.30", "queued");
        assert_eq!(part(second(500, 100, 0)), "0.40", "stopped in the middle of its work");
        assert_eq!(part(OwnTime { overslept: millis(250), ..second(900, 100, 0) }), "0.25", "stopped in its sleep");
        assert_eq!(part(OwnTime { processor: (None, None), ..second(500, 0, 0) }), "0.00", "the system does not say");
    }

    #[test]
    fn a_pause_makes_its_own_backlog_late_and_nothing_else() {
        let mut own = OwnTime::default();
        own.end_look(millis(10), Some(millis(11)), true);
        own.begin_look(millis(2010), Some(millis(11)));
        assert!(own.is_own(millis(11)) && own.is_own(millis(3000)), "what waits behind it is late because of it");
        assert!(!own.is_own(millis(4011)), "but not for ever");
        own.end_look(millis(2011), Some(millis(2012)), true);
        assert!(!own.is_own(millis(2000)), "all is sent");
        // With no client free, the server is awaited.
        own.end_look(millis(2020), Some(millis(2021)), false);
        own.begin_look(millis(5000), Some(millis(2021)));
        assert!(!own.is_own(millis(2021)));
        // Less than a millisecond is no pause.
        own.end_look(millis(6000), Some(millis(6001)), true);
        own.begin_look(millis(6001), Some(millis(6001)));
        assert!(!own.is_own(millis(6001)));
    }

    /// The pause at the begin of a turn that comes `gap` after the last one, in which the thread slept for `slept`
    /// milliseconds of `timeout`, ran for `ran` and was queued for `waited`.
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn pause(gap: u64, (slept, timeout): (u64, u64), (ran, waited): (u64, u64)) -> Duration {
        let (mut own, now) = (OwnTime::default(), Instant::now());
        own.begin_turn(now, true, || None);
        own.note_processor(Some(processor(100, 7)));
        own.end_sleep(millis(gap), millis(timeout), millis(slept), Duration::ZERO, true);
        own.begin_turn(now + millis(gap), true, || Some(processor(100 + ran, 7 + waited)));
        own.count_answers(3);
        let Pauses { total, delay, .. } = own.pauses;
        assert_eq!((total, delay), (own.turn.pause, own.turn.pause * 3));
        own.turn.pause
    }

    #[test]
    fn a_pause_is_a_millisecond_without_a_processor_in_one_turn() {
        assert_eq!(pause(1, (0, 0), (0, 1)), Duration::ZERO, "not longer than a millisecond");
        assert_eq!(pause(20, (20, 100), (0, 0)), Duration::ZERO, "asleep, with nothing to do");
        assert_eq!(pause(20, (0, 0), (20, 0)), Duration::ZERO, "at work");
        assert_eq!(pause(20, (20, 100), (0, 4)), millis(4), "woken, and queued for 4 ms");
        assert_eq!(pause(20, (0, 0), (10, 10)), millis(10), "displaced in the middle of its work");
        assert_eq!(pause(20, (0, 0), (5, 0)), millis(15), "stopped in the middle of its work");
        assert_eq!(pause(20, (20, 5), (0, 0)), millis(15), "stopped in its sleep");
        assert_eq!(pause(3, (0, 0), (1, 90)), millis(3), "no longer than the turn");
    }
}
