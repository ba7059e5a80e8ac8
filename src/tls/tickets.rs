//! Session tickets that record how long a client may resume without a full handshake.
//!
//! rustls resumes a session without calling any verifier, and issues new tickets in the resumed session, so a client
//! whose certificate was accepted once could otherwise resume without end. Here a ticket contains the time until which
//! the client's authentication is valid, set at its last full handshake and never extended by resuming. A ticket past
//! that time decrypts to nothing, and rustls then performs an ordinary full handshake.
//!
//! rustls encrypts the new ticket of a TLS 1.3 session when the client's Finished arrives, several reads after the old
//! one was decrypted, so state shared between connections could give one client the authentication of another. Each
//! handshake therefore has its own [`HandshakeTicketer`] around the keys that the listener's handshakes share.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::trust::{Authentication, Witness};

/// A longer session gets no ticket. A session contains the client's chain and returns in a ClientHello, which is
/// limited like other handshake messages; and a ticket of 64 KiB cannot be encoded (RFC 8446, 4.6.1).
const SESSION_BYTES: usize = 16 << 10;
/// The length of `until` and `anchor`, both big-endian, before the session in a ticket's plaintext.
const HEADER: usize = 12;
/// The anchor of a client without a certificate.
const ANONYMOUS: u32 = u32::MAX;

/// The ticket keys of one listener policy, and their clock.
#[derive(Clone, Debug)]
pub(crate) struct TicketKeys {
    pub(crate) keys: Arc<dyn ProducesTickets>,
    pub(crate) clock: Arc<dyn TimeProvider>,
    /// How long the authentication by a full handshake is valid.
    pub(crate) reauthenticate_after: Duration,
}

/// The ticketer of one handshake.
#[derive(Debug)]
pub(crate) struct HandshakeTicketer {
    pub(crate) shared: TicketKeys,
    pub(crate) witness: Witness,
}

impl HandshakeTicketer {
    fn now(&self) -> Option<u64> {
        Some(self.shared.clock.current_time()?.as_secs())
    }

    /// The anchor and expiry in this handshake's tickets.
    fn header(&self) -> Option<[u8; HEADER]> {
        let latest = self.now()?.saturating_add(self.shared.reauthenticate_after.as_secs());
        let (until, anchor) = match self.witness.authentication() {
            // A resumed session's own limit is earlier: it was set at its full handshake.
            Some(authentication) => (authentication.until.min(latest), u32::try_from(authentication.anchor).ok()?),
            None => (latest, ANONYMOUS),
        };
        let mut header = [0; HEADER];
        let (first, second) = header.split_at_mut(8);
        first.copy_from_slice(&until.to_be_bytes());
        second.copy_from_slice(&anchor.to_be_bytes());
        Some(header)
    }
}

impl ProducesTickets for HandshakeTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        let most = u32::try_from(self.shared.reauthenticate_after.as_secs()).unwrap_or(u32::MAX);
        self.shared.keys.lifetime().min(most)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if session.len() > SESSION_BYTES {
            return None;
        }
        let mut plain = Vec::with_capacity(HEADER + session.len());
        plain.extend_from_slice(&self.header()?);
        plain.extend_from_slice(session);
        self.shared.keys.encrypt(&plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let plain = self.shared.keys.decrypt(ticket)?;
        let (until, rest) = plain.split_first_chunk()?;
        let (anchor, session) = rest.split_first_chunk()?;
        let (until, anchor) = (u64::from_be_bytes(*until), u32::from_be_bytes(*anchor));
        if until < self.now()? {
            return None;
        }
        if anchor != ANONYMOUS {
            // A client may offer several tickets; rustls stops at the first it accepts, so the last one recorded is in
            // use. If a full handshake follows after all, it records its own result over it.
            self.witness.record(Ok(Authentication { anchor: usize::try_from(anchor).ok()?, until }));
        }
        Some(session.to_vec())
    }
}
