//! A session with the bytes that it has not consumed: the one owner of the rule that they must be given to it again.

use std::sync::Arc;

use super::certificate::MalformedCertificate;
use super::identity::Identity;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::policy::ServerPolicy;
use super::session::Session;

/// One end of a connection's encryption: ciphertext in, plaintext and ciphertext out. It does no I/O and owns no
/// buffer except for retained bytes: the beginning of a record or of a handshake message, until its rest arrives.
///
/// For each piece of the peer's bytes:
///
/// 1. [`prepare`](Self::prepare) puts the retained bytes into an [`Incoming`];
/// 2. the owner appends the new ones;
/// 3. [`receive`](Self::receive) is called, and again as long as it returns [`Progress::Opened`];
/// 4. the owner writes what was appended to the [`Outgoing`] to the peer.
///
/// Then sending is allowed. A client begins with the same steps without new bytes: the output is its ClientHello.
#[derive(Debug)]
pub struct Channel {
    session: Session,
    /// The bytes of the peer that the session has not consumed. rustls is given exactly these in every call, writes
    /// included: it keeps offsets into them while a handshake message is incomplete.
    retained: Vec<u8>,
}

/// The result of [`Channel::receive`].
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// All bytes are consumed or retained: the peer's next bytes are needed.
    Waiting,
    /// The handshake has just finished. Bytes behind it are not processed and not retained yet: call
    /// [`Channel::receive`] again with the same input, before anything is sent.
    Opened,
    /// The session has failed; its final alert, if any, is in the output. Later input is discarded, and sending fails.
    Failed(rustls::Error),
}

impl Channel {
    /// A channel that has received nothing.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session, retained: Vec::new() }
    }

    /// What was negotiated, and whether the session is handshaking, closed by the peer, or failed.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Replaces the contents of `input` by the retained bytes. The peer's next bytes must follow them.
    #[inline]
    pub fn prepare(&self, input: &mut Incoming) {
        input.clear();
        if self.is_mid_record() {
            input.append(&self.retained);
        }
    }

    /// Processes the unread bytes of `input` in place: passes plaintext to `deliver`, appends bytes to be sent
    /// (handshake flights, tickets, alerts) to `output`, and retains what is incomplete.
    pub fn receive(&mut self, input: &mut Incoming, output: &mut Outgoing, deliver: &mut dyn FnMut(&[u8])) -> Progress {
        let received = self.session.receive(input.unread_mut(), output, deliver);
        input.consume(received.consumed);
        match received.error {
            Some(error) => {
                self.release(input);
                Progress::Failed(error)
            }
            None if received.opened => Progress::Opened,
            None => {
                self.retain(input);
                Progress::Waiting
            }
        }
    }

    /// Retains the unread bytes of `input` without processing them: what must come before them is incomplete too.
    pub fn retain(&mut self, input: &mut Incoming) {
        if input.unread().is_empty() {
            return self.release(input);
        }
        if self.retained.capacity() == 0 {
            self.retained = std::mem::take(&mut input.spare);
        }
        self.retained.clear();
        self.retained.extend_from_slice(input.unread());
    }

    /// Retains nothing more, and leaves the memory to the next channel that does.
    fn release(&mut self, input: &mut Incoming) {
        if self.retained.capacity() > 0 {
            self.retained.clear();
            input.spare = std::mem::take(&mut self.retained);
        }
    }

    /// Encrypts `plaintext` into `output`.
    pub fn send(&mut self, plaintext: &[u8], output: &mut Outgoing) -> Result<(), rustls::Error> {
        self.session.send(plaintext, &mut self.retained, output)
    }

    /// Encrypts a close_notify (RFC 8446, 6.1) into `output`: nothing more will be sent.
    pub fn send_close_notify(&mut self, output: &mut Outgoing) -> Result<(), rustls::Error> {
        self.session.send_close_notify(&mut self.retained, output)
    }

    /// Sets the longest handshake message, in bytes. A longer one, by its declared length, fails the handshake.
    pub fn set_max_handshake(&mut self, bytes: usize) {
        self.session.set_max_handshake(bytes);
    }

    /// The client's identity, once the handshake is done; `None` if it presented no certificate. Call it once: it drops
    /// the handshake's state.
    pub fn identify(&mut self) -> Result<Option<Identity>, MalformedCertificate> {
        self.session.identify()
    }

    /// The policy under which a client's handshake began. Call it once, when the handshake is done.
    pub fn begun_under(&mut self) -> Option<Arc<ServerPolicy>> {
        self.session.begun_under()
    }

    /// Whether it retains bytes: the peer has begun a record and not ended it.
    #[must_use]
    pub fn is_mid_record(&self) -> bool {
        !self.retained.is_empty()
    }

    /// Heap bytes held outside the TLS library.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.retained.capacity()
    }

    /// Counts `records` more records as encrypted.
    #[cfg(test)]
    pub(crate) fn wear(&mut self, records: u64) {
        self.session.wear(records);
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
