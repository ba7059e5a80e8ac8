//! The stages of a run, as one thread sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::load::plan::RunProgress;

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connections are made.
    Opening,
    /// Those of this thread are made; those of the others are awaited.
    Gathering,
    /// All are made, and held in silence.
    Holding { until: Instant },
    /// The hold is over on this thread; the origin of the schedule, the same for all threads, is awaited.
    Starting,
    /// Requests are sent.
    Sending,
    /// No more are sent; answers are awaited.
    Draining { until: Instant },
    /// All is over.
    Done,
}

impl Stage {
    /// Whether requests are sent, or will be.
    pub(super) fn makes_requests(self) -> bool {
        !matches!(self, Self::Draining { .. } | Self::Done)
    }

    /// Whether nothing was sent yet.
    pub(super) fn is_before_start(self) -> bool {
        matches!(self, Self::Opening | Self::Gathering | Self::Holding { .. } | Self::Starting)
    }
}

/// The stage of this thread, and what it shares with the others to pass from one to the next.
pub(super) struct Stages {
    pub(super) stage: Stage,
    pub(super) hold: Hold,
    pub(super) progress: Arc<RunProgress>,
    /// Threads of the run.
    pub(super) threads: u32,
}

/// What was seen of connections that were held in silence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    /// Since when.
    pub(super) since: Option<Instant>,
    /// For how long, once it is over.
    pub(super) time: Duration,
    /// How many of them were still open then.
    pub(super) open: u64,
}
