//! Where a connection is in its life, and in its good-byes.

/// Where a connection is in its life. It only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was dialed, and has not been taken yet.
    Connecting,
    /// Keys are being agreed.
    Handshaking,
    /// Requests are served.
    Open,
    /// No more requests; what is owed is being sent.
    Draining,
    /// All is sent, FIN too; the peer's end of stream is awaited, for a reset could destroy what it has not read.
    Lingering,
    /// Over: drop the socket.
    Closed,
}

/// How far a connection is with the end of what it sends. It only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteShutdown {
    /// More may be sent.
    Open,
    /// Nothing will be added to what is owed, although the peer may be served still.
    Pending,
    /// close_notify has been encrypted, or is withheld: it is the last thing the session sends.
    CloseNotifySent,
    /// There is none: what was sent may not be all.
    Withheld,
    /// So has FIN been sent.
    FinSent,
}

/// What the owner of the socket must do after [`Connection::transmit`](super::Connection::transmit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmitted {
    /// Nothing.
    Done,
    /// Send FIN: nothing will be written any more.
    ShutdownWrite,
}
