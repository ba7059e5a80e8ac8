//! How fast a peer takes what is owed to it.

use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::net::Delivery;

/// The progress of a peer whose socket is full while more bytes wait for it.
///
/// The peer may be slow, but not arbitrarily: otherwise it could occupy a buffer without end by taking a byte now and
/// then. So the bytes that it takes are counted over each `write_timeout`, and must reach `write_rate` bytes a second.
///
/// Bytes accepted by the socket are not bytes taken by the peer: epoll reports a socket as writable only when a third
/// of its buffer is free (a Unix socket: three quarters), which is megabytes. So the socket's delivery is queried when
/// the stall begins and before the peer is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteProgress {
    pub(super) since: Instant,
    /// Bytes that the socket has accepted since the stall began.
    pub(super) taken: usize,
    /// The delivery at the beginning, once it was queried.
    pub(super) delivered: Option<u64>,
    /// Bytes taken beyond the required ones in earlier periods, at most [`STEP`]. A new stall begins with the full
    /// credit.
    pub(super) credit: u64,
}

/// A peer with TLS takes records of 16 KiB, however steadily it reads: in one `write_timeout` it may take that much
/// less than in another.
const STEP: u64 = 16 << 10;

/// The delivery at the last query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) delivery: Delivery,
}

impl WriteProgress {
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, taken: 0, delivered: None, credit: STEP }
    }

    pub(super) fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count);
    }

    /// The next period after a `write_timeout`; `None` if the peer was too slow.
    pub(super) fn next(&self, delivered: Option<u64>, now: Instant, limits: &Limits) -> Option<Self> {
        let by_socket = delivered.zip(self.delivered).map_or(0, |(now, before)| now.saturating_sub(before));
        let taken = by_socket.max(self.taken as u64);
        let surplus = taken.saturating_add(self.credit).checked_sub(enough(limits.write_timeout, limits));
        let credit = surplus.filter(|_| taken > 0)?.min(STEP);
        Some(Self { delivered, credit, ..Self::begin(now) })
    }
}

/// The bytes that a peer must take in `time`.
pub(super) fn enough(time: Duration, limits: &Limits) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ((limits.write_rate as u64).saturating_mul(millis) / 1000).max(1)
}
