//! When requests are due: a schedule is a value, and its arrivals are an iterator of intended times.

#![expect(clippy::cast_precision_loss, reason = "counts and rates stay far below 2^53")]

use std::time::Duration;

use super::random::{LoadRandom, RandomPurpose};

/// When requests or new connections are due and when the run is over. All times count from the run's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// What makes the next one due.
    pub pace: Pace,
    /// How the rate of an open loop rises.
    pub ramp: Ramp,
    /// Requests that are due earlier than this are sent but not measured.
    pub warmup: Duration,
    /// When the measured part ends.
    pub end: StopAfter,
}

/// How the rate of an open loop rises from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// How long it rises.
    pub over: Duration,
    /// In how many equal steps, each of the same length; the last one is at the full rate. Zero is a straight line.
    pub steps: u32,
}

impl Ramp {
    /// The full rate from the beginning.
    pub const NONE: Self = Self { over: Duration::ZERO, steps: 0 };

    /// How many arrivals are expected in its first `time` seconds, at a full `rate`.
    fn count_at(self, time: f64, rate: f64) -> f64 {
        let over = self.over.as_secs_f64();
        let rising = time.min(over);
        let during = if over == 0.0 {
            0.0
        } else if self.steps == 0 {
            rate * rising * rising / (2.0 * over)
        } else {
            let steps = f64::from(self.steps);
            let whole = (rising * steps / over).floor().min(steps);
            let rest = rising - whole * over / steps;
            rate / steps * (whole * (whole + 1.0) / 2.0 * over / steps + rest * (whole + 1.0))
        };
        during + rate * (time - rising)
    }

    /// When that many are expected: the inverse of [`count_at`](Self::count_at).
    fn time_of(self, count: f64, rate: f64) -> f64 {
        let over = self.over.as_secs_f64();
        if over == 0.0 {
            return count / rate;
        }
        let during = self.count_at(over, rate);
        if count >= during {
            return over + (count - during) / rate;
        }
        if self.steps == 0 {
            return (2.0 * count * over / rate).sqrt();
        }
        let steps = f64::from(self.steps);
        // In units of what the first step sends, k whole steps send 1 + 2 + ... + k.
        let unit = rate * over / (steps * steps);
        let whole = (((8.0 * count / unit + 1.0).sqrt() - 1.0) / 2.0).floor().clamp(0.0, steps - 1.0);
        let rest = count - unit * whole * (whole + 1.0) / 2.0;
        whole * over / steps + rest * steps / (rate * (whole + 1.0))
    }
}

/// What makes the next request due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// The answer to an earlier one: a fixed number is in flight, and a slow server gets fewer requests.
    Closed,
    /// The clock, whatever the server does.
    Open {
        /// Arrivals a second once the ramp is over; more than zero.
        rate: f64,
        /// The gaps between them.
        gaps: Gaps,
    },
}

/// The gaps between arrivals of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// All the same.
    Constant,
    /// Exponentially distributed, as from many independent clients.
    Poisson,
}

/// The end of the measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// This long after the warm-up.
    After(Duration),
    /// When this many have been due after the warm-up.
    Count(u64),
}

/// One of several equal parts that a schedule is split into, one a thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadShare {
    /// From 0 to `of - 1`.
    pub index: u32,
    /// How many parts there are.
    pub of: u32,
}

impl ThreadShare {
    /// The undivided schedule.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// This share of `total` things; the shares add up to `total`.
    #[must_use]
    pub fn part(self, total: u64) -> u64 {
        let of = u64::from(self.of.max(1));
        total / of + u64::from(u64::from(self.index) < total % of)
    }
}

impl Schedule {
    /// Everything at once, without a clock: how `count` connections are opened when no ramp is asked for.
    #[must_use]
    pub fn spread(count: u64, over: Duration) -> Self {
        let pace = if over.is_zero() {
            Pace::Closed
        } else {
            Pace::Open { rate: count as f64 / over.as_secs_f64(), gaps: Gaps::Constant }
        };
        Self { pace, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::Count(count) }
    }

    /// Whether something intended at `at` counts.
    #[must_use]
    pub fn measures(&self, at: Duration) -> bool {
        at >= self.warmup && self.over_at().is_none_or(|end| at < end)
    }

    /// When the measured part ends, if time ends it.
    #[must_use]
    pub fn over_at(&self) -> Option<Duration> {
        match self.end {
            StopAfter::After(duration) => Some(self.warmup + duration),
            StopAfter::Count(_) => None,
        }
    }

    /// How many arrivals are expected between two times after the warm-up; `None` for a closed loop.
    #[must_use]
    pub fn expected(&self, from: Duration, to: Duration) -> Option<f64> {
        let Pace::Open { rate, .. } = self.pace else { return None };
        let before = |time: Duration| {
            let at = self.warmup + time;
            let at = self.over_at().map_or(at, |over| at.min(over));
            let count =
                self.ramp.count_at(at.as_secs_f64(), rate) - self.ramp.count_at(self.warmup.as_secs_f64(), rate);
            match self.end {
                StopAfter::After(_) => count,
                StopAfter::Count(most) => count.min(most as f64),
            }
        };
        Some(before(to) - before(from))
    }

    /// The intended times of `share`, in order. A closed loop has none: there, the end of one request is the beginning
    /// of the next.
    #[must_use]
    pub fn arrivals(&self, share: ThreadShare, seed: u64) -> Option<Arrivals> {
        let Pace::Open { rate, gaps } = self.pace else { return None };
        let of = f64::from(share.of.max(1));
        let remaining = match self.end {
            StopAfter::After(_) => u64::MAX,
            StopAfter::Count(count) => share.part(count),
        };
        let mut arrivals = Arrivals {
            schedule: *self,
            rate,
            gaps,
            stride: of,
            due: f64::from(share.index),
            remaining,
            random: LoadRandom::new(seed, RandomPurpose::Arrivals.stream(share.index)),
        };
        if gaps == Gaps::Poisson {
            arrivals.due = of * arrivals.random.exponential();
        }
        Some(arrivals)
    }

    /// Arrivals a second that the measured part asks for, on average; `None` for a closed loop.
    #[must_use]
    pub fn asked_rate(&self) -> Option<f64> {
        let Pace::Open { rate, .. } = self.pace else { return None };
        let begin = self.warmup.as_secs_f64();
        let before = self.ramp.count_at(begin, rate);
        let (count, end) = match self.end {
            StopAfter::After(duration) => {
                let end = begin + duration.as_secs_f64();
                (self.ramp.count_at(end, rate) - before, end)
            }
            StopAfter::Count(count) => (count as f64, self.ramp.time_of(before + count as f64, rate)),
        };
        Some(count / (end - begin).max(f64::MIN_POSITIVE))
    }
}

/// The intended times of an open loop, each a duration since the run's start.
///
/// Arrivals are the integers (or, for Poisson, the sums of exponential gaps) on the axis of the expected count, mapped
/// back to time. That makes ramps exact for both kinds of gaps. The iterator is also the backlog: a
/// request that is due and was not sent has not been taken from it.
#[derive(Clone, Debug)]
pub struct Arrivals {
    schedule: Schedule,
    rate: f64,
    gaps: Gaps,
    /// The step on the axis of the expected count of all shares together.
    stride: f64,
    due: f64,
    remaining: u64,
    random: LoadRandom,
}

impl Arrivals {
    /// When the next one is due; `None` when there are no more.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let at = Duration::try_from_secs_f64(self.schedule.ramp.time_of(self.due, self.rate)).ok()?;
        let over = self.remaining == 0 || self.schedule.over_at().is_some_and(|end| at >= end);
        (!over).then_some(at)
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let at = self.next_due()?;
        self.due += match self.gaps {
            Gaps::Constant => self.stride,
            Gaps::Poisson => self.stride * self.random.exponential(),
        };
        if at >= self.schedule.warmup {
            self.remaining -= 1;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::Recorder;

    const SECOND: Duration = Duration::from_secs(1);

    fn open(rate: f64, gaps: Gaps, end: StopAfter) -> Schedule {
        Schedule { pace: Pace::Open { rate, gaps }, ramp: Ramp::NONE, warmup: Duration::ZERO, end }
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_the_shares_interleave() {
        let schedule = open(1000.0, Gaps::Constant, StopAfter::After(SECOND));
        let times: Vec<_> = schedule.arrivals(ThreadShare::WHOLE, 1).expect("open").collect();
        assert_eq!(times.len(), 1000);
        assert_eq!((times[0], times[250]), (Duration::ZERO, Duration::from_millis(250)));

        let mut shared: Vec<_> =
            (0..3).flat_map(|index| schedule.arrivals(ThreadShare { index, of: 3 }, 1).expect("open")).collect();
        shared.sort();
        assert_eq!(shared, times);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_variance_of_a_poisson_process() {
        let schedule = open(100.0, Gaps::Poisson, StopAfter::After(Duration::from_secs(1000)));
        let mut counts = vec![0f64; 1000];
        for at in schedule.arrivals(ThreadShare::WHOLE, 42).expect("open") {
            counts[usize::try_from(at.as_secs()).expect("small")] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 999.0;
        // Four standard errors: sqrt(100 / 1000) for the mean, 100 * sqrt(2 / 999) for the variance.
        assert!((mean - 100.0).abs() < 1.3, "mean {mean}");
        assert!((variance - 100.0).abs() < 18.0, "variance {variance}");
    }

    #[test]
    fn requests_are_independent_of_the_gap_before_them() {
        use crate::load::workload::{Distribution, Mix, OperationKind, Ratio, ValueSizes, Workload};
        let ratio = Ratio { writes: 1, reads: 10 };
        for (seed, distribution) in [1, 2, 3].into_iter().zip([
            Distribution::Sequential,
            Distribution::Uniform,
            Distribution::Zipf { exponent: 0.99 },
        ]) {
            let mix = Mix { ratio, keys: 1000, distribution, sizes: ValueSizes::Fixed(8), seed };
            let share = ThreadShare { index: 1, of: 2 };
            let schedule = open(2000.0, Gaps::Poisson, StopAfter::After(Duration::from_secs(100)));
            let times: Vec<_> = schedule.arrivals(share, seed).expect("open").map(|at| at.as_secs_f64()).collect();
            let mut workload = Workload::new(&mix, share.index, share.of);
            // The gap of the first is not among those between two.
            workload.next_operation();
            let mut sums = [(0.0, 0.0); 2];
            for gap in times.windows(2).map(|pair| pair[1] - pair[0]) {
                let is_write = workload.next_operation().kind == OperationKind::Write;
                let (sum, count) = &mut sums[usize::from(is_write)];
                (*sum, *count) = (*sum + gap, *count + 1.0);
            }
            // The deviation of an exponential gap is its mean, 1 ms: five standard errors.
            for (sum, count) in sums {
                let mean: f64 = sum / count;
                assert!((mean - 1e-3).abs() < 5e-3 / f64::sqrt(count), "{seed}: {mean} over {count}");
            }
        }
    }

    #[test]
    fn the_shares_of_a_poisson_process_add_up_to_its_rate() {
        let schedule = open(1000.0, Gaps::Poisson, StopAfter::After(Duration::from_secs(100)));
        let count: usize =
            (0..4).map(|index| schedule.arrivals(ThreadShare { index, of: 4 }, 9).expect("open").count()).sum();
        // Four standard deviations of a Poisson variable of mean 100,000.
        assert!(count.abs_diff(100_000) < 1265, "{count}");
    }

    #[test]
    fn a_ramp_sends_half_as_much_while_it_lasts() {
        let ramp = Duration::from_secs(10);
        let schedule =
            Schedule { ramp: Ramp { over: ramp, steps: 0 }, ..open(100.0, Gaps::Constant, StopAfter::After(2 * ramp)) };
        let times: Vec<_> = schedule.arrivals(ThreadShare::WHOLE, 1).expect("open").collect();
        let early = times.iter().filter(|at| **at < ramp).count();
        assert_eq!((early, times.len()), (500, 1500));
        assert!(times.is_sorted());
        assert_eq!(times.iter().filter(|at| **at < ramp / 2).count(), 125);
    }

    #[test]
    fn a_stepped_ramp_sends_a_step_more_in_each_step() {
        let ramp = Ramp { over: Duration::from_secs(10), steps: 5 };
        let schedule = Schedule { ramp, ..open(100.0, Gaps::Constant, StopAfter::After(Duration::from_secs(12))) };
        let times: Vec<_> = schedule.arrivals(ThreadShare::WHOLE, 1).expect("open").collect();
        let within = |from: u64| times.iter().filter(|at| (from..from + 2).contains(&at.as_secs())).count();
        assert_eq!([0, 2, 4, 6, 8, 10].map(within), [40, 80, 120, 160, 200, 200]);
        assert!(times.is_sorted());
    }

    #[test]
    fn the_rate_asked_is_that_of_the_measured_part_of_the_ramp() {
        let over = Duration::from_secs(10);
        let asked = |warmup, steps, end| {
            Schedule { warmup, ramp: Ramp { over, steps }, ..open(100.0, Gaps::Poisson, end) }.asked_rate()
        };
        let cases = [
            (asked(Duration::ZERO, 0, StopAfter::After(2 * over)), 75.0),
            (asked(over, 0, StopAfter::After(over)), 100.0),
            (asked(over, 0, StopAfter::Count(30)), 100.0),
            (asked(Duration::ZERO, 2, StopAfter::After(over)), 75.0),
            (asked(Duration::ZERO, 2, StopAfter::Count(250)), 50.0),
        ];
        for (asked, expected) in cases {
            assert!(asked.is_some_and(|asked| (asked - expected).abs() < 1e-6), "{asked:?} for {expected}");
        }
        assert_eq!(Schedule { pace: Pace::Closed, ..open(1.0, Gaps::Poisson, StopAfter::Count(1)) }.asked_rate(), None);
    }

    #[test]
    fn the_expected_rate_of_each_second_follows_the_ramp_and_the_end() {
        let ramp = Ramp { over: 4 * SECOND, steps: 2 };
        let expected = |end, from: u32| {
            let schedule = Schedule { warmup: SECOND, ramp, ..open(100.0, Gaps::Constant, end) };
            format!("{:.0}", schedule.expected(from * SECOND, (from + 1) * SECOND).expect("open"))
        };
        let time = StopAfter::After(Duration::from_millis(4500));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|from| expected(time, from)), ["50", "100", "100", "100", "50", "0"]);
        assert_eq!([0, 1, 2].map(|from| expected(StopAfter::Count(80), from)), ["50", "30", "0"]);
        let closed = Schedule { pace: Pace::Closed, ..open(1.0, Gaps::Constant, time) };
        assert_eq!(closed.expected(SECOND, 2 * SECOND), None);
    }

    #[test]
    fn a_count_is_of_measured_arrivals_and_divides_without_rest() {
        let schedule = Schedule { warmup: SECOND, ..open(10.0, Gaps::Constant, StopAfter::Count(25)) };
        let times: Vec<_> = schedule.arrivals(ThreadShare::WHOLE, 1).expect("open").collect();
        assert_eq!(times.iter().filter(|at| schedule.measures(**at)).count(), 25);
        assert_eq!(times.len(), 35);
        let parts: Vec<_> = (0..4).map(|index| ThreadShare { index, of: 4 }.part(25)).collect();
        assert_eq!(parts, [7, 6, 6, 6]);
    }

    #[test]
    fn connections_spread_over_a_ramp_or_not_at_all() {
        let spread = Schedule::spread(50, Duration::from_secs(5));
        let times: Vec<_> = spread.arrivals(ThreadShare::WHOLE, 1).expect("open").collect();
        assert_eq!((times.len(), times[49]), (50, Duration::from_millis(4900)));
        assert!(Schedule::spread(50, Duration::ZERO).arrivals(ThreadShare::WHOLE, 1).is_none());
    }

    /// A first-in first-out server that needs 100 us a request and stands still from 5 s to 6 s.
    fn against_a_stalling_server(schedule: &Schedule) -> Recorder {
        let stall = Duration::from_secs(5)..Duration::from_secs(6);
        let mut recorder = Recorder::new();
        let mut free = Duration::ZERO;
        for intended in schedule.arrivals(ThreadShare::WHOLE, 1).expect("open") {
            let mut begin = free.max(intended);
            if stall.contains(&begin) {
                begin = stall.end;
            }
            free = begin + Duration::from_micros(100);
            recorder.answered(free, free.saturating_sub(intended), free.saturating_sub(begin));
        }
        recorder
    }

    #[test]
    fn a_stall_of_one_second_shows_in_the_corrected_percentiles_as_arithmetic_predicts() {
        let schedule = open(1000.0, Gaps::Constant, StopAfter::After(10 * SECOND));
        let recorder = against_a_stalling_server(&schedule);
        // The k-th request due in the stall (one every 1 ms) is answered k * 0.1 ms after the stall's end, so it is
        // 1 s - k * 0.9 ms late. The last percentile of 10,000 requests is the 100 latest ones: it begins at 0.91 s.
        let p99 = recorder.latency().value_at_quantile(0.99);
        assert!(p99.abs_diff(910_000) < 2_000, "{p99}");
        assert!(recorder.latency().max().abs_diff(1_000_100) < 1_000);
        // Measured from the send alone, the stall would be invisible.
        assert_eq!(recorder.service().value_at_quantile(0.999), 100);
    }
}
