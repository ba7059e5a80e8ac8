//! One connection of a virtual client, with its socket and its state.

use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use crate::load::connection::{LoadConnection, SentRequest};
use crate::load::plan::SessionGoal;

/// One connection.
pub(super) struct RunnerLink<K> {
    pub(super) socket: K,
    pub(super) connection: LoadConnection,
    pub(super) hints: SocketHints,
    pub(super) state: LinkState,
    pub(super) task: LinkTask,
    /// The handshake that is expected of it.
    pub(super) goal: SessionGoal,
    /// When the connect call was made.
    pub(super) began: Instant,
    /// While the first byte back is awaited: since when. That is from the first request or, without requests, from the end
    /// of the handshake.
    pub(super) first_byte_since: Option<Instant>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The connect call was made.
    Connecting,
    /// The socket is connected; the TLS handshake is under way.
    Handshaking { connected: Instant },
    /// Requests can be sent.
    Open { opened: Instant },
    /// This side has announced its end and awaits the server's.
    Closing { opened: Instant, closing: Instant },
}

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LinkTask {
    /// It carries requests.
    Requests {
        /// How many it was given.
        given: u64,
        /// Whether its last answer, if there was any, was as it should be.
        is_well: bool,
    },
    /// Its handshake is the request.
    Handshake(SentRequest),
}

impl LinkTask {
    /// A connection for requests, before the first of them.
    pub(super) const REQUESTS: Self = Self::Requests { given: 0, is_well: true };
}

/// Readiness that the poller has reported and that was not used up yet.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the poller's bits, as it gives them")]
pub(super) struct SocketHints {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
    /// Urgent data was announced: a short read is not the last.
    pub(super) urgent: bool,
}

impl<K> RunnerLink<K> {
    /// When requests could be sent.
    pub(super) fn opened(&self) -> Option<Instant> {
        match self.state {
            LinkState::Connecting | LinkState::Handshaking { .. } => None,
            LinkState::Open { opened } | LinkState::Closing { opened, .. } => Some(opened),
        }
    }

    /// Whether it can carry requests, or its handshake has just finished.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open { .. })
    }

    /// Whether this side has announced its end.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, LinkState::Closing { .. })
    }

    /// Requests it was given.
    pub(super) fn given(&self) -> u64 {
        match self.task {
            LinkTask::Requests { given, .. } => given,
            LinkTask::Handshake(_) => 0,
        }
    }

    /// One more request was given to it.
    pub(super) fn count_request(&mut self) {
        if let LinkTask::Requests { given, .. } = &mut self.task {
            *given += 1;
        }
    }

    /// Its last answer was, or was not, as it should be.
    pub(super) fn note_answer(&mut self, is_good: bool) {
        if let LinkTask::Requests { is_well, .. } = &mut self.task {
            *is_well = is_good;
        }
    }

    /// Whether its handshake counts: where handshakes are the requests, those of the warm-up do not.
    pub(super) fn is_measured(&self) -> bool {
        match self.task {
            LinkTask::Requests { .. } => true,
            LinkTask::Handshake(request) => request.measured,
        }
    }

    /// Time since it was opened; zero before.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.opened().map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened))
    }

    /// Whether a ticket that is wanted has not come. TLS 1.2 sends its ticket within the handshake.
    pub(super) fn misses_ticket(&self) -> bool {
        let session = self.connection.session();
        let is_tls13 =
            session.agreement().is_some_and(|agreement| agreement.version == rustls::ProtocolVersion::TLSv1_3);
        self.goal.wants_ticket() && is_tls13 && session.tickets_received() == 0
    }

    /// Whether the server has made a full handshake where the client asked for its session.
    pub(super) fn was_not_resumed(&self) -> bool {
        let agreement = self.connection.session().agreement();
        self.goal == SessionGoal::Resume && agreement.is_some_and(|agreement| agreement.kind != HandshakeKind::Resumed)
    }
}
