//! The behaviour of a connected client, and the end of its connection: requests, handshakes, or silence.

use std::time::{Duration, Instant};

use super::clients::{ClientState, Virtual};
use super::link::{LinkState, LinkTask, RunnerLink};
use crate::load::outcome::RequestFailure;
use crate::load::plan::{LoadProtocol, Plan};

/// How long a ticket, or the server's own end of a connection, is awaited.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often connections that have waited too long are looked for.
const PATROL: Duration = Duration::from_millis(100);
/// The same where connections have a lifetime: one that is replaced late is missing for the requests that are due.
const PATROL_OF_LIFETIMES: Duration = Duration::from_millis(10);

/// The behaviour of the clients of a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Driver {
    /// Connections carry requests, and are replaced when they end.
    Requests {
        /// Requests in flight on one connection.
        pipeline: usize,
        /// Requests after which a connection is replaced.
        per_connection: Option<u64>,
        /// Age at which it is replaced.
        lifetime: Option<Duration>,
        /// Whether the server may close between two requests without having failed, as HTTP allows (RFC 9112, 9.5).
        may_close_unasked: bool,
    },
    /// A connection is made for each request, its handshake being the request, and closed.
    Handshakes,
    /// Connections are held in silence; then each carries one request. None is replaced.
    IdleConnections,
}

/// The action on a connection that has waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The server has not ended it in time; it is over all the same.
    Drop,
    /// It is done: this side ends it.
    Close,
    /// It has failed.
    Fail(RequestFailure),
}

impl Driver {
    pub(super) fn new(plan: &Plan) -> Self {
        match plan.protocol {
            LoadProtocol::HandshakeOnly => Self::Handshakes,
            _ if plan.once => Self::IdleConnections,
            protocol => Self::Requests {
                pipeline: plan.pipeline,
                per_connection: plan.requests_per_connection,
                lifetime: plan.lifetime,
                may_close_unasked: protocol == LoadProtocol::XmlRpc,
            },
        }
    }

    /// Whether clients connect before the schedule begins, and not on demand.
    pub(super) fn connects_ahead(self) -> bool {
        !matches!(self, Self::Handshakes)
    }

    /// Whether requests begin before all connections are made: a server that takes one connection at a time, as Python's
    /// XML-RPC does, finishes the second handshake when the first connection has been served.
    pub(super) fn sends_while_connecting(self) -> bool {
        matches!(self, Self::Requests { may_close_unasked: true, .. })
    }

    /// Whether a connection that was lost is replaced.
    pub(super) fn replaces_lost(self) -> bool {
        !matches!(self, Self::IdleConnections)
    }

    /// Whether, in a closed loop, the next request waits for the connection that replaces a lost one.
    pub(super) fn requests_wait_for_connections(self) -> bool {
        matches!(self, Self::Requests { .. })
    }

    /// From one look for connections that have waited too long to the next.
    pub(super) fn patrol_period(self) -> Duration {
        match self {
            Self::Requests { lifetime: Some(_), .. } => PATROL_OF_LIFETIMES,
            _ => PATROL,
        }
    }

    /// How many requests a client can take now.
    pub(super) fn room<K>(self, client: &Virtual<K>, now: Instant) -> usize {
        if matches!(self, Self::IdleConnections) && client.given > 0 {
            return 0;
        }
        match &client.state {
            ClientState::Online(link) => self.room_on(link, now),
            ClientState::Offline => usize::from(client.on_demand),
            ClientState::BackingOff => 0,
        }
    }

    fn room_on<K>(self, link: &RunnerLink<K>, now: Instant) -> usize {
        if !link.is_open() || self.is_used_up(link, now) {
            return 0;
        }
        let awaited = link.connection.awaited().len();
        match self {
            Self::Requests { pipeline, per_connection, .. } => {
                let left = per_connection.map_or(u64::MAX, |limit| limit.saturating_sub(link.given()));
                pipeline.saturating_sub(awaited).min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Self::IdleConnections => 1_usize.saturating_sub(awaited),
            Self::Handshakes => 0,
        }
    }

    /// Whether a connection takes no further request.
    fn is_used_up<K>(self, link: &RunnerLink<K>, now: Instant) -> bool {
        let by_limit = match self {
            Self::Requests { per_connection, lifetime, .. } => {
                per_connection.is_some_and(|limit| link.given() >= limit)
                    || lifetime.is_some_and(|lifetime| link.age(now) >= lifetime)
            }
            Self::Handshakes | Self::IdleConnections => false,
        };
        by_limit || !link.connection.keep_alive()
    }

    /// Whether a connection takes no further request, and is owed no reply.
    pub(super) fn is_spent<K>(self, link: &RunnerLink<K>, now: Instant) -> bool {
        link.is_open() && self.is_used_up(link, now) && link.connection.awaited().is_empty()
    }

    /// Whether this side ends a connection now: it is spent, or its handshake was all and any ticket has come.
    pub(super) fn is_done<K>(self, link: &RunnerLink<K>, now: Instant) -> bool {
        let is_made = matches!(link.task, LinkTask::Handshake(_)) && link.is_open() && !link.misses_ticket();
        is_made || self.is_spent(link, now)
    }

    /// Whether the server may end a connection now without having failed: it has announced that, or may do so unasked.
    pub(super) fn may_end<K>(self, link: &RunnerLink<K>) -> bool {
        let is_usual = !link.connection.keep_alive() || matches!(self, Self::Requests { may_close_unasked: true, .. });
        link.given() > 0 && link.connection.awaited().is_empty() && is_usual
    }

    /// The action on a connection that has waited for longer than `timeout`, or than is usual for its state; `at` is `now`
    /// since the schedule's origin.
    pub(super) fn overdue<K>(
        self,
        link: &RunnerLink<K>,
        timeout: Duration,
        now: Instant,
        at: Duration,
    ) -> Option<Overdue> {
        let since = |instant: Instant| now.saturating_duration_since(instant);
        let timed_out = Overdue::Fail(RequestFailure::Timeout);
        match link.state {
            LinkState::Connecting => {
                (since(link.began) > timeout).then_some(Overdue::Fail(RequestFailure::ConnectTimeout))
            }
            LinkState::Handshaking { .. } => (since(link.began) > timeout).then_some(timed_out),
            LinkState::Closing { closing, .. } => {
                // A server that hears of the end sends what it still has. A missing ticket is awaited for as long as an
                // answer, or a slow server would seem to give none.
                let limit = if link.misses_ticket() { timeout } else { CLOSE_TIMEOUT };
                (since(closing) > limit).then_some(Overdue::Drop)
            }
            LinkState::Open { opened } => match link.task {
                LinkTask::Handshake(_) => {
                    let overdue = if link.misses_ticket() { Overdue::Close } else { timed_out };
                    (since(opened) > CLOSE_TIMEOUT).then_some(overdue)
                }
                LinkTask::Requests { .. } if self.is_spent(link, now) => Some(Overdue::Close),
                LinkTask::Requests { .. } => {
                    let oldest = link.connection.awaited().front()?;
                    (at.saturating_sub(oldest.sent) > timeout).then_some(timed_out)
                }
            },
        }
    }

    /// Clients that had to connect and those of them that did, of `clients` of which `connected` had a connection and
    /// `held` still had it when the hold was over.
    pub(super) fn connections(self, clients: u64, connected: u64, held: u64) -> (u64, u64) {
        match self {
            Self::Requests { .. } => (clients, connected),
            // As many clients connect as are needed.
            Self::Handshakes => (connected, connected),
            // One that was lost while it was held is not open.
            Self::IdleConnections => (clients, held),
        }
    }
}
