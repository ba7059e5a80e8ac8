//! A TLS client in memory.

use crate::tls::{Channel, Incoming, Outgoing, Progress, Session};

/// A client's channel and its buffer: bytes of the wire go in and come out.
pub struct TestClient {
    channel: Channel,
    input: Incoming,
    /// The plaintext that has arrived.
    pub received: Vec<u8>,
    /// Why the session has failed, if it has.
    pub error: Option<rustls::Error>,
}

impl TestClient {
    /// A client that has sent and received nothing.
    pub fn new(session: Session) -> Self {
        Self { channel: Channel::new(session), input: Incoming::default(), received: Vec::new(), error: None }
    }

    /// Takes all `bytes` from the server. Returns the bytes to be sent to it: the ClientHello at the first call, even
    /// without input, and later flights.
    pub fn receive(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let Self { channel, input, received, error } = self;
        channel.prepare(input);
        input.append(bytes);
        bytes.clear();
        let mut output = Outgoing::default();
        loop {
            match channel.receive(input, &mut output, &mut |plaintext| received.extend_from_slice(plaintext)) {
                Progress::Opened => {}
                Progress::Waiting => break,
                Progress::Failed(failure) => {
                    *error = Some(failure);
                    break;
                }
            }
        }
        output.filled().to_vec()
    }

    /// The bytes that carry `plaintext` to the server.
    pub fn send(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut output = Outgoing::default();
        self.channel.send(plaintext, &mut output).expect("an open session");
        output.filled().to_vec()
    }

    /// The bytes of close_notify.
    pub fn close(&mut self) -> Vec<u8> {
        let mut output = Outgoing::default();
        self.channel.send_close_notify(&mut output).expect("an open session");
        output.filled().to_vec()
    }

    /// Whether its handshake is not finished.
    pub fn is_handshaking(&self) -> bool {
        self.channel.session().is_handshaking()
    }

    /// Whether the server has sent close_notify.
    pub fn peer_closed(&self) -> bool {
        self.channel.session().peer_closed()
    }
}
