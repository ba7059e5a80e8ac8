//! One client's connection from its first byte to its last.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::HandshakeKind;

use super::addresses::{AddressVerdict, Counted, TOO_MANY_CONNECTIONS};
use super::context::Context;
use super::framing::Framing;
use super::lifecycle::{Phase, WriteShutdown};
use super::scratch::{READ_BYTES, Scratch};
use super::service::{PeerInfo, Service};
use super::write_progress::{Asked, WriteProgress};
use super::{PeerId, plaintext};
use crate::access::Denial;
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::tls::{Agreement, Channel, Incoming, Outgoing, Progress, Refusal, Session};

/// One client's connection: channel, framing, replies in order, phase and deadlines; without socket or clock.
///
/// Its methods are of four kinds:
///
/// - events in: [`note_event`](Self::note_event), [`receive`](Self::receive), [`expire`](Self::expire),
///   [`complete`](Self::complete);
/// - outputs: [`transmit`](Self::transmit);
/// - orders by the owner: [`end`](Self::end), [`close`](Self::close), [`retire`](Self::retire);
/// - getters: [`phase`](Self::phase), [`wants_turn`](Self::wants_turn), [`deadline`](Self::deadline),
///   [`memory`](Self::memory).
///
/// After any of the first three kinds, call `transmit`, then check the getters.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Connection<S: Service> {
    pub(super) channel: Channel,
    pub(super) framing: Framing<S>,
    /// Encrypted bytes that the socket has not taken.
    pub(super) unsent: Vec<u8>,
    pub(super) phase: Phase,
    pub(super) readiness: Readiness,
    /// Refuse this client with this reason as soon as it can read it.
    pub(super) refusal: Option<Disconnect>,
    /// What it is counted as at its address.
    pub(super) counted: Option<Counted>,
    /// It has an operator's place.
    pub(super) has_place: bool,
    pub(super) idle_timeout: Option<Duration>,
    /// When the phase began; in [`Phase::Open`] and [`Phase::Draining`], when the last request was served or the last
    /// byte of a reply sent.
    pub(super) since: Instant,
    pub(super) request_since: Option<Instant>,
    /// Boxed, like `asked`: only a connection with a slow peer has either, and an idle one must not pay for them.
    pub(super) write_progress: Option<Box<WriteProgress>>,
    pub(super) asked: Option<Box<Asked>>,
    /// The handshake has sent something: the peer's key exchange has been computed.
    answered: bool,
    /// The session has accepted bytes: the peer's bytes are TLS.
    begun: bool,
    pub(super) write_shutdown: WriteShutdown,
    /// Some bytes that it has forwarded have not left for the socket at the other end of the link.
    pub(super) is_carried: bool,
    /// A balancer's PROXY header comes before anything else.
    pub(super) awaits_header: bool,
}

/// The known state of the socket: events set these bits, work clears them.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, set by different events")]
pub(super) struct Readiness {
    pub(super) readable: bool,
    /// Urgent data has been announced: a read ends before it, although the socket is not empty.
    urgent: bool,
    /// FIN has been announced: the connection must read to the end of the stream, because no other event follows.
    read_closed: bool,
    pub(super) writable: bool,
    /// Some byte has been read.
    heard: bool,
    /// The end of the stream has been read.
    pub(super) input_ended: bool,
}

impl<S: Service> Connection<S> {
    /// A newly accepted connection. With `refusal`, the client is not served and gets the reason.
    pub fn new(
        session: Session,
        info: PeerInfo,
        idle_timeout: Option<Duration>,
        refusal: Option<Disconnect>,
        context: &mut Context<S>,
    ) -> Self {
        let mut connection = Self::unopened(session, info, idle_timeout, refusal, context.env.now.instant);
        connection.enter_address(context);
        if !connection.channel.session().is_handshaking() && connection.phase != Phase::Closed {
            connection.open(context);
        }
        connection
    }

    /// Counts the connection at its address, if that is known.
    pub(super) fn enter_address(&mut self, context: &mut Context<S>) {
        let (address, handshaking) = (self.framing.info.address.ip(), self.channel.session().is_handshaking());
        let is_operator = self.framing.info.is_operator;
        // A connection that is refused for another reason has been counted.
        let is_first = self.refusal.is_none();
        match context.env.addresses.enter((is_operator, address), handshaking, &context.env.limits) {
            AddressVerdict::Uncounted => {}
            AddressVerdict::Accepted(counted) => self.counted = Some(counted),
            AddressVerdict::Refused(counted) => {
                self.counted = Some(counted);
                if is_first {
                    self.refusal = Some(Disconnect::AddressLimit);
                    self.framing.output.detail = Some(TOO_MANY_CONNECTIONS.into());
                    context.env.metrics.refused += 1;
                }
            }
            AddressVerdict::Dropped(detail) => {
                self.framing.output.detail = Some(detail.into());
                context.env.metrics.refused += u64::from(is_first);
                self.close(Disconnect::AddressLimit, &mut context.env.scratch);
            }
        }
    }

    pub(super) fn unopened(
        session: Session,
        info: PeerInfo,
        idle_timeout: Option<Duration>,
        refusal: Option<Disconnect>,
        now: Instant,
    ) -> Self {
        Self {
            channel: Channel::new(session),
            framing: Framing::new(info),
            unsent: Vec::new(),
            phase: Phase::Handshaking,
            // It is not known to be readable: the first event, which epoll reports at registration, decides.
            readiness: Readiness { writable: true, ..Readiness::default() },
            refusal,
            counted: None,
            has_place: false,
            idle_timeout,
            since: now,
            request_since: None,
            write_progress: None,
            asked: None,
            answered: false,
            begun: false,
            write_shutdown: WriteShutdown::Open,
            is_carried: false,
            awaits_header: false,
        }
    }

    /// Records an event of the poller. Work is done in the phases of a turn, not here.
    pub fn note_event(&mut self, readable: bool, writable: bool, read_closed: bool) {
        self.readiness.readable |= readable || read_closed || writable && self.phase == Phase::Connecting;
        self.readiness.writable |= writable;
        self.readiness.read_closed |= read_closed;
    }

    /// Records that there is urgent data. It is not part of the stream and is never read, but a short read may end
    /// before it: reading continues to `WouldBlock`.
    pub fn notice_urgent(&mut self) {
        self.readiness.readable = true;
        self.readiness.urgent = true;
    }

    /// Does this turn's share of receiving: resumes waiting requests, reads the socket once (twice before its end),
    /// decrypts, decodes, serves.
    pub fn receive(&mut self, socket: &mut impl Read, context: &mut Context<S>) {
        self.framing.begin_turn();
        self.framing.resume(context);
        if self.wants_read() {
            self.read(socket, context);
            // FIN has been announced, so this read finds the end, which saves another turn for it.
            if self.readiness.read_closed && self.wants_read() {
                self.read(socket, context);
            }
        }
        if self.phase == Phase::Open {
            let all_received =
                self.readiness.input_ended || self.channel.session().is_tls() && self.channel.session().peer_closed();
            if all_received && !self.framing.is_paused() {
                let had_ended = self.framing.is_half_closed();
                self.framing.end_of_input(self.channel.session().peer_closed(), context);
                if self.framing.is_half_closed() && !had_ended {
                    // A peer that was quiet before has all of `half_close_timeout` from now on.
                    self.since = context.env.now.instant;
                }
                if self.write_shutdown > WriteShutdown::Open {
                    self.framing.conclude();
                }
            }
            self.note_activity(context.env.now.instant);
            self.drain_if_ended(context.env.now.instant);
        }
    }

    pub(super) fn drain_if_ended(&mut self, now: Instant) {
        let Some(reason) = self.framing.ended() else { return };
        // Only the backend knows whether that was all; without a backend, an empty reply must not be taken for the
        // backend's.
        let is_no_end = self.framing.info.link.is_some()
            || reason == Disconnect::Upstream && self.framing.output.replies.is_empty();
        if is_no_end && self.write_shutdown == WriteShutdown::Open {
            self.write_shutdown = WriteShutdown::Withheld;
        }
        self.enter(Phase::Draining, now);
    }

    fn wants_read(&self) -> bool {
        let wanted = match self.phase {
            Phase::Handshaking | Phase::Lingering => true,
            Phase::Open => !self.framing.is_paused(),
            Phase::Connecting | Phase::Draining | Phase::Closed => false,
        };
        wanted && self.readiness.readable && !self.readiness.input_ended
    }

    fn read(&mut self, socket: &mut impl Read, context: &mut Context<S>) {
        let mut input = std::mem::take(&mut context.env.scratch.input);
        self.channel.prepare(&mut input);
        match socket.read(input.space(READ_BYTES).get_mut(..READ_BYTES).unwrap_or_default()) {
            Ok(0) => self.end_of_stream(context),
            Ok(count) => {
                context.env.metrics.bytes_received += count as u64;
                self.readiness.heard = true;
                // A part of a record is not forwarded before its end arrives, but a peer that sends it is not idle.
                if self.phase == Phase::Open && self.framing.info.link.is_some() {
                    self.since = context.env.now.instant;
                }
                // A short read means that the socket is empty, unless FIN or urgent data follows.
                self.readiness.readable = count == READ_BYTES || self.readiness.read_closed || self.readiness.urgent;
                if self.phase != Phase::Lingering {
                    input.advance(count);
                    self.process(&mut input, context);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readiness.readable = false;
                self.readiness.urgent = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.socket_failed(&error, &mut context.env.scratch),
        }
        context.env.scratch.input = input;
    }

    fn end_of_stream(&mut self, context: &mut Context<S>) {
        self.readiness.input_ended = true;
        self.readiness.readable = false;
        match self.phase {
            Phase::Connecting | Phase::Handshaking => {
                // A client that sends nothing at all is a port probe, not a failed handshake.
                let reason = if self.readiness.heard { Disconnect::CutOff } else { Disconnect::PeerClosed };
                self.close(reason, &mut context.env.scratch);
            }
            Phase::Lingering => self.phase = Phase::Closed,
            Phase::Open | Phase::Draining | Phase::Closed => {}
        }
    }

    /// Decrypts `input` and serves the requests in it.
    pub(super) fn process(&mut self, input: &mut Incoming, context: &mut Context<S>) {
        if !self.take_header(input, context) {
            return;
        }
        let hint = self.plaintext_hint(input.unread());
        let before = input.unread().len();
        let mut output = std::mem::take(&mut context.env.scratch.output);
        self.channel.set_max_handshake(context.env.limits.handshake_bytes);
        loop {
            let framing = &mut self.framing;
            match self.channel.receive(input, &mut output, &mut |plaintext| framing.deliver(plaintext, context)) {
                Progress::Waiting => break,
                Progress::Opened => self.open(context),
                Progress::Failed(error) => {
                    self.session_failed(&error, hint, &mut output, context);
                    break;
                }
            }
        }
        self.begun |= input.unread().len() < before;
        if !output.filled().is_empty() {
            self.answered = true;
            self.unsent.extend_from_slice(output.filled());
            output.clear();
        }
        context.env.scratch.output = output;
    }

    /// The answer to a peer whose first bytes are plain text, should they fail the handshake. A peer that has sent one
    /// record speaks TLS, whatever follows.
    fn plaintext_hint(&self, input: &[u8]) -> Option<&'static [u8]> {
        let is_first = self.phase == Phase::Handshaking && !self.begun && self.unsent.is_empty();
        (is_first && plaintext::is_text(input)).then(|| plaintext::hint(input))
    }

    /// The handshake is done, or there is none: begins to serve.
    pub(super) fn open(&mut self, context: &mut Context<S>) {
        if let Some(agreement) = self.channel.session().agreement() {
            count_handshake(&mut context.env.metrics, &agreement);
            self.framing.info.agreement = Some(agreement);
        }
        self.enter(Phase::Open, context.env.now.instant);
        if let Some(counted) = self.counted.as_mut() {
            context.env.addresses.handshake_done(counted);
        }
        match self.channel.identify() {
            Ok(identity) => self.framing.info.identity = identity.map(Arc::new),
            Err(error) => return self.refuse(Disconnect::Certificate, error.to_string(), context),
        }
        match self.admit(context) {
            Ok(()) => {}
            Err(Denial::Untrusted(refusal)) => {
                return self.refuse(Disconnect::Certificate, refusal.to_string(), context);
            }
            Err(denial @ (Denial::NoRule(_) | Denial::NotGranted(_))) => {
                return self.refuse(Disconnect::Denied, denial.to_string(), context);
            }
        }
        if let Some(reason) = self.refusal {
            return self.refuse(reason, String::new(), context);
        }
        self.take_place(context);
        self.framing.open(context);
    }

    pub(super) fn refuse(&mut self, reason: Disconnect, detail: String, context: &mut Context<S>) {
        context.service.refuse(self.framing.info.listener, reason, self.framing.output.replies.tail());
        if !detail.is_empty() {
            self.framing.output.detail = Some(detail.into());
        }
        self.framing.end(reason, &mut context.env.scratch);
    }

    /// Completes a deferred reply; `None` if it was dropped.
    pub fn complete(&mut self, sequence: u64, reply: Option<Bytes>, scratch: &mut Scratch) {
        match reply {
            Some(bytes) => self.framing.output.replies.complete(sequence, bytes),
            None => self.close(Disconnect::Abandoned, scratch),
        }
    }

    /// Serves no further request, sends owed replies, and closes in order (close_notify, FIN).
    pub fn end(&mut self, reason: Disconnect, now: Instant, scratch: &mut Scratch) {
        match self.phase {
            Phase::Connecting | Phase::Handshaking => self.close(reason, scratch),
            Phase::Open => {
                self.framing.end(reason, scratch);
                self.enter(Phase::Draining, now);
            }
            Phase::Draining | Phase::Lingering | Phase::Closed => {}
        }
    }

    /// Ends at once: owed replies are lost. An earlier reason stays.
    pub fn close(&mut self, reason: Disconnect, scratch: &mut Scratch) {
        self.framing.end(reason, scratch);
        self.phase = Phase::Closed;
    }

    /// The socket is closed: returns the session to the service.
    pub fn retire(&mut self, context: &mut Context<S>) {
        if let Some(counted) = self.counted.take() {
            context.env.addresses.leave(counted);
        }
        self.leave_place(context);
        self.framing.retire(&mut context.service);
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    pub(super) fn socket_failed(&mut self, error: &io::Error, scratch: &mut Scratch) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let reset = matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset);
        if !reset && self.framing.output.detail.is_none() {
            self.framing.output.detail = Some(error.to_string().into());
        }
        self.close(if reset { Disconnect::Reset } else { Disconnect::Io }, scratch);
    }

    /// The session has failed: its final alert is in `output`, and nothing else will be sent.
    fn session_failed(
        &mut self,
        error: &rustls::Error,
        hint: Option<&[u8]>,
        output: &mut Outgoing,
        context: &mut Context<S>,
    ) {
        let mut reason = blame(error, self.channel.session().is_handshaking());
        if let Some(hint) = hint.filter(|_| self.phase == Phase::Handshaking) {
            // A peer that speaks plain text cannot read an alert: sends a text in its protocol.
            reason = Disconnect::NotTls;
            output.clear();
            // A dialed backend gets no text: it has sent no request.
            if !self.framing.info.is_dialed() {
                output.append(hint);
            }
        }
        let detail = match self.channel.session().refusal() {
            _ if self.framing.info.is_dialed() && reason == Disconnect::NotTls => {
                "the server does not speak TLS".into()
            }
            _ if self.framing.info.is_dialed() => Refusal::of_server(error),
            Some(refusal) => refusal.to_string(),
            None if reason == Disconnect::TooLarge => "a handshake message is longer than --max-handshake".into(),
            None => crate::tls::in_words(error),
        };
        self.framing.output.detail = Some(detail.into());
        self.framing.end(reason, &mut context.env.scratch);
        self.enter(Phase::Draining, context.env.now.instant);
    }

    /// The phase of the connection.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ends, once that is decided.
    pub fn reason(&self) -> Option<Disconnect> {
        self.framing.ended()
    }

    /// Further details of the reason.
    pub fn detail(&self) -> &str {
        self.framing.output.detail.as_deref().unwrap_or_default()
    }

    /// The peer.
    pub fn info(&self) -> &PeerInfo {
        &self.framing.info
    }

    /// The connection's id.
    pub fn id(&self) -> PeerId {
        self.framing.info.id
    }

    /// Whether the peer's key exchange has been computed: its next bytes finish a handshake, they do not begin one.
    pub fn awaits_finished(&self) -> bool {
        self.phase == Phase::Handshaking && (self.answered || self.framing.info.is_dialed())
    }

    /// Whether there is work that no socket event will announce: unread bytes, undecoded requests, or unwritten output,
    /// left for a later turn in fairness to other peers.
    pub fn wants_turn(&self, limits: &Limits) -> bool {
        let decode = self.phase == Phase::Open && self.framing.can_resume(limits);
        decode || self.wants_read() || self.readiness.writable && self.has_output()
    }

    /// Whether all received requests have been served and nothing is owed, so that ending now loses nothing.
    pub fn is_at_rest(&self) -> bool {
        let waiting = self.framing.is_paused() || self.is_mid_request() || self.readiness.readable;
        // Only the other end of a link knows what a linked connection is still owed.
        self.phase == Phase::Open && !waiting && self.framing.info.link.is_none()
    }

    /// Whether it has connected and, as far as it was read, sent nothing.
    pub fn is_silent(&self) -> bool {
        self.phase == Phase::Handshaking
            && !self.readiness.heard
            && !self.readiness.readable
            && !self.framing.info.is_dialed()
    }

    /// Bytes of replies waiting for it, encrypted or not.
    pub fn output(&self) -> usize {
        self.unsent.len() + self.framing.output.replies.queued_bytes()
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.channel.session().is_tls()
    }

    /// Heap bytes held for this peer outside the TLS library.
    pub fn memory(&self) -> usize {
        self.channel.memory() + self.unsent.capacity() + self.framing.memory()
    }

    /// Heap bytes of the peer's certificate chain, which the TLS library keeps, and of the names read from it.
    pub fn certificate_memory(&self) -> usize {
        let names = self.framing.info.identity.as_ref().map_or(0, |identity| identity.memory());
        self.channel.session().certificate_memory() + names
    }
}

/// The disconnect reason for a failed session.
fn blame(error: &rustls::Error, is_handshaking: bool) -> Disconnect {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, NoCertificatesPresented};
    match error {
        InvalidCertificate(_) if Refusal::of(error).is_some_and(|refusal| refusal.is_of_cost()) => Disconnect::Chain,
        NoCertificatesPresented | InvalidCertificate(_) => Disconnect::Certificate,
        AlertReceived(_) => Disconnect::Alert,
        InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge) if is_handshaking => Disconnect::TooLarge,
        _ if is_handshaking => Disconnect::Handshake,
        _ => Disconnect::Tls,
    }
}

fn count_handshake(metrics: &mut Metrics, agreement: &Agreement) {
    match agreement.kind {
        HandshakeKind::Full => metrics.handshakes_full += 1,
        HandshakeKind::FullWithHelloRetryRequest => metrics.handshakes_retried += 1,
        HandshakeKind::Resumed => metrics.handshakes_resumed += 1,
    }
    metrics.handshakes_classical += u64::from(agreement.is_classical());
}
