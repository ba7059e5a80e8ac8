//! One connection of the harness, sans I/O: its session, its requests in flight, its replies.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustls::Error;

use super::codec::{ProtocolCodec, ReplyCheck, RequestTemplate};
use super::outcome::RequestFailure;
use super::workload::Operation;
use crate::tls::{Channel, Incoming, Outgoing, Progress, Session};

/// Bytes read from a socket at once: four records of the largest size.
const READ_BYTES: usize = 64 << 10;

/// A request that was sent, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SentRequest {
    /// What it asks.
    pub operation: Operation,
    /// When it was due, since the schedule's start.
    pub intended: Duration,
    /// When it was sent.
    pub sent: Duration,
    /// Whether it counts, or is part of the warm-up.
    pub measured: bool,
}

/// The buffers of one loop, lent to each of its connections in turn. `output` is empty between two of them.
#[derive(Debug)]
pub struct LoopBuffers {
    input: Incoming,
    output: Outgoing,
    /// What [`LoadConnection::receive`] decoded, in the order of the requests.
    pub answers: Vec<(SentRequest, ReplyCheck)>,
}

impl Default for LoopBuffers {
    fn default() -> Self {
        Self { input: Incoming::with_size(2 * READ_BYTES), output: Outgoing::default(), answers: Vec::new() }
    }
}

/// The result of reading from the socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOutcome {
    /// Bytes read.
    pub bytes: usize,
    /// Bytes of application data among them: a ticket, for example, is TLS's own and comes before any answer.
    pub plaintext: usize,
    /// The handshake has just finished.
    pub opened: bool,
    /// The server will send no more.
    pub ended: bool,
}

/// The client's end of one connection.
///
/// Its owner calls [`receive`](Self::receive) when there may be something to read, [`request`](Self::request) when
/// something is due, and [`transmit`](Self::transmit) after either. After an error it is of no further use.
#[derive(Debug)]
pub struct LoadConnection {
    channel: Channel,
    replies: Replies,
    /// Encoded requests that are not encrypted yet.
    requests: Vec<u8>,
    /// Encrypted bytes that the socket did not take.
    unsent: Vec<u8>,
}

/// The plaintext half: the awaited replies, and the bytes of the first of them that have come.
#[derive(Debug)]
struct Replies {
    codec: ProtocolCodec,
    undecoded: Vec<u8>,
    awaited: VecDeque<SentRequest>,
    keep_alive: bool,
    failure: Option<RequestFailure>,
    /// The text of an error that came before any request.
    refusal: Option<String>,
}

impl LoadConnection {
    /// A new connection, speaking `codec` through `session`.
    #[must_use]
    pub fn new(session: Session, codec: ProtocolCodec) -> Self {
        let replies = Replies {
            codec,
            undecoded: Vec::new(),
            awaited: VecDeque::new(),
            keep_alive: true,
            failure: None,
            refusal: None,
        };
        Self { channel: Channel::new(session), replies, requests: Vec::new(), unsent: Vec::new() }
    }

    /// The TLS side of it.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.channel.session()
    }

    /// Requests without a reply, the oldest first.
    #[must_use]
    pub fn awaited(&self) -> &VecDeque<SentRequest> {
        &self.replies.awaited
    }

    /// Requests that waited for the connection are sent now, `at`.
    pub fn sent_at(&mut self, at: Duration) {
        self.replies.awaited.iter_mut().for_each(|request| request.sent = at);
    }

    /// Takes the requests without a reply: the connection has failed.
    pub fn abandon(&mut self) -> VecDeque<SentRequest> {
        std::mem::take(&mut self.replies.awaited)
    }

    /// The error with which the server has turned the connection away before any request.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.replies.refusal.as_deref()
    }

    /// Whether the server lets further requests follow on this connection.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.replies.keep_alive
    }

    /// The socket is connected: the handshake, if any, begins.
    pub fn begin(&mut self, buffers: &mut LoopBuffers) -> Result<(), RequestFailure> {
        self.channel.prepare(&mut buffers.input);
        match self.channel.receive(&mut buffers.input, &mut buffers.output, &mut |_| {}) {
            Progress::Waiting | Progress::Opened => Ok(()),
            Progress::Failed(error) => Err(failure_of_tls(&error)),
        }
    }

    /// Reads what there is and decodes it into `buffers.answers`. With `to_end`, a short read is not taken as the last.
    pub fn receive(
        &mut self,
        socket: &mut impl Read,
        to_end: bool,
        buffers: &mut LoopBuffers,
        template: &RequestTemplate,
    ) -> Result<ReadOutcome, RequestFailure> {
        let mut outcome = ReadOutcome::default();
        loop {
            self.channel.prepare(&mut buffers.input);
            let space = buffers.input.space(READ_BYTES);
            let room = space.len();
            let count = match socket.read(space) {
                Ok(0) => {
                    outcome.ended = true;
                    self.replies.end(template, &mut buffers.answers);
                    return self.replies.failure.map_or(Ok(outcome), Err);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(outcome),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failure_of_socket(&error)),
            };
            buffers.input.advance(count);
            outcome.bytes += count;
            self.take_in(&mut outcome, buffers, template)?;
            let is_drained = count < room && !to_end;
            if is_drained {
                return Ok(outcome);
            }
        }
    }

    /// Decrypts and decodes `buffers.input`.
    fn take_in(
        &mut self,
        outcome: &mut ReadOutcome,
        buffers: &mut LoopBuffers,
        template: &RequestTemplate,
    ) -> Result<(), RequestFailure> {
        let LoopBuffers { input, output, answers } = buffers;
        let replies = &mut self.replies;
        loop {
            let progress = self.channel.receive(input, output, &mut |plain| {
                outcome.plaintext += plain.len();
                replies.deliver(plain, template, answers);
            });
            match progress {
                Progress::Opened => outcome.opened = true,
                Progress::Waiting => break,
                Progress::Failed(error) => return Err(failure_of_tls(&error)),
            }
        }
        self.replies.failure.map_or(Ok(()), Err)
    }

    /// Adds a request to those that are sent next.
    pub fn request(&mut self, request: SentRequest, template: &RequestTemplate) {
        self.replies.codec.encode(request.operation, template, &mut self.requests);
        self.replies.awaited.push_back(request);
    }

    /// Announces that no more requests come (`close_notify`).
    pub fn close(&mut self, buffers: &mut LoopBuffers) -> Result<(), RequestFailure> {
        self.channel.send_close_notify(&mut buffers.output).map_err(|error| failure_of_tls(&error))
    }

    /// Writes pending bytes as far as the socket takes them; returns how many.
    pub fn transmit(&mut self, socket: &mut impl Write, buffers: &mut LoopBuffers) -> Result<usize, RequestFailure> {
        if !self.requests.is_empty() && !self.channel.session().is_handshaking() {
            let sent = self.channel.send(&self.requests, &mut buffers.output);
            self.requests.clear();
            sent.map_err(|error| failure_of_tls(&error))?;
        }
        let result = self.write(socket, buffers);
        buffers.output.clear();
        result
    }

    /// The connection has failed or is given up: an alert and other pending bytes are written if possible. None may stay
    /// in the buffers, which the next connection uses.
    pub fn flush_alert(&mut self, socket: &mut impl Write, buffers: &mut LoopBuffers) {
        let _ = self.write(socket, buffers);
        buffers.output.clear();
    }

    fn write(&mut self, socket: &mut impl Write, buffers: &mut LoopBuffers) -> Result<usize, RequestFailure> {
        let mut written = 0;
        if !self.unsent.is_empty() {
            written = write_all(socket, &self.unsent)?;
            self.unsent.drain(..written);
        }
        let fresh = buffers.output.filled();
        let mut taken = 0;
        if self.unsent.is_empty() && !fresh.is_empty() {
            taken = write_all(socket, fresh)?;
        }
        self.unsent.extend_from_slice(fresh.get(taken..).unwrap_or_default());
        Ok(written + taken)
    }
}

/// Writes until all is written or the socket takes no more; returns how much it took.
fn write_all(socket: &mut impl Write, bytes: &[u8]) -> Result<usize, RequestFailure> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failure_of_socket(&error)),
        }
    }
    Ok(written)
}

impl Replies {
    fn deliver(&mut self, plaintext: &[u8], template: &RequestTemplate, answers: &mut Vec<(SentRequest, ReplyCheck)>) {
        // Without requests, bytes that a server sends of its own accord (a greeting, a refusal) are no answer.
        if self.failure.is_some() || matches!(self.codec, ProtocolCodec::HandshakeOnly) {
            return;
        }
        if self.undecoded.is_empty() {
            let used = self.decode(plaintext, template, answers);
            self.undecoded.extend_from_slice(plaintext.get(used..).unwrap_or_default());
        } else {
            let mut input = std::mem::take(&mut self.undecoded);
            input.extend_from_slice(plaintext);
            let used = self.decode(&input, template, answers);
            input.drain(..used);
            self.undecoded = input;
        }
    }

    /// No more bytes come: a reply may be complete by that alone (RFC 9112, 6.3).
    fn end(&mut self, template: &RequestTemplate, answers: &mut Vec<(SentRequest, ReplyCheck)>) {
        let Some(request) = self.awaited.front().filter(|_| self.failure.is_none()) else { return };
        if !self.undecoded.is_empty() {
            match self.codec.decode(&self.undecoded, request.operation, template, true) {
                Ok(Some(decoded)) => {
                    self.keep_alive = false;
                    answers.extend(self.awaited.pop_front().map(|request| (request, decoded.answer)));
                }
                Ok(None) => {}
                Err(failure) => self.failure = Some(failure),
            }
        }
    }

    fn decode(
        &mut self,
        input: &[u8],
        template: &RequestTemplate,
        answers: &mut Vec<(SentRequest, ReplyCheck)>,
    ) -> usize {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let Some(request) = self.awaited.front() else {
                match self.codec.decode_refusal(rest) {
                    Ok(None) => {}
                    Ok(refusal) => (self.refusal, self.failure) = (refusal, Some(RequestFailure::ErrorReply)),
                    Err(failure) => self.failure = Some(failure),
                }
                break;
            };
            match self.codec.decode(rest, request.operation, template, false) {
                Ok(None) => break,
                Ok(Some(decoded)) => {
                    used += decoded.used;
                    self.keep_alive &= decoded.keep_alive;
                    answers.extend(self.awaited.pop_front().map(|request| (request, decoded.answer)));
                }
                Err(failure) => {
                    self.failure = Some(failure);
                    break;
                }
            }
        }
        used
    }
}

/// The failure that an error of a socket stands for.
#[must_use]
pub fn failure_of_socket(error: &io::Error) -> RequestFailure {
    use io::ErrorKind;
    match (error.kind(), error.raw_os_error()) {
        (_, Some(libc::EMFILE | libc::ENFILE)) => RequestFailure::Descriptors,
        (ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse, _) => RequestFailure::Ports,
        (ErrorKind::ConnectionRefused, _) => RequestFailure::Refused,
        (ErrorKind::TimedOut, _) => RequestFailure::ConnectTimeout,
        (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted, _) => RequestFailure::Reset,
        _ => RequestFailure::Unreachable,
    }
}

fn failure_of_tls(error: &Error) -> RequestFailure {
    use rustls::CertificateError as Refused;
    match error {
        Error::InvalidCertificate(Refused::NotValidForName | Refused::NotValidForNameContext { .. }) => {
            RequestFailure::CertificateName
        }
        Error::InvalidCertificate(
            Refused::Expired
            | Refused::ExpiredContext { .. }
            | Refused::NotValidYet
            | Refused::NotValidYetContext { .. },
        ) => RequestFailure::CertificateTime,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => RequestFailure::Certificate,
        Error::AlertReceived(_) => RequestFailure::Alert,
        _ => RequestFailure::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::workload::{ValueSizes, Values};
    use crate::protocol::resp::ReplyScanner;

    /// Failure and refusal after `pieces`, each as much as one read gives, before any request.
    fn unasked(codec: ProtocolCodec, pieces: &[&[u8]]) -> (Option<RequestFailure>, Option<String>) {
        let template = RequestTemplate::new(Values::new(&ValueSizes::Fixed(8), 1), String::new());
        let (mut client, mut buffers) = (LoadConnection::new(Session::plain(), codec), LoopBuffers::default());
        client.begin(&mut buffers).expect("begun");
        let hear = |mut piece: &[u8]| client.receive(&mut piece, false, &mut buffers, &template).err();
        let failure = pieces.iter().copied().find_map(hear);
        (failure, client.refusal().map(str::to_owned))
    }

    #[test]
    fn an_unasked_error_is_reported_with_its_text() {
        let resp = || ProtocolCodec::Resp(ReplyScanner::default());
        let refused = (Some(RequestFailure::ErrorReply), Some("NOPERM no rule".to_owned()));
        assert_eq!(unasked(resp(), &[b"-NOPERM no rule\r\n"]), refused);
        assert_eq!(unasked(resp(), &[b"-NOP", b"ERM no rule\r", b"\n"]), refused);
        assert_eq!(unasked(resp(), &[b"!14\r\nNOPERM no rule\r\n"]), refused);
        assert_eq!(unasked(resp(), &[b"-NOPERM"]), (None, None), "there may be more");
        assert_eq!(unasked(resp(), &[b"+OK\r\n"]), (Some(RequestFailure::Malformed), None));
        assert_eq!(unasked(ProtocolCodec::Echo, &[b"-ERR\r\n"]), (Some(RequestFailure::Malformed), None));
    }
}
