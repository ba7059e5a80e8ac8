//! What a thread has found when it ends.

use std::time::{Duration, Instant};

use super::Runner;
use crate::load::plan::LoadProtocol;
use crate::load::tally::Tally;
use crate::net::Net;

/// What was seen of connections that were held in silence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Since when.
    pub(super) since: Option<Instant>,
    /// For how long, once it is over.
    pub(super) time: Duration,
    /// How many of them were still open then.
    pub(super) open: u64,
}

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

impl<N: Net> Runner<N> {
    /// What was found; the run should be over.
    pub fn finding(self) -> Finding {
        let warmup = self.plan.schedule.warmup;
        let duration = self.pressure.over.saturating_sub(warmup);
        let idle = self.pressure.idle.as_secs_f64() / duration.as_secs_f64().max(f64::MIN_POSITIVE);
        // Waking everyone up at once is no load, and a run of no length shows nothing.
        let shows_nothing = self.plan.once || duration.is_zero();
        let many = |count: u64| count * 100 > self.tally.sent;
        let wanted = u64::try_from(self.clients.len()).unwrap_or(0);
        // Connections that replaced others do not stand for clients that never had one.
        let made = self.clients.iter().filter(|client| client.has_been_open).count().try_into().unwrap_or(wanted);
        // One that was lost while it was held is not open, whoever had it once.
        let made = if self.plan.once { self.held.open } else { made };
        // Where handshakes are the requests, as many clients connect as are needed for them.
        let wanted = if self.plan.protocol == LoadProtocol::HandshakeOnly { made } else { wanted };
        Finding {
            busy: if shows_nothing { 0.0 } else { (1.0 - idle).clamp(0.0, 1.0) },
            starved: if shows_nothing { 0.0 } else { self.pressure.starved(duration) },
            late: many(self.pressure.late),
            behind: many(self.pressure.behind),
            duration,
            sending: if self.arrivals.is_some() { self.pressure.ended.saturating_sub(warmup) } else { duration },
            held: self.held.time,
            origin: self.origin,
            began_after: self.origin.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.began)) + warmup,
            connections: (wanted, made),
            tally: self.tally,
        }
    }
}
