//! What a thread has found when it ends.

use std::time::{Duration, Instant};

use crate::load::tally::Tally;

/// What one thread has found.
#[derive(Debug)]
pub struct Finding {
    /// All it counted.
    pub tally: Tally,
    /// The part of the measured time that it had something to do, 0 to 1.
    pub busy: f64,
    /// The part of the measured time that it had something to do and was given no processor for it, 0 to 1.
    pub starved: f64,
    /// Whether more than one request in a hundred was sent late by its own fault: a connection was free.
    pub late: bool,
    /// Whether more than one request in a hundred was sent late for whatever reason.
    pub behind: bool,
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
