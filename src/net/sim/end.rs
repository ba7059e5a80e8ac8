//! One end of a simulated connection, and the bytes on their way to it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Names an end: its slot, and a serial number, because slots are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) key: usize,
    pub(super) serial: u64,
}

/// Where events are reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndWatch {
    pub(super) host: usize,
    pub(super) token: usize,
    /// On the host's list of ends to report.
    pub(super) listed: bool,
}

/// One end of a connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, set by different events")]
pub(super) struct SocketEnd {
    pub(super) serial: u64,
    pub(super) peer: Option<EndId>,
    pub(super) local: SocketAddr,
    pub(super) watch: Option<EndWatch>,
    /// Arrived and not read.
    pub(super) inbox: VecDeque<u8>,
    /// Written by the peer and not arrived.
    pub(super) in_flight: VecDeque<u8>,
    /// Where urgent data lies in the inbox: behind this many bytes. Reads do not return it, and a read ends there.
    pub(super) mark: Option<usize>,
    /// How many bytes this end has written.
    pub(super) written: u64,
    /// When the last of what is in flight arrives: nothing may overtake it.
    pub(super) last_arrival: Duration,
    /// The peer's FIN has arrived.
    pub(super) fin: bool,
    /// The peer, or its backlog, has accepted the connection.
    pub(super) connected: bool,
    /// FIN has been sent.
    pub(super) write_shut: bool,
    /// Why the connection is broken. The first report gives the reason, later ones only that it is broken.
    pub(super) broken: Option<Breakage>,
    /// A write met a full window: an event is due when there is room.
    pub(super) starved: bool,
    /// Since when the last write fell short and nothing was written or read.
    pub(super) stuck_since: Option<Instant>,
    /// Dropping the socket resets the connection.
    pub(super) resets: bool,
    /// The socket was dropped.
    pub(super) closed: bool,
    /// The network, not the peer, has broken this connection.
    pub(super) disturbed: bool,
    /// A fault resets the connection when so many more bytes have arrived here.
    pub(super) reset_after: Option<usize>,
}

/// How a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakage {
    Refused,
    Reset,
    Reported,
}

/// An idle connection holds no memory, because a test may have a million of them.
pub(super) fn release(bytes: &mut VecDeque<u8>) {
    if bytes.is_empty() {
        *bytes = VecDeque::new();
    }
}

impl SocketEnd {
    pub(super) fn new(serial: u64, local: SocketAddr) -> Self {
        Self {
            serial,
            peer: None,
            local,
            watch: None,
            inbox: VecDeque::new(),
            in_flight: VecDeque::new(),
            mark: None,
            written: 0,
            last_arrival: Duration::ZERO,
            fin: false,
            connected: false,
            write_shut: false,
            broken: None,
            starved: false,
            stuck_since: None,
            resets: false,
            closed: false,
            disturbed: false,
            reset_after: None,
        }
    }

    /// Whether a read would give bytes, the end of the stream or an error.
    pub(super) fn is_readable(&self) -> bool {
        !self.inbox.is_empty() || self.is_read_closed()
    }

    pub(super) fn is_read_closed(&self) -> bool {
        self.fin || self.broken.is_some()
    }

    /// How many bytes one read can return: those before urgent data, or all if the urgent data comes first, since
    /// reading passes it.
    pub(super) fn reach(&self) -> usize {
        self.mark.filter(|before| *before > 0).map_or(self.inbox.len(), |before| before.min(self.inbox.len()))
    }

    /// Bytes that occupy the window towards this end.
    pub(super) fn pending(&self) -> usize {
        self.inbox.len() + self.in_flight.len()
    }

    /// Breaks the connection. Unread bytes are lost, as they can be on real machines.
    pub(super) fn break_off(&mut self, how: Breakage) {
        if self.broken.is_none() {
            self.broken = Some(how);
        }
        self.inbox.clear();
        self.mark = None;
        self.in_flight.clear();
    }

    /// The error of a broken connection; the first report gives the reason.
    pub(super) fn report_breakage(&mut self) -> Option<io::ErrorKind> {
        let how = self.broken?;
        self.broken = Some(Breakage::Reported);
        Some(match how {
            Breakage::Refused => io::ErrorKind::ConnectionRefused,
            Breakage::Reset => io::ErrorKind::ConnectionReset,
            Breakage::Reported => io::ErrorKind::BrokenPipe,
        })
    }

    /// Reads arrived bytes.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.reach());
        self.mark = self.mark.filter(|before| *before > 0).map(|before| before.saturating_sub(count));
        for (place, byte) in buffer.iter_mut().zip(self.inbox.drain(..count)) {
            *place = byte;
        }
        release(&mut self.inbox);
        count
    }
}
