//! Counters for `INFO`.

use std::time::Duration;

use crate::metrics::Metrics;
use crate::store::Stats;

/// Counters of the calls of one command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) total: u64,
    pub(crate) failed: u64,
    /// Refused before they were executed.
    pub(crate) rejected: u64,
    /// How many were timed, and how long these took.
    pub(crate) timed: u64,
    pub(crate) took: Duration,
}

impl Calls {
    /// How long one takes on average, in microseconds, as far as is known.
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    pub(crate) fn microseconds(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / (self.timed.max(1) as f64)
    }
}

/// The counters of the whole server at the last `CONFIG RESETSTAT`. The counters themselves are never reset: other observers
/// rely on that.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    pub(crate) metrics: Metrics,
    pub(crate) store: Stats,
}
