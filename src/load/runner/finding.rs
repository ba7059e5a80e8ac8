//! The result of one thread.

use std::time::{Duration, Instant};

use crate::load::outcome::OwnShare;
use crate::load::tally::Tally;

/// The result of one thread.
#[derive(Debug)]
pub struct Finding {
    /// All it counted.
    pub tally: Tally,
    /// How much of what was measured may be its own doing.
    pub own: OwnShare,
    /// Length of the measured part.
    pub duration: Duration,
    /// The part of it in which requests were made; all of it in a closed loop.
    pub sending: Duration,
    /// How long the connections were held before it.
    pub held: Duration,
    /// When the schedule began: the same moment on all threads; `None` if it never did.
    pub origin: Option<Instant>,
    /// When the measured part began, after the runner was made.
    pub began_after: Duration,
    /// Virtual clients, and those of them that had a connection; where each asks once, that still had it when it asked.
    pub connections: (u64, u64),
}
