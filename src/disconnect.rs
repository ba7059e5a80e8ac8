//! Why a connection ended.

/// Declares the reasons: each with its name in the log and in counters.
macro_rules! reasons {
    ($($(#[$attribute:meta])* $reason:ident = $name:literal,)+) => {
        /// Why a connection ended: the complete list. The same names label the log line and the counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Disconnect {
            $($(#[$attribute])* $reason,)+
        }

        impl Disconnect {
            /// Every reason, in the order of the counters.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$reason),+];

            /// The reason's name in logs and counters.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// The peer ended the connection in order (close_notify, or FIN on a plain socket).
    PeerClosed = "peer_closed",
    /// The service closed it after its last reply (`Connection: close`, `QUIT`).
    Finished = "finished",
    /// FIN without close_notify (RFC 8446, 6.1) between requests; harmless where requests carry their length.
    NoCloseNotify = "no_close_notify",
    /// FIN in the middle of a request or of the handshake.
    CutOff = "cut_off",
    /// Bytes that are not the listener's protocol.
    Malformed = "malformed",
    /// A request or header larger than its limit.
    TooLarge = "too_large",
    /// The peer's bytes are not TLS, most often plain HTTP or RESP sent to a TLS port.
    NotTls = "not_tls",
    /// The TLS handshake failed for another reason.
    Handshake = "handshake",
    /// The peer's certificate was missing or not accepted.
    Certificate = "certificate",
    /// The peer's chain has more certificates than are verified, or too many possible paths.
    Chain = "chain",
    /// The peer sent a fatal TLS alert.
    Alert = "alert",
    /// The keys of the connection have encrypted as much as they may, and TLS 1.2 cannot renew them.
    KeyLimit = "key_limit",
    /// A TLS record failed after the handshake.
    Tls = "tls",
    /// The handshake did not finish in time.
    HandshakeTimeout = "handshake_timeout",
    /// A connection to another server was not made in time.
    ConnectTimeout = "connect_timeout",
    /// A request did not finish arriving in time.
    RequestTimeout = "request_timeout",
    /// The head of a request did not finish arriving in time.
    HeaderTimeout = "header_timeout",
    /// No request arrived within the idle time.
    Idle = "idle",
    /// One direction had ended, and nothing moved in the other one in time.
    HalfCloseTimeout = "half_close_timeout",
    /// The peer did not take its replies in time.
    Stalled = "stalled",
    /// More replies were waiting for the peer than one peer may be owed.
    OutputLimit = "output_limit",
    /// Over the limit on all connections.
    Refused = "refused",
    /// Its address has too many connections, or too many handshakes under way.
    AddressLimit = "address_limit",
    /// No rule grants access to the peer's identity.
    Denied = "denied",
    /// The peer's certificate was revoked or lost its rule while it was connected.
    Revoked = "revoked",
    /// Closed or refused to keep the limit on the memory of all clients.
    Memory = "memory",
    /// Closed by an administrator's command.
    Killed = "killed",
    /// The server is stopping.
    Shutdown = "shutdown",
    /// The socket was reset.
    Reset = "reset",
    /// Another socket error.
    Io = "io",
    /// The backend that this connection is linked to could not be reached, or was lost.
    Upstream = "upstream",
    /// The service dropped a deferred reply, or wrote nothing for one that it took back, so no later reply could be sent in
    /// order.
    Abandoned = "abandoned",
}
