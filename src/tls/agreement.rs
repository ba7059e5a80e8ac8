//! What both ends of a session have agreed on.

use super::key_exchange::is_post_quantum;

/// The negotiated parameters of a session.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Agreement {
    /// Full, full after a HelloRetryRequest, or resumed.
    pub kind: rustls::HandshakeKind,
    /// TLS 1.2 or 1.3.
    pub version: rustls::ProtocolVersion,
    /// The cipher suite.
    pub suite: rustls::CipherSuite,
    /// The key-exchange group; `None` for a TLS 1.2 resumption, which exchanges no keys.
    pub group: Option<rustls::NamedGroup>,
}

impl Agreement {
    /// Whether the key exchange had no post-quantum part.
    #[must_use]
    pub fn is_classical(&self) -> bool {
        self.group.is_some_and(|group| !is_post_quantum(group))
    }
}
