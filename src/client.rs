//! A blocking TLS client over any stream, for programs that do one thing at a time.

use std::io::{self, Read, Write};

use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use crate::tls::{Channel, ClientPolicy, Incoming, Outgoing, Progress, Refusal, Session};

/// Bytes read from the stream in one call.
const READ_BYTES: usize = 64 << 10;

/// A TLS connection whose handshake is done.
///
/// It reads and writes plaintext. A read returns `Ok(0)` after the server's close_notify; an end of stream without
/// close_notify is an error, since data may be missing (RFC 8446, 6.1). Time limits are those of the stream.
pub struct Client<T> {
    stream: T,
    channel: Channel,
    policy: ClientPolicy,
    output: Outgoing,
    /// Plaintext received, and the position up to which it was read.
    received: Vec<u8>,
    taken: usize,
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The stream failed.
    #[error("the connection broke: {0}")]
    Stream(io::Error),
    /// The stream's time limit passed during the handshake.
    #[error("the server does not complete a TLS handshake in time: is it a TLS server?")]
    Silent,
    /// The stream's time limit passed after the handshake.
    #[error("the server did not answer in time")]
    Late,
    /// The stream ended without close_notify.
    #[error("the server closed the connection without close_notify; data may be missing")]
    HungUp,
    /// The first bytes from the server are not TLS.
    #[error("this port does not speak TLS")]
    NotTls,
    /// The server's certificate is rejected.
    #[error("server certificate rejected: {0}")]
    Refused(Refusal),
    /// The server sent a fatal alert.
    #[error("the server refused the connection (alert {0:?})")]
    Alert(AlertDescription),
    /// The session failed for another reason.
    #[error("{}", crate::tls::in_words(.0))]
    Tls(rustls::Error),
}

impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Stream(error) => error,
            ClientError::Silent | ClientError::Late => Self::new(io::ErrorKind::TimedOut, error),
            ClientError::HungUp => Self::new(io::ErrorKind::UnexpectedEof, error),
            error => Self::other(error),
        }
    }
}

impl<T: Read + Write> Client<T> {
    /// Performs the handshake with the server `name` at the other end of `stream`.
    pub fn handshake(stream: T, policy: ClientPolicy, name: ServerName<'static>) -> Result<Self, ClientError> {
        let session = Session::client(policy.config(), name).map_err(ClientError::Tls)?;
        let (channel, output) = (Channel::new(session), Outgoing::default());
        let mut client = Self { stream, channel, policy, output, received: Vec::new(), taken: 0 };
        let mut hello = client.decrypt(&[])?;
        loop {
            client.write(&hello)?;
            if !client.channel.session().is_handshaking() {
                return Ok(client);
            }
            hello = client.advance()?;
        }
    }

    /// Encrypts and sends.
    pub fn send(&mut self, plaintext: &[u8]) -> Result<(), ClientError> {
        let bytes = self.encrypt(plaintext)?;
        self.write(&bytes)
    }

    /// Waits for plaintext or close_notify.
    fn wait(&mut self) -> Result<(), ClientError> {
        while self.taken == self.received.len() && !self.channel.session().peer_closed() {
            self.received.clear();
            self.taken = 0;
            let answer = self.advance()?;
            self.write(&answer)?;
        }
        Ok(())
    }

    /// Reads the stream once. Returns the bytes to send in answer.
    fn advance(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = vec![0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ClientError::HungUp),
            Ok(count) => self.decrypt(bytes.get(..count).unwrap_or_default()),
            Err(error) => Err(self.stream_failed(error)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(bytes).map_err(|error| self.stream_failed(error))
    }

    /// Whether the stream failed, or its time limit passed: that of a write is the server's fault too.
    fn stream_failed(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if self.channel.session().is_handshaking() => {
                ClientError::Silent
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Late,
            _ => ClientError::Stream(error),
        }
    }

    /// Decrypts `bytes` from the server; the plaintext is then available to [`take_plaintext`](Self::take_plaintext)
    /// and [`Read`]. Returns the bytes to send in answer, often none.
    pub fn decrypt(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ClientError> {
        let mut input = Incoming::default();
        self.channel.prepare(&mut input);
        input.append(bytes);
        loop {
            let plaintext = &mut self.received;
            let mut deliver = |piece: &[u8]| plaintext.extend_from_slice(piece);
            match self.channel.receive(&mut input, &mut self.output, &mut deliver) {
                Progress::Opened => {}
                Progress::Waiting => return Ok(self.take_output()),
                Progress::Failed(error) => {
                    // The server may or may not get the alert; the caller gets the error in either case.
                    let alert = self.take_output();
                    let _ = self.stream.write_all(&alert);
                    return Err(self.explain(error, bytes));
                }
            }
        }
    }

    /// The encrypted form of `plaintext`, to be sent.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.channel.send(plaintext, &mut self.output).map_err(ClientError::Tls)?;
        Ok(self.take_output())
    }

    /// An encrypted close_notify, to be sent.
    pub fn encrypt_close_notify(&mut self) -> Result<Vec<u8>, ClientError> {
        self.channel.send_close_notify(&mut self.output).map_err(ClientError::Tls)?;
        Ok(self.take_output())
    }

    /// Sends close_notify. Reading goes on.
    pub fn finish(&mut self) -> Result<(), ClientError> {
        let farewell = self.encrypt_close_notify()?;
        self.write(&farewell)
    }

    /// All plaintext that has arrived and was not read.
    pub fn take_plaintext(&mut self) -> Vec<u8> {
        let mut plaintext = std::mem::take(&mut self.received);
        plaintext.drain(..std::mem::take(&mut self.taken).min(plaintext.len()));
        plaintext
    }

    /// The underlying stream.
    pub fn stream(&self) -> &T {
        &self.stream
    }

    /// The underlying stream, to set its time limits.
    pub fn stream_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// The session: what was negotiated, and the server's certificates.
    pub(crate) fn session(&self) -> &Session {
        self.channel.session()
    }

    fn take_output(&mut self) -> Vec<u8> {
        let bytes = self.output.filled().to_vec();
        self.output.clear();
        bytes
    }

    fn explain(&self, error: rustls::Error, input: &[u8]) -> ClientError {
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        let is_first = self.channel.session().is_handshaking() && self.channel.session().peer_certificates().is_empty();
        let looks_like_tls = input.first().is_some_and(|kind| [ALERT, HANDSHAKE].contains(kind));
        match error {
            rustls::Error::InvalidCertificate(_) => match self.policy.refusal() {
                Some(refusal) => ClientError::Refused(refusal),
                None => ClientError::Tls(error),
            },
            rustls::Error::AlertReceived(alert) => ClientError::Alert(alert),
            rustls::Error::InvalidMessage(_) if is_first && !looks_like_tls => ClientError::NotTls,
            error => ClientError::Tls(error),
        }
    }
}

impl<T: Read + Write> Read for Client<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        let count = self.received.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

impl<T: Read + Write> Write for Client<T> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.send(plaintext)?;
        Ok(plaintext.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientOptions;

    /// A stream whose time limit has passed.
    struct Overdue;

    impl Read for Overdue {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    impl Write for Overdue {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_time_limit_that_passes_before_the_hello_is_sent_is_reported_as_such() {
        let policy = ClientPolicy::new(&ClientOptions { insecure: true, ..ClientOptions::default() }).expect("options");
        let name = ServerName::try_from("localhost").expect("a name");
        let outcome = Client::handshake(Overdue, policy, name).map(|_| ());
        assert!(matches!(outcome, Err(ClientError::Silent)), "{outcome:?}");
    }
}
