//! Virtual clients and their connections.

use std::time::{Duration, Instant};

use crate::load::connection::{LoadConnection, SentRequest};
use crate::load::plan::{LoadProtocol, Plan, Sessions};

/// One of the clients that a run pretends to be.
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub(super) struct Virtual<K> {
    /// Its tickets; `None` without TLS.
    pub(super) sessions: Option<Sessions>,
    /// Its connection; boxed, so that a list of many idle clients can grow cheaply.
    pub(super) link: Option<Box<RunnerLink<K>>>,
    /// Distinguishes its connections in events.
    pub(super) generation: u32,
    /// Whether its first connection has been made or has failed.
    pub(super) has_been_tried: bool,
    /// Whether it has ever had a connection.
    pub(super) has_been_open: bool,
    /// Whether it stands in the queue of free clients.
    pub(super) is_queued: bool,
    /// Since when it could have taken a request.
    pub(super) free_since: Duration,
    /// Since when it would have asked in a closed loop, had its connection not failed.
    pub(super) waits_since: Option<Duration>,
    /// Whether a pause before it connects again is taken out of that.
    pub(super) has_paused: bool,
    /// Requests it was given.
    pub(super) given: u64,
    /// Whether it connects only when it has something to ask, because the server has closed on it after an answer. One
    /// that serves a connection at a time would else wait for a silent one.
    pub(super) connects_late: bool,
    /// Whether it waits, after a failure, before it connects again.
    pub(super) is_retrying: bool,
}

/// One connection.
#[expect(clippy::struct_excessive_bools, reason = "four hints of readiness, two wishes and a finding, all independent")]
pub(super) struct RunnerLink<K> {
    pub(super) socket: K,
    pub(super) connection: LoadConnection,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
    /// Urgent data was announced: a short read is not the last.
    pub(super) urgent: bool,
    /// When it was begun.
    pub(super) began: Instant,
    /// When the socket was connected.
    pub(super) connected: Option<Instant>,
    /// When requests could be sent: the handshake, if any, was done.
    pub(super) opened: Option<Instant>,
    /// When the first request was sent, until its first byte has come back.
    pub(super) asked: Option<Instant>,
    /// When its end was begun by this side.
    pub(super) closing: Option<Instant>,
    /// The request that the connection itself is, where handshakes are what is measured.
    pub(super) attempt: Option<SentRequest>,
    /// Requests given to it.
    pub(super) given: u64,
    /// Whether the last answer, if there was any, was as it should be.
    pub(super) is_well: bool,
    /// Whether the server has made a full handshake where the client asked for its session.
    pub(super) was_refused: bool,
    /// Whether the handshake must be a resumed one.
    pub(super) resumes: bool,
    /// Whether it stays until a ticket has come.
    pub(super) wants_ticket: bool,
}

impl<K> RunnerLink<K> {
    /// How many more requests it can take now.
    pub(super) fn room(&self, plan: &Plan, now: Instant) -> usize {
        if self.opened.is_none() || self.closing.is_some() || !self.connection.keep_alive() || self.is_old(plan, now) {
            return 0;
        }
        let left = plan.requests_per_connection.map_or(u64::MAX, |limit| limit.saturating_sub(self.given));
        let room = plan.pipeline.saturating_sub(self.connection.awaited().len());
        room.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether it has served its time and owes no reply.
    pub(super) fn is_spent(&self, plan: &Plan, now: Instant) -> bool {
        let used_up = plan.requests_per_connection.is_some_and(|limit| self.given >= limit);
        let spent = used_up || !self.connection.keep_alive() || self.is_old(plan, now);
        self.opened.is_some() && self.closing.is_none() && spent && self.connection.awaited().is_empty()
    }

    /// Whether its lifetime is over.
    fn is_old(&self, plan: &Plan, now: Instant) -> bool {
        let age = self.opened.map(|opened| now.saturating_duration_since(opened));
        age.zip(plan.lifetime).is_some_and(|(age, lifetime)| age >= lifetime)
    }

    /// Whether the server may end it now without having failed: it said that it would, or, as HTTP allows between two
    /// requests (RFC 9112, 9.5), it does so unasked.
    pub(super) fn may_end(&self, plan: &Plan) -> bool {
        let is_usual = !self.connection.keep_alive() || plan.protocol == LoadProtocol::XmlRpc && !plan.once;
        self.given > 0 && self.connection.awaited().is_empty() && is_usual
    }

    /// Whether its handshake counts: where handshakes are the requests, those of the warm-up do not.
    pub(super) fn is_measured(&self) -> bool {
        self.attempt.is_none_or(|attempt| attempt.measured)
    }

    /// Whether a ticket that is wanted has not come. TLS 1.2 sends its ticket within the handshake.
    pub(super) fn misses_ticket(&self) -> bool {
        let session = self.connection.session();
        let is_tls13 =
            session.agreement().is_some_and(|agreement| agreement.version == rustls::ProtocolVersion::TLSv1_3);
        self.wants_ticket && is_tls13 && session.tickets_received() == 0
    }
}
