//! The measurements: latency from the intended time, service time from the send, and both second by second.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::histogram::{histogram, microseconds};
use super::second::{Second, Seconds};

/// Collects the measurements of one thread; those of several threads add up.
#[derive(Clone, Debug)]
pub struct Recorder {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    seconds: Seconds,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self { latency: histogram(), service: histogram(), seconds: Seconds::default() }
    }

    /// A request was answered at `at` (since the measured part began), `latency` after it was due and `service` after it
    /// was sent.
    pub fn answered(&mut self, at: Duration, latency: Duration, service: Duration) {
        let (latency, service) = (microseconds(latency), microseconds(service));
        self.latency.saturating_record(latency);
        self.service.saturating_record(service);
        let second = self.seconds.at(at);
        // Unlike `saturating_record`, this grows the histogram; and an hour is within what it can grow to.
        let _ = second.latency.record(latency);
        let _ = second.service.record(service);
    }

    /// A request that was due has at `at` no good answer, and never will: it waited at least `latency`.
    ///
    /// Leaving it out would flatter the server exactly when it is slowest, so its wait so far counts as latency. It has no
    /// service time.
    pub fn unanswered(&mut self, at: Duration, latency: Duration) {
        let latency = microseconds(latency);
        self.latency.saturating_record(latency);
        let _ = self.seconds.at(at).latency.record(latency);
    }

    /// A request failed at `at`.
    pub fn failed(&mut self, at: Duration) {
        self.seconds.at(at).errors += 1;
    }

    /// Adds another thread's measurements.
    pub fn merge(&mut self, other: &Self) {
        // All have the same bounds, or grow: adding cannot fail.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
        self.seconds.merge(&other.seconds);
    }

    /// Time from when requests were due to their answers, in microseconds.
    #[must_use]
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Time from when requests were sent to their answers, in microseconds.
    #[must_use]
    pub fn service(&self) -> &Histogram<u64> {
        &self.service
    }

    /// Second by second since the measured part began, by the time of the answer.
    pub fn seconds(&self) -> impl Iterator<Item = Second> + '_ {
        self.seconds.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histogram::{LONGEST_US, Percentiles};

    #[test]
    fn percentiles_of_a_known_distribution_are_within_three_digits() {
        let mut recorder = Recorder::new();
        for us in 1..=100_000 {
            recorder.answered(Duration::ZERO, Duration::from_micros(us), Duration::from_micros(us / 2));
        }
        let found = Percentiles::of(recorder.latency());
        let expected = [50_000.0, 90_000.0, 99_000.0, 99_900.0, 100_000.0, 50_000.5];
        let pairs = [found.p50, found.p90, found.p99, found.p99_9, found.max, found.mean].into_iter().zip(expected);
        for (found, expected) in pairs {
            assert!((found - expected).abs() <= expected / 1000.0, "{found} for {expected}");
        }
    }

    #[test]
    fn threads_add_up_second_by_second() {
        let [mut one, mut two] = [Recorder::new(), Recorder::new()];
        let ms = Duration::from_millis;
        one.answered(ms(500), ms(1), ms(1));
        two.answered(ms(700), ms(3), ms(2));
        two.answered(ms(2500), ms(900), ms(2));
        two.failed(ms(2600));
        one.merge(&two);
        assert_eq!((one.latency().len(), one.latency().max() / 1000), (3, 900));
        let seconds: Vec<_> = one.seconds().map(|s| (s.latency.len(), s.errors)).collect();
        assert_eq!(seconds, [(2, 0), (0, 0), (1, 1)]);
        assert_eq!(one.seconds().nth(2).expect("the third").latency.max() / 1000, 900);
    }

    #[test]
    fn unanswered_requests_count_with_their_wait() {
        let mut recorder = Recorder::new();
        recorder.unanswered(Duration::from_secs(3), Duration::from_secs(2));
        recorder.unanswered(Duration::from_secs(3), Duration::from_hours(2));
        assert_eq!((recorder.latency().len(), recorder.seconds().nth(3).expect("the fourth").latency.len()), (2, 2));
        assert!(recorder.latency().max() >= LONGEST_US);
        assert_eq!(recorder.service().len(), 0);
    }
}
