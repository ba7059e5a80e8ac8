//! The one trait that a protocol implements.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::context::Environment;
use super::effects::{Dial, Effect, Link, Loss};
use super::id::PeerId;
use super::output::Output;
use super::replies::Deferred;
use crate::access::Access;
use crate::disconnect::Disconnect;
use crate::tls::{Agreement, Identity};

/// A protocol on a server: how bytes become requests, and how requests are answered.
///
/// One value of this type exists on each loop and serves every connection of every listener, so state that connections
/// share (a store, a counter) is a plain field, without a lock or reference count. State of a single connection between
/// calls is its [`Session`](Service::Session). A service never sees a socket, TLS, or a partial write; the connection and
/// the server handle limits, deadlines, back-pressure, drain and metrics.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{Shutdown, TcpStream};
///
/// use latchkey::{Disconnect, Exchange, Limits, ListenerConfig, MioNet, Security, Served, Server, Service};
///
/// /// Requests are single digits; the answer is their sum so far, over all clients.
/// struct Adder {
///     sum: u32,
/// }
///
/// impl Service for Adder {
///     type Session = ();
///
///     fn open(&mut self, _: &mut Exchange<'_>) {}
///
///     fn serve(&mut self, (): &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
///         let Some(digit) = input.first().filter(|byte| byte.is_ascii_digit()) else {
///             return Served::Close(Disconnect::Malformed);
///         };
///         self.sum += u32::from(digit - b'0');
///         exchange.reply().extend(format!("{}\n", self.sum).bytes());
///         Served::Used(1)
///     }
/// }
///
/// let address = ([127, 0, 0, 1], 0).into();
/// let listener = ListenerConfig::new(address, Security::Plain);
/// let mut server = Server::new(MioNet::new()?, Adder { sum: 0 }, vec![listener], Limits::default())?;
/// let (address, handle) = (server.addresses()?[0], server.handle());
/// let running = std::thread::spawn(move || server.run());
///
/// let mut client = TcpStream::connect(address)?;
/// client.write_all(b"123")?;
/// client.shutdown(Shutdown::Write)?;
/// let mut sums = String::new();
/// client.read_to_string(&mut sums)?;
/// assert_eq!(sums, "1\n3\n6\n");
///
/// handle.stop();
/// running.join().expect("the loop does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Service {
    /// The framing state of one connection between calls.
    type Session;

    // Required: connections and requests.

    /// A connection is ready to be served: its handshake, if any, is done.
    ///
    /// A protocol in which the server speaks first writes its greeting here, and one that needs a connection to another
    /// server dials it.
    fn open(&mut self, exchange: &mut Exchange<'_>) -> Self::Session;

    /// Takes at most one request from the front of `input` and answers it through `exchange`.
    ///
    /// To avoid scanning bytes twice, a service keeps a position in the session; it counts from the front of `input`,
    /// which does not move until bytes are used.
    fn serve(&mut self, session: &mut Self::Session, input: &[u8], exchange: &mut Exchange<'_>) -> Served;

    // The rest of a connection's life.

    /// The peer will send no more; `rest` is its incomplete request, often empty.
    ///
    /// A last reply may be written. Returns why the connection ends; all owed replies are still sent. `None` is the
    /// usual end; of a linked connection it ends this direction only, and is carried across the link.
    fn end_of_input(
        &mut self,
        session: &mut Self::Session,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        let _ = (session, exchange);
        (!rest.is_empty()).then_some(Disconnect::CutOff)
    }

    /// The session's state for the connection's deadlines and limits. Called when it is open, and whenever requests
    /// were served.
    fn inspect(&self, session: &Self::Session) -> SessionState {
        let _ = session;
        SessionState::default()
    }

    /// The connection has ended; its session is returned, so that the service can end its subscriptions and watches.
    fn close(&mut self, session: Self::Session, peer: &PeerInfo) {
        let _ = (session, peer);
    }

    // Clients that are not served.

    /// Whether a client that its listener admits can use this service at all, according to [`PeerInfo::access`]. Called
    /// before [`open`](Self::open), and again when the access changes.
    fn admits(&self, peer: &PeerInfo) -> bool {
        let _ = peer;
        true
    }

    /// Writes the text for a client of `listener` that is refused for `reason` without being served, or that has not
    /// completed a request in time.
    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        let _ = (listener, reason, reply);
    }

    // Links to other servers.

    /// The connection that this one dialed failed, for the reason in `loss`. Another may be dialed, or a last reply
    /// written.
    ///
    /// Returns why the connection ends; `None` if it continues.
    fn unreachable(
        &mut self,
        session: &mut Self::Session,
        loss: &Loss,
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        let _ = (session, loss, exchange);
        Some(Disconnect::Upstream)
    }

    // Housekeeping and durability.

    /// Called once a turn, after all requests of the turn were answered and before anything is sent: submits changes to
    /// the disk, and does a small piece of housekeeping (expiry, compaction), bounded to well under a millisecond.
    fn tick(&mut self, env: &mut Environment) -> Tick {
        let _ = env;
        Tick::default()
    }

    /// Writes the text that replaces `reply` for a client of `listener`: it was [held](Exchange::hold) and will never
    /// be true. A service that holds replies must write something; otherwise the client is closed.
    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        let _ = (listener, reply, out);
    }
}

/// The state of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The peer sends the head of a request next, or the rest of one. In protocols with heads, these must arrive sooner
    /// than bodies.
    pub is_in_head: bool,
    /// Heap bytes that the session holds on behalf of its peer (a transaction, for example). They count towards the
    /// memory limits.
    pub memory: usize,
}

/// The result of [`Service::tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// The status of [held](Exchange::hold) replies.
    pub commits: CommitStatus,
    /// The longest time until the next tick, if no event comes before; `None` means no limit.
    pub again_in: Option<Duration>,
}

/// The result of [`Service::serve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Served {
    /// There is no complete request: the call is repeated, with the same bytes and more after them, when more have
    /// arrived.
    Incomplete,
    /// One request of this many bytes was taken. 0 means the same as [`Incomplete`](Self::Incomplete).
    Used(usize),
    /// There is no room for the request's changes, and nothing was done: the call is repeated, with the same bytes,
    /// when [`Service::tick`] reports a durable group.
    Congested,
    /// The connection ends for this reason, after all replies written so far, including this call's, have been sent. If
    /// the client asked for it, the reason is [`Finished`](Disconnect::Finished).
    Close(Disconnect),
}

#[cfg(test)]
impl Served {
    /// How many bytes a taken request used; 0 if it waits.
    pub(crate) fn used(self) -> usize {
        match self {
            Self::Incomplete => 0,
            Self::Used(used) => used,
            Self::Congested | Self::Close(_) => panic!("{self:?}"),
        }
    }
}

/// The status of held replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitStatus {
    /// The service holds no replies.
    #[default]
    NotUsed,
    /// Nothing new.
    Unchanged,
    /// Replies that wait for this group, or an earlier one, may be sent; there may be room for congested requests.
    Durable(u64),
    /// All groups that were not durable are lost, so no held reply will ever be true: [`Service::retract`] replaces each.
    Lost,
    /// The same, and the server must stop.
    Fatal,
}

/// The peer of a connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The connection's id; never reused.
    pub id: PeerId,
    /// The index of the listener that accepted it, in the order given to the server; for a dialed connection, that of
    /// its dialer.
    pub listener: usize,
    /// The peer's socket address; unspecified if it has none (a Unix socket).
    pub address: SocketAddr,
    /// The local address that the peer connected to; unspecified for a dialed connection.
    pub local: SocketAddr,
    /// The identity in the verified client certificate; `None` without a certificate or TLS.
    pub identity: Option<Arc<Identity>>,
    /// The peer's access: every request must be allowed by it.
    pub access: Access,
    /// The negotiated TLS parameters; `None` on a plain socket.
    pub agreement: Option<Agreement>,
    /// The connection at the other end of the link, if there is one.
    pub link: Option<Link>,
    /// Whether it has one of the operators' own places, and does not compete with clients.
    pub is_operator: bool,
}

impl PeerInfo {
    /// A peer of `listener` that has just connected from `address` to `local`.
    #[must_use]
    pub fn new(id: PeerId, listener: usize, address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            id,
            listener,
            address,
            local,
            identity: None,
            access: Access::Everything,
            agreement: None,
            link: None,
            is_operator: false,
        }
    }

    /// Whether this server made the connection, on behalf of another one.
    #[must_use]
    pub fn is_dialed(&self) -> bool {
        matches!(self.link, Some(Link::Client(_)))
    }
}

/// What one request may use: its peer, the loop's environment, and the reply.
pub struct Exchange<'a> {
    /// The peer that sent the request.
    pub peer: &'a PeerInfo,
    /// The limits that the framing must enforce (`request_bytes` above all), the time, the counters.
    pub env: &'a mut Environment,
    pub(crate) output: &'a mut Output,
}

impl Exchange<'_> {
    /// The buffer for the encoded reply to this request: append to it. Earlier deferred replies are still sent first.
    pub fn reply(&mut self) -> &mut Vec<u8> {
        self.output.replies.tail()
    }

    /// Leaves this request's reply open, to be completed later through [`Deferred`], from any thread.
    ///
    /// Replies to later requests wait for it.
    pub fn defer(&mut self) -> Deferred {
        self.env.mailbox.deferred(self.peer.id, self.output.replies.defer())
    }

    /// Leaves this request's reply open like [`defer`](Self::defer), and serves no further request of this connection
    /// before it is complete: for work that takes many turns and must not be overtaken by later requests of its client.
    pub fn defer_alone(&mut self) -> Deferred {
        self.env.mailbox.deferred(self.peer.id, self.output.replies.defer_alone())
    }

    /// Counts this request as `requests` additional ones in its peer's share of the turn
    /// ([`requests_per_turn`](crate::limits::Limits::requests_per_turn)), for a request that costs as much as many.
    pub fn spend(&mut self, requests: usize) {
        self.output.served = self.output.served.saturating_add(requests);
    }

    /// Records details for the log of why this connection ends: no key, no value, nothing that its peer has sent.
    pub fn explain(&mut self, detail: impl Into<Box<str>>) {
        self.output.detail = Some(detail.into());
    }

    /// Holds the reply to this request, and all later ones, until [`Service::tick`] reports that `group` is durable.
    pub fn hold(&mut self, group: u64) {
        let scratch = &mut self.env.scratch;
        self.output.replies.hold(group, || scratch.take());
    }

    /// How many more reply bytes fit before this peer's requests are no longer decoded. A streaming service (echo)
    /// answers no more than this at once; others may exceed it by one reply.
    #[must_use]
    pub fn room(&self) -> usize {
        self.env.limits.output_bytes.saturating_sub(self.output.replies.queued_bytes())
    }

    /// Requests a connection to another server, linked to this one. A connection has one link at a time.
    ///
    /// No further request of this connection is decoded before the new one is open, with its handshake, if any, done:
    /// then it passes through [`Service::open`] like any other. If that fails, [`Service::unreachable`] is called for
    /// this one.
    pub fn dial(&mut self, dial: Dial) {
        self.env.effects.push(Effect::Dial { dialer: self.peer.id, dial: Box::new(dial) });
    }

    /// Sends as many of `bytes` as there is room for on the linked connection, and returns how many. While it has no
    /// room, no request of this connection is decoded.
    pub fn forward(&mut self, bytes: &[u8]) -> usize {
        let Some(link) = self.peer.link else { return 0 };
        let Environment { effects, scratch, .. } = &mut *self.env;
        effects.forward(link.peer(), bytes, || scratch.take())
    }

    /// Ends another connection, or this one, for `reason`, after its owed replies have been sent.
    pub fn disconnect(&mut self, peer: PeerId, reason: Disconnect) {
        self.env.effects.push(Effect::Disconnect { peer, reason });
    }
}
