//! Session tickets that remember how long the client may go on without proving itself again.
//!
//! rustls resumes a session without asking any verifier, and gives the resumed session fresh tickets, so left alone a
//! client whose certificate was accepted once could come back for ever. Here a ticket carries the moment until which
//! the client's authentication holds, fixed at its last full handshake and never moved by resuming. A ticket past it
//! decrypts to nothing, and rustls then makes an ordinary full handshake.
//!
//! rustls encrypts the new ticket of a TLS 1.3 session when the client's Finished arrives, several reads after the old
//! one was decrypted, so state shared between connections could hand one client the authentication of another. Each
//! handshake therefore has its own [`HandshakeTicketer`] around the keys that the listener's handshakes share.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::trust::{Authentication, Witness};

/// A session longer than this gets no ticket. It holds the client's chain, and comes back in a ClientHello, which may not be
/// longer than other messages of a handshake; nor can a ticket of 64 KiB be written at all (RFC 8446, 4.6.1).
const SESSION_BYTES: usize = 16 << 10;
/// Before the session in a ticket's plaintext: `until` and `anchor`, both big-endian.
const HEADER: usize = 12;
/// The anchor of a client that showed no certificate.
const ANONYMOUS: u32 = u32::MAX;

/// The ticket keys of one listener policy, and the clock they are judged by.
#[derive(Clone, Debug)]
pub(crate) struct TicketKeys {
    pub(crate) keys: Arc<dyn ProducesTickets>,
    pub(crate) clock: Arc<dyn TimeProvider>,
    /// How long a full handshake's authentication lasts.
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

    /// What this handshake's tickets may vouch for, and how long.
    fn header(&self) -> Option<[u8; HEADER]> {
        let latest = self.now()?.saturating_add(self.shared.reauthenticate_after.as_secs());
        let (until, anchor) = match self.witness.authentication() {
            // A resumed session's own limit is the earlier one already: it was fixed at its full handshake.
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
            // A client may offer several tickets; rustls stops at the first it accepts, so the last recorded is the
            // one in use, and a full handshake that follows after all records its own verdict over it.
            self.witness.record(Ok(Authentication { anchor: usize::try_from(anchor).ok()?, until }));
        }
        Some(session.to_vec())
    }
}
