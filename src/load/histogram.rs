//! Histograms of microseconds, and the percentiles that are read from them.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is recorded exactly, in microseconds: one hour. Longer ones count as one hour.
pub(super) const LONGEST_US: u64 = 3_600_000_000;
/// Significant decimal digits that a histogram keeps.
pub(super) const DIGITS: u8 = 3;

/// The percentiles everywhere reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Percentiles {
    /// Median, in microseconds, as all the others.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
    /// Largest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

impl Percentiles {
    /// The percentiles of a histogram of microseconds; all zero when it is empty.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is below 2^53")]
    pub fn of<C: hdrhistogram::Counter>(histogram: &Histogram<C>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max() as f64,
            mean: histogram.mean(),
        }
    }
}

/// A histogram of microseconds, 1 us to 1 h.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the bounds are constants that the crate accepts")]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants that the crate accepts")
}

/// Whole microseconds, from one up to an hour.
#[must_use]
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US)
}
