//! A TLS client in memory.

use crate::tls::{Outgoing, Session};

/// A client's session with the bytes that it retains: bytes of the wire go in and come out.
pub struct TestClient {
    session: Session,
    retained: Vec<u8>,
    /// The plaintext that has arrived.
    pub received: Vec<u8>,
    /// Why the session has failed, if it has.
    pub error: Option<rustls::Error>,
}

impl TestClient {
    /// A client that has sent and received nothing.
    pub fn new(session: Session) -> Self {
        Self { session, retained: Vec::new(), received: Vec::new(), error: None }
    }

    /// Takes all `bytes` from the server. Returns the bytes to be sent to it: the ClientHello at the first call, even
    /// without input, and later flights.
    pub fn receive(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        self.retained.append(bytes);
        let mut output = Outgoing::default();
        loop {
            let received = &mut self.received;
            let outcome =
                self.session.receive(&mut self.retained, &mut output, &mut |bytes| received.extend_from_slice(bytes));
            self.retained.drain(..outcome.consumed);
            self.error = self.error.take().or(outcome.error);
            if !outcome.opened {
                return output.filled().to_vec();
            }
        }
    }

    /// The bytes that carry `plaintext` to the server.
    pub fn send(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut output = Outgoing::default();
        self.session.send(plaintext, &mut self.retained, &mut output).expect("an open session");
        output.filled().to_vec()
    }

    /// The bytes of close_notify.
    pub fn close(&mut self) -> Vec<u8> {
        let mut output = Outgoing::default();
        self.session.send_close_notify(&mut self.retained, &mut output).expect("an open session");
        output.filled().to_vec()
    }

    /// Whether its handshake is not finished.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the server has sent close_notify.
    pub fn peer_closed(&self) -> bool {
        self.session.peer_closed()
    }
}
