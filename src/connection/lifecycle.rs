//! The states of a connection, on one page.
//!
//! A connection has three state machines. [`Phase`] is the connection as a whole; [`ReadState`] says why requests are
//! decoded or not while it is open; [`WriteShutdown`] says how far the end of its output has come. Each only moves as the
//! tables say; `tests/simulation` searches for sequences of events that break them.
//!
//! | phase | reads the socket | decodes | writes | left by | [`Timer`] |
//! |---|---|---|---|---|---|
//! | `Connecting` | no | no | no | the socket is connected (`Handshaking`), or failed (`Closed`) | `Connect` |
//! | `Handshaking` | yes | no | flights of the handshake | keys are agreed (`Open`), or an error that has an alert (`Draining`) | `Handshake` |
//! | `Open` | while requests are decoded | by `ReadState` | replies | `ReadState::Ended` (`Draining`) | `Header`, `Request`, `Idle`, `Write`, `HalfClose` |
//! | `Draining` | no | no | replies that are owed, close_notify, FIN | all is sent (`Lingering`, or `Closed` when the peer has sent FIN) | `Write`, `HalfClose` |
//! | `Lingering` | yes, and discards | no | no | the peer's FIN (`Closed`) | `Linger` |
//! | `Closed` | no | no | no | the slot is freed at the end of the turn | |
//!
//! Any phase becomes `Closed` when the socket fails or a limit closes the connection at once.
//!
//! | read state | why decoding has stopped | left when |
//! |---|---|---|
//! | `AwaitingInput` | the input holds no complete request | more plaintext arrives |
//! | `Paused` | this turn's share of requests is used up, or the replies are full | a later turn, once there is room for replies |
//! | `Throttled` | the connection at the other end of the link is not open yet, or has no room | it is, or has (`Connection::unthrottle`) |
//! | `Congested` | there is no room on the way to the disk for what the next request changes | a group is durable |
//! | `HalfClosed` | the peer has finished; the other direction of the link goes on | the link's output is finished too (`Ended`) |
//! | `Ended` | a reason is known | never |
//!
//! | write shutdown | next |
//! |---|---|
//! | `Open` | `Pending` when the link's other end has finished; `CloseNotifySent` when it was cut without close_notify, or when the last reply of a connection that ends is encrypted; `Withheld` when what was sent may not be all |
//! | `Pending` | `CloseNotifySent` behind the last byte that is owed |
//! | `CloseNotifySent`, `Withheld` | `FinSent` when the socket has taken everything |
//! | `FinSent` | |

use crate::disconnect::Disconnect;

/// The phase of a connection. It only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was dialed, and is not connected yet.
    Connecting,
    /// The handshake is under way.
    Handshaking,
    /// Requests are served.
    Open,
    /// No more requests; owed replies are being sent.
    Draining,
    /// Everything is sent, including FIN; the peer's end of stream is awaited, because a reset could destroy unread
    /// bytes.
    Lingering,
    /// The connection has ended: drop the socket.
    Closed,
}

/// Why requests of an open connection are decoded, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadState {
    /// The input holds no complete request: only more bytes help.
    AwaitingInput,
    /// Decoding has stopped although a request may be complete: too much is owed, or this turn's share is used up.
    Paused,
    /// Decoding has stopped until the connection at the other end of the link is open and has room.
    Throttled,
    /// Decoding has stopped until there is room for what the next request changes.
    Congested,
    /// The peer's input has ended, for this reason; forwarded bytes are still sent to it.
    HalfClosed(Disconnect),
    /// No further request will be served.
    Ended(Disconnect),
}

/// What a connection waits for with a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A connection that was dialed is not made yet ([`connect_timeout`](crate::limits::Limits::connect_timeout)).
    Connect,
    /// The handshake is not finished ([`handshake_timeout`](crate::limits::Limits::handshake_timeout)).
    Handshake,
    /// The head of a request has begun and not ended ([`header_timeout`](crate::limits::Limits::header_timeout)).
    Header,
    /// A request has begun and not ended ([`request_timeout`](crate::limits::Limits::request_timeout)).
    Request,
    /// No request has begun (the listener's idle timeout).
    Idle,
    /// The peer takes less than [`write_rate`](crate::limits::Limits::write_rate) bytes a second, judged over each
    /// [`write_timeout`](crate::limits::Limits::write_timeout).
    Write,
    /// One direction has ended and the other one rests ([`half_close_timeout`](crate::limits::Limits::half_close_timeout)).
    HalfClose,
    /// Everything is sent, and the peer has not closed its end
    /// ([`linger_timeout`](crate::limits::Limits::linger_timeout)).
    Linger,
}

impl Timer {
    /// Why the connection ends when the timer expires; `None` for a lingering one, whose reason is already known.
    pub(super) fn reason(self) -> Option<Disconnect> {
        match self {
            Self::Connect => Some(Disconnect::ConnectTimeout),
            Self::Handshake => Some(Disconnect::HandshakeTimeout),
            Self::Header => Some(Disconnect::HeaderTimeout),
            Self::Request => Some(Disconnect::RequestTimeout),
            Self::Idle => Some(Disconnect::Idle),
            Self::Write => Some(Disconnect::Stalled),
            Self::HalfClose => Some(Disconnect::HalfCloseTimeout),
            Self::Linger => None,
        }
    }
}

/// How far a connection is with the end of its output. It only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteShutdown {
    /// More may be sent.
    Open,
    /// Nothing will be added to the owed bytes, although requests may still be served.
    Pending,
    /// close_notify has been encrypted: it is the last thing that the session sends.
    CloseNotifySent,
    /// There is no close_notify, because the output may be incomplete.
    Withheld,
    /// FIN has been sent.
    FinSent,
}

/// What the owner of the socket must do after [`Connection::transmit`](super::Connection::transmit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmitted {
    /// Nothing.
    Done,
    /// Send FIN: nothing more will be written.
    ShutdownWrite,
}
