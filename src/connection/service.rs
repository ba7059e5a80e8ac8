//! The one trait a protocol implements to be served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::context::Environment;
use super::effects::{Dial, Effect, Link, Loss};
use super::framing::Output;
use super::id::PeerId;
use super::replies::Deferred;
use crate::access::Access;
use crate::disconnect::Disconnect;
use crate::tls::{Agreement, Identity};

/// What a server serves: how bytes become requests and what is answered.
///
/// One value of this type lives on each loop and serves every connection of every listener, so state that connections
/// share (a store, a counter) is a plain field: no lock, no reference count. What a single connection must remember
/// between calls is its [`Session`](Service::Session). A service never sees a socket, TLS, or a partial write; limits,
/// deadlines, back-pressure, drain and metrics are the connection's and the server's.
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
    /// What the framing of one connection remembers between calls.
    type Session;

    // What every service does: it takes connections and answers requests.

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

    /// The peer will send no more; `rest` is the incomplete request it leaves, often empty.
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

    /// What the connection's deadlines and limits depend on. Asked when it is open, and whenever requests were served.
    fn inspect(&self, session: &Self::Session) -> SessionState {
        let _ = session;
        SessionState::default()
    }

    /// The connection is over; its session is returned, to end what the service does for it (subscriptions, watches).
    fn close(&mut self, session: Self::Session, peer: &PeerInfo) {
        let _ = (session, peer);
    }

    // Clients that are not served.

    /// Whether a client that its listener admits can do anything here, by what [`PeerInfo::access`] allows. Asked before
    /// [`open`](Self::open), and again when that changes.
    fn admits(&self, peer: &PeerInfo) -> bool {
        let _ = peer;
        true
    }

    /// Writes what a client of `listener` should read when it is turned away for `reason` without being served, or
    /// when the rest of a request that it began has not come in time.
    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        let _ = (listener, reason, reply);
    }

    // Links to other servers.

    /// The connection that this one dialed could not be made, for the reason in `loss`. Another may be dialed, or a last
    /// reply written.
    ///
    /// Returns why the connection ends; `None` when it goes on.
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

    /// Called once a turn, after all requests of the turn were answered and before anything is sent: hands what was
    /// changed to the disk, and does a small piece of housekeeping (expiry, compaction), bounded to well under a
    /// millisecond.
    fn tick(&mut self, env: &mut Environment) -> Tick {
        let _ = env;
        Tick::default()
    }

    /// Writes what a client of `listener` should read in the place of `reply`, which was [held](Exchange::hold) and will
    /// never be true. A service that holds replies must write something; a client for which it does not is closed.
    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        let _ = (listener, reply, out);
    }
}

/// What a session says about its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// What the peer sends next is the head of a request, or the rest of one: where a protocol has heads, they must come
    /// sooner than bodies.
    pub is_in_head: bool,
    /// Heap bytes that the session holds because of what its peer has sent (a transaction, say). They count in the memory
    /// limits.
    pub memory: usize,
}

/// What [`Service::tick`] returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// What has become of replies that were [held](Exchange::hold).
    pub commits: CommitStatus,
    /// How soon the next tick is wanted although nothing happens; `None` for no wish.
    pub again_in: Option<Duration>,
}

/// What [`Service::serve`] did with the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Served {
    /// It holds no complete request: the call is repeated, with the same bytes and more behind them, when more have
    /// arrived.
    Incomplete,
    /// One request was taken, of so many bytes. 0 means the same as [`Incomplete`](Self::Incomplete).
    Used(usize),
    /// There is no room for what the request changes, and nothing was done: the call is repeated, with the same bytes,
    /// when [`Service::tick`] says that something is durable.
    Congested,
    /// The connection ends for this reason, after all replies written so far, this call's included, have been sent. A
    /// client that asked for the end is [`Finished`](Disconnect::Finished).
    Close(Disconnect),
}

#[cfg(test)]
impl Served {
    /// How many bytes were used by a request that is taken or waits for more.
    pub(crate) fn used(self) -> usize {
        match self {
            Self::Incomplete => 0,
            Self::Used(used) => used,
            Self::Congested | Self::Close(_) => panic!("{self:?}"),
        }
    }
}

/// What has become of replies that were held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitStatus {
    /// This service holds none.
    #[default]
    NotUsed,
    /// Nothing new.
    Unchanged,
    /// Those that wait for this group, or an earlier one, may leave; there may be room for what was stalled.
    Durable(u64),
    /// None of them will ever be true: [`Service::retract`] says so in their place.
    Aborted,
    /// The same, and the server must stop.
    Fatal,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Names this connection; never reused for another one.
    pub id: PeerId,
    /// The index of the listener that took it, in the order they were given to the server; of a dialed connection,
    /// the one that took its dialer.
    pub listener: usize,
    /// The peer's socket address; unspecified when it has none (a Unix socket).
    pub address: SocketAddr,
    /// The local address that the peer connected to; unspecified for a dialed connection.
    pub local: SocketAddr,
    /// The verified client certificate's identity; `None` when none was shown or the socket is plain.
    pub identity: Option<Arc<Identity>>,
    /// What the peer may do: every request must be one that this allows.
    pub access: Access,
    /// What was agreed in the TLS handshake; `None` on a plain socket.
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

/// What one request may use: who asks, what the loop provides, and where the reply goes.
pub struct Exchange<'a> {
    /// Who asks.
    pub peer: &'a PeerInfo,
    /// The bounds that the framing must keep (`request_bytes` above all), the time, the counters.
    pub env: &'a mut Environment,
    pub(super) output: &'a mut Output,
}

impl Exchange<'_> {
    /// Where the encoded reply to this request goes: append to it. Order is kept behind earlier deferred replies.
    pub fn reply(&mut self) -> &mut Vec<u8> {
        self.output.replies.tail()
    }

    /// Leaves this request's reply open, to be completed later through [`Deferred`], from any thread.
    ///
    /// Replies to later requests wait behind it.
    pub fn defer(&mut self) -> Deferred {
        self.env.mailbox.deferred(self.peer.id, self.output.replies.defer())
    }

    /// Leaves this request's reply open as [`defer`](Self::defer) does, and serves no further request of this connection
    /// before it is complete: for what takes many turns, and must not be overtaken by what its client asks afterwards.
    pub fn defer_alone(&mut self) -> Deferred {
        self.env.mailbox.deferred(self.peer.id, self.output.replies.defer_alone())
    }

    /// Counts this request as `requests` more of its peer's share of the turn
    /// ([`requests_per_turn`](crate::limits::Limits::requests_per_turn)): for one that costs the loop as much as many.
    pub fn spend(&mut self, requests: usize) {
        self.output.served = self.output.served.saturating_add(requests);
    }

    /// Says for the log what more is known about why this connection ends; no key, no value, nothing its peer has sent.
    pub fn explain(&mut self, detail: impl Into<Box<str>>) {
        self.output.detail = Some(detail.into());
    }

    /// Holds the reply to this request, and all later ones, until [`Service::tick`] says that `group` is durable.
    pub fn hold(&mut self, group: u64) {
        let scratch = &mut self.env.scratch;
        self.output.replies.hold(group, || scratch.take());
    }

    /// How many more reply bytes fit before this peer is throttled. A streaming service (echo) answers no more than
    /// this at once; others may overshoot by one reply.
    #[must_use]
    pub fn room(&self) -> usize {
        self.env.limits.output_bytes.saturating_sub(self.output.replies.queued_bytes())
    }

    /// Asks for a connection to another server, linked to this one. A connection has one link at a time.
    ///
    /// No further request of this connection is decoded before the new one is open, with its handshake, if any, done:
    /// then it passes through [`Service::open`] like any other. If that fails,
    /// [`Service::unreachable`] is called for this one.
    pub fn dial(&mut self, dial: Dial) {
        self.env.effects.push(Effect::Dial { dialer: self.peer.id, dial: Box::new(dial) });
    }

    /// Sends `bytes` on the connection at the other end of the link, as many as it has room for, and returns how many.
    /// When it has no room, no request of this connection is decoded until it has.
    pub fn forward(&mut self, bytes: &[u8]) -> usize {
        let Some(link) = self.peer.link else { return 0 };
        let Environment { effects, scratch, .. } = &mut *self.env;
        effects.forward(link.peer(), bytes, || scratch.take())
    }

    /// Ends another connection, or this one, for `reason`, after what it is owed has been sent.
    pub fn disconnect(&mut self, peer: PeerId, reason: Disconnect) {
        self.env.effects.push(Effect::Disconnect { peer, reason });
    }
}
