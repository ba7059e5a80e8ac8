//! Whether this side keeps up: what is known of the time that the thread did not have.

use std::time::Duration;

use super::pacer::LATE;
use crate::net::Processor;

/// From the moment that a thread may run to the moment that it does, on a machine with a processor to spare. A wait that
/// ends costs so much without anything being wrong.
const USUAL_WAKE: Duration = Duration::from_micros(10);

/// What a thread sees of its own time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    /// Time spent with nothing to do, in the measured part.
    pub(super) idle: Duration,
    /// How often it has slept there.
    pub(super) waits: u32,
    /// How much longer than it meant to.
    pub(super) overslept: Duration,
    /// What it had had of the processors when the measured part began, and when it was over.
    pub(super) processor: (Option<Processor>, Option<Processor>),
    /// Measured requests that were sent late, for whatever reason.
    pub(super) behind: u64,
    /// Those of them that this side has made late.
    pub(super) late: u64,
    /// When the schedule was last looked at, and whether a connection was free then with nothing due.
    looked: Option<(Duration, bool)>,
    /// What was due until then and has been waiting since a pause is late because of the pause.
    catching_up: Option<Duration>,
}

impl Pressure {
    /// The schedule is looked at, and the first of what is due has been so since `due`. If a connection was free at the
    /// last look, it would have been sent by a thread that was awake: this one has paused, and the backlog is its own. So
    /// is what waits behind it, but not for longer than the pause was: what keeps a backlog up after that is the server.
    pub(super) fn look(&mut self, at: Duration, due: Option<Duration>) {
        let is_late = due.is_some_and(|due| at.saturating_sub(due) > LATE);
        if let Some((before, true)) = self.looked
            && is_late
        {
            self.catching_up = Some(at + at.saturating_sub(before));
        }
    }

    /// A wait of `idle` has lasted `slept`: its end was missed if that is much longer, whether a connection was free or an
    /// answer was there to be read.
    pub(super) fn woke(&mut self, at: Duration, idle: Duration, slept: Duration) {
        let overslept = slept.saturating_sub(idle);
        if overslept > LATE {
            self.catching_up = Some(at + overslept);
        }
    }

    /// The look is over: `due` is what is due next, and whether a connection is free for it.
    pub(super) fn looked(&mut self, at: Duration, due: Option<Duration>, is_free: bool) {
        let is_drained = due.is_none_or(|due| due > at);
        if is_drained {
            self.catching_up = None;
        }
        self.looked = Some((at, is_free && is_drained));
    }

    /// A request that was due at `intended` is sent late. That is this side's own fault if its client was free then, or if
    /// this side has paused.
    pub(super) fn count_late(&mut self, intended: Duration, free_since: Duration) {
        self.behind += 1;
        self.late += u64::from(free_since <= intended || self.is_own(intended));
    }

    /// Whether a request that was due at `intended` and is late is so because this side has paused.
    fn is_own(&self, intended: Duration) -> bool {
        self.catching_up.is_some_and(|until| intended <= until)
    }

    /// A measured wait for events has ended: `slept` of the `timeout` that it was given, or, where it was given none, time
    /// `spent` without anything to do.
    pub(super) fn count_idle(&mut self, timeout: Duration, slept: Duration, spent: Duration) {
        self.idle += slept + spent;
        self.waits = self.waits.saturating_add(u32::from(!timeout.is_zero()));
        let overslept = slept.saturating_sub(timeout);
        self.overslept += if overslept > LATE { overslept } else { Duration::ZERO };
    }

    /// The part of the measured `time` that the thread had something to do and no processor to do it, 0 to 1.
    ///
    /// The kernel tells how long it stood in a queue for one. It does not tell of a process that was stopped, or of a
    /// machine that was: those show as waits that ended too late, and as work that took longer than it ran.
    pub(super) fn starved(&self, time: Duration) -> f64 {
        let (ran, waited) = match self.processor {
            (Some(from), Some(to)) => (to.ran.saturating_sub(from.ran), to.waited.saturating_sub(from.waited)),
            // Nothing is known: the work took as long as it took.
            _ => (time, Duration::ZERO),
        };
        let queued = waited.saturating_sub(USUAL_WAKE * self.waits);
        let working = time.saturating_sub(self.idle);
        let absent = self.overslept + working.saturating_sub(ran);
        (queued.max(absent).as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A second in which the thread slept for `idle` milliseconds, ran for `ran` and was queued for `waited`.
    fn second(idle: u64, ran: u64, waited: u64) -> Pressure {
        let to = Processor { ran: millis(100 + ran), waited: millis(7 + waited) };
        let from = Processor { ran: millis(100), waited: millis(7) };
        Pressure { idle: millis(idle), waits: 100, processor: (Some(from), Some(to)), ..Pressure::default() }
    }

    #[test]
    fn a_queue_a_stop_and_a_late_wake_each_starve_a_thread() {
        let part = |pressure: Pressure| format!("{:.2}", pressure.starved(SECOND));
        assert_eq!(part(second(900, 100, 0)), "0.00");
        assert_eq!(part(second(0, 1000, 0)), "0.00", "busy is not starved");
        assert_eq!(part(second(900, 100, 1)), "0.00", "what waking usually takes");
        assert_eq!(part(second(700, 100, 301)), "0.30", "queued");
        assert_eq!(part(second(500, 100, 0)), "0.40", "stopped in the middle of its work");
        assert_eq!(part(Pressure { overslept: millis(250), ..second(900, 100, 0) }), "0.25", "stopped in its sleep");
        assert_eq!(part(Pressure { processor: (None, None), ..second(500, 0, 0) }), "0.00", "the system does not tell");
    }

    #[test]
    fn a_pause_makes_its_own_backlog_late_and_nothing_else() {
        let mut pressure = Pressure::default();
        pressure.looked(millis(10), Some(millis(11)), true);
        pressure.look(millis(2010), Some(millis(11)));
        assert!(pressure.is_own(millis(11)) && pressure.is_own(millis(3000)), "what waits behind it is late for it");
        assert!(!pressure.is_own(millis(4011)), "but not for ever");
        pressure.looked(millis(2011), Some(millis(2012)), true);
        assert!(!pressure.is_own(millis(2000)), "all is sent");
        // With no connection free, it is the server that is waited for.
        pressure.looked(millis(2020), Some(millis(2021)), false);
        pressure.look(millis(5000), Some(millis(2021)));
        assert!(!pressure.is_own(millis(2021)));
        // Less than a millisecond is no pause.
        pressure.looked(millis(6000), Some(millis(6001)), true);
        pressure.look(millis(6001), Some(millis(6001)));
        assert!(!pressure.is_own(millis(6001)));
    }
}
