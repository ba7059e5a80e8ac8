//! One connection's TLS, or none: bytes in, bytes out. The only place that calls rustls connection methods.
//!
//! It drives the unbuffered API of rustls 0.23, in which the caller owns all buffers, so an idle session has none. The
//! API has rules that its types do not enforce; each is enforced here, once:
//!
//! - `process_tls_records` is given exactly the bytes that this peer still retains, in every call, writes included:
//!   rustls keeps offsets into them while a handshake message is incomplete.
//! - During a handshake, it is given one more record at a time, so that errors do not depend on how the bytes were
//!   split into packets.
//! - One call is not one record: it is repeated until the session can only write or only wait.
//! - After an error the session is latched. Output that rustls queued (the alert) is encoded, and then the session is
//!   never used again, although its later states look valid.
//! - After the peer's close_notify writing continues (half-close), but rustls discards no later input: it is dropped
//!   here.
//! - rustls has no notion of end of stream; distinguishing close_notify from truncation is the connection's task
//!   ([`Session::peer_closed`]).

use std::sync::Arc;

use rustls::client::ClientConnectionData;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ServerConnectionData;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{AlertDescription, ClientConfig, CommonState, InvalidMessage, ProtocolVersion, SupportedCipherSuite};

use super::agreement::Agreement;
use super::certificate::MalformedCertificate;
use super::identity::Identity;
use super::outgoing::Outgoing;
use super::policy::ServerPolicy;
use super::records::{self, Hello, Look, Record};
use super::trust::{Refusal, Witness, chain_memory};
use crate::limits::Limits;

/// The number of records left at which a connection ends before its keys are used up: enough for all replies that it
/// may be owed.
const KEY_RESERVE: u64 = 1 << 16;

/// One connection's encryption state. Its [`Channel`](super::Channel) drives it; all others can only ask it.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Session {
    kind: Kind,
    handshaking: bool,
    peer_closed: bool,
    failed: bool,
    /// Our output is encrypted now, or may be: an alert can no longer be written without rustls.
    is_sealed: bool,
    /// How many of the retained bytes the handshake has been given.
    given: usize,
    /// How many records the keys may still encrypt, if they cannot be renewed.
    records_left: u64,
    /// The longest handshake message, in bytes.
    max_handshake: usize,
    /// The handshake's result for the client's certificate.
    witness: Option<Witness>,
    /// The policy of the handshake, until it is taken.
    policy: Option<Arc<ServerPolicy>>,
}

enum Kind {
    Plain,
    /// A client has connected; its configuration is chosen when its ClientHello is complete.
    Hello(Arc<ServerPolicy>, Hello),
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// The result of [`Session::receive`].
#[derive(Debug)]
pub(super) struct Received {
    /// How many bytes, from the front, are consumed. The rest must be the front of the next call's input.
    pub(super) consumed: usize,
    /// The handshake has just finished, and later bytes were not processed: call again with the rest.
    pub(super) opened: bool,
    /// The session has failed; its final alert, if any, is in the output.
    pub(super) error: Option<rustls::Error>,
}

impl Session {
    /// No TLS: bytes pass unchanged.
    #[must_use]
    pub fn plain() -> Self {
        Self::new(Kind::Plain, false)
    }

    /// The server's end of a new connection, under the policy of its listener.
    #[must_use]
    pub fn accept(policy: Arc<ServerPolicy>) -> Self {
        Self::new(Kind::Hello(policy, Hello::default()), true)
    }

    /// The client's end of a new connection to `name`.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        Ok(Self::new(Kind::Client(UnbufferedClientConnection::new(config, name)?), true))
    }

    fn new(kind: Kind, handshaking: bool) -> Self {
        let max_handshake = Limits::default().handshake_bytes;
        let (peer_closed, failed, is_sealed, given, records_left) = (false, false, false, 0, u64::MAX);
        Self {
            kind,
            handshaking,
            peer_closed,
            failed,
            is_sealed,
            given,
            records_left,
            max_handshake,
            witness: None,
            policy: None,
        }
    }

    /// Sets the longest handshake message. A longer one, by its declared length, fails the handshake.
    pub(super) fn set_max_handshake(&mut self, bytes: usize) {
        self.max_handshake = bytes;
    }

    /// Processes `input`, all retained and new bytes of the peer; passes each piece of plaintext to `deliver` and
    /// appends bytes to be sent (handshake flights, tickets, alerts) to `output`.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        output: &mut Outgoing,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Received {
        if self.failed || self.peer_closed {
            return Received { consumed: input.len(), opened: false, error: None };
        }
        if !self.handshaking || input.is_empty() {
            return self.advance(input, output, deliver);
        }
        let mut received = Received { consumed: 0, opened: false, error: None };
        while !received.opened && received.error.is_none() && !self.peer_closed {
            let rest = input.get_mut(received.consumed..).unwrap_or_default();
            let (step, is_last) = match self.next_piece(rest) {
                Ok(None) => break,
                Ok(Some(end)) => {
                    let is_last = end == rest.len();
                    (self.advance(rest.get_mut(..end).unwrap_or_default(), output, deliver), is_last)
                }
                Err(error) => {
                    self.give_up(&error, output, output.filled().len());
                    (Received { consumed: rest.len(), opened: false, error: Some(error) }, true)
                }
            };
            self.given = self.given.saturating_sub(step.consumed);
            received = Received { consumed: received.consumed + step.consumed, ..step };
            if is_last {
                break;
            }
        }
        received
    }

    /// How many bytes of `input` the handshake gets next; `None` if a record must be completed first.
    fn next_piece(&mut self, input: &[u8]) -> Result<Option<usize>, rustls::Error> {
        let too_long = Err(InvalidMessage::HandshakePayloadTooLarge.into());
        let most = self.max_handshake + self.max_handshake / 16;
        if let Kind::Hello(policy, hello) = &mut self.kind {
            let end = match hello.look(input, self.max_handshake, most) {
                Look::NeedMore => return Ok(None),
                Look::TooLong => return too_long,
                Look::Start(end) => end,
            };
            let handshake = policy.answer(input.get(..end).unwrap_or_default());
            self.policy = Some(Arc::clone(policy));
            self.kind = Kind::Server(UnbufferedServerConnection::new(handshake.config)?);
            self.witness = handshake.witness;
            self.given = end;
            return Ok(Some(end));
        }
        match records::record_at(input, self.given) {
            Record::Whole { end, .. } | Record::Partial { end, .. } if end > most => too_long,
            Record::Whole { end, .. } => {
                self.given = end;
                Ok(Some(end))
            }
            Record::Partial { .. } | Record::Begun => Ok(None),
            Record::Foreign => Ok(Some(input.len())),
        }
    }

    /// Processes `input` with the session.
    fn advance(&mut self, input: &mut [u8], output: &mut Outgoing, deliver: &mut dyn FnMut(&[u8])) -> Received {
        let (before, was_handshaking) = (output.filled().len(), self.handshaking);
        let mut flags = Flags { handshaking: &mut self.handshaking, peer_closed: &mut self.peer_closed };
        let received = match &mut self.kind {
            Kind::Plain => {
                deliver(input);
                Received { consumed: input.len(), opened: false, error: None }
            }
            Kind::Hello(..) => Received { consumed: 0, opened: false, error: None },
            Kind::Server(connection) => drive(&mut **connection, &mut flags, input, output, deliver),
            Kind::Client(connection) => drive(&mut **connection, &mut flags, input, output, deliver),
        };
        if was_handshaking {
            self.note_sealing(output.filled().get(before..).unwrap_or_default());
        }
        if received.opened {
            self.records_left = self.key_limit();
        }
        if let Some(error) = &received.error {
            self.give_up(error, output, before);
        }
        received
    }

    /// How many records the negotiated keys may encrypt: 2^24 for AES-GCM in TLS 1.2, less those of the handshake (see
    /// the analysis that RFC 8446, 5.5 refers to). TLS 1.3 renews its keys, and ChaCha20-Poly1305 has no such limit.
    fn key_limit(&self) -> u64 {
        match self.common().and_then(CommonState::negotiated_cipher_suite) {
            Some(SupportedCipherSuite::Tls12(suite)) => suite.common.confidentiality_limit.saturating_sub(16),
            _ => u64::MAX,
        }
    }

    /// Whether the keys are nearly used up, so that the connection should end as soon as it can.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.records_left < KEY_RESERVE
    }

    /// Determines from the sent records and the negotiated version whether our output is encrypted.
    fn note_sealing(&mut self, sent: &[u8]) {
        let version = self.common().and_then(CommonState::protocol_version);
        self.is_sealed |= match (&self.kind, version) {
            (Kind::Plain, _) | (Kind::Client(_), Some(ProtocolVersion::TLSv1_3)) => true,
            (_, None) => false,
            (_, Some(ProtocolVersion::TLSv1_3)) => records::kinds(sent).any(|kind| kind == records::APPLICATION_DATA),
            _ => records::kinds(sent).any(|kind| kind == records::CHANGE_CIPHER_SPEC),
        };
    }

    /// Latches the session. After some errors rustls queues no alert; if `output` has none after `before`, one is
    /// written here, as long as it need not be encrypted (RFC 8446, 6.2).
    fn give_up(&mut self, error: &rustls::Error, output: &mut Outgoing, before: usize) {
        const FATAL: u8 = 2;
        self.failed = true;
        let is_told =
            records::kinds(output.filled().get(before..).unwrap_or_default()).any(|kind| kind == records::ALERT);
        if let Some(description) = alert_after(error).filter(|_| !self.is_sealed && !is_told) {
            output.append(&[records::ALERT, 3, 3, 0, 2, FATAL, description.into()]);
        }
    }

    /// The client's identity, once the handshake is done; `None` if it presented no certificate. Call it once: it drops
    /// the handshake's state.
    pub(super) fn identify(&mut self) -> Result<Option<Identity>, MalformedCertificate> {
        let Some(witness) = self.witness.take() else { return Ok(None) };
        witness.identify(self.common().and_then(CommonState::peer_certificates))
    }

    /// The policy under which a client's handshake began. Call it once, when the handshake is done.
    pub(super) fn begun_under(&mut self) -> Option<Arc<ServerPolicy>> {
        self.policy.take()
    }

    /// Why the client's certificate was rejected, if that failed the handshake.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.witness.as_ref().and_then(Witness::refusal)
    }

    /// Counts `records` more records as encrypted.
    #[cfg(test)]
    pub(super) fn wear(&mut self, records: u64) {
        self.records_left = self.records_left.saturating_sub(records);
    }

    /// Encrypts `plaintext` into `output`. `retained` are the peer's bytes that [`receive`](Self::receive) left
    /// unconsumed.
    pub(super) fn send(
        &mut self,
        plaintext: &[u8],
        retained: &mut [u8],
        output: &mut Outgoing,
    ) -> Result<(), rustls::Error> {
        self.write(Message::Data(plaintext), retained, output)
    }

    /// Encrypts a close_notify (RFC 8446, 6.1): nothing more will be sent.
    pub(super) fn send_close_notify(
        &mut self,
        retained: &mut [u8],
        output: &mut Outgoing,
    ) -> Result<(), rustls::Error> {
        self.write(Message::CloseNotify, retained, output)
    }

    fn write(&mut self, message: Message<'_>, retained: &mut [u8], output: &mut Outgoing) -> Result<(), rustls::Error> {
        if self.failed {
            return Err(rustls::Error::General("the session has failed".into()));
        }
        let result = match (&mut self.kind, message) {
            (Kind::Plain, Message::Data(plaintext)) => {
                output.append(plaintext);
                Ok(())
            }
            (Kind::Plain, Message::CloseNotify) => Ok(()),
            (Kind::Hello(..), _) => Err(rustls::Error::HandshakeNotComplete),
            (Kind::Server(connection), message) => write(&mut **connection, message, retained, output),
            (Kind::Client(connection), message) => write(&mut **connection, message, retained, output),
        };
        if let Message::Data(plaintext) = message {
            self.records_left =
                self.records_left.saturating_sub(plaintext.len().div_ceil(Outgoing::RECORD_BYTES) as u64);
        }
        self.failed = result.is_err();
        result
    }

    /// Whether application data cannot be sent yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    /// Whether an end of stream now would be in order: close_notify has arrived. Always true without TLS, where FIN is
    /// the only end.
    #[must_use]
    pub fn peer_closed(&self) -> bool {
        self.peer_closed || matches!(self.kind, Kind::Plain)
    }

    /// Whether the session has failed: nothing can be sent or received any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        !matches!(self.kind, Kind::Plain)
    }

    /// The negotiated parameters; `None` without TLS and before the handshake is done.
    #[must_use]
    pub fn agreement(&self) -> Option<Agreement> {
        let common = self.common().filter(|_| !self.handshaking)?;
        Some(Agreement {
            kind: common.handshake_kind()?,
            version: common.protocol_version()?,
            suite: common.negotiated_cipher_suite()?.suite(),
            group: common.negotiated_key_exchange_group().map(SupportedKxGroup::name),
        })
    }

    /// The peer's certificate chain, the leaf first; empty if it presented none.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.common().and_then(CommonState::peer_certificates).unwrap_or_default()
    }

    /// Heap bytes of the peer's certificate chain. During a handshake, it is what the client has sent.
    #[must_use]
    pub(crate) fn certificate_memory(&self) -> usize {
        match &self.witness {
            Some(witness) if self.handshaking && !self.failed => witness.presented(),
            _ => chain_memory(self.peer_certificates()),
        }
    }

    /// The application protocol negotiated by ALPN (RFC 7301).
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.common().and_then(CommonState::alpn_protocol)
    }

    /// TLS 1.3 tickets received so far; a client that will resume waits for one.
    #[must_use]
    pub fn tickets_received(&self) -> u32 {
        match &self.kind {
            Kind::Client(connection) => connection.tls13_tickets_received(),
            Kind::Plain | Kind::Hello(..) | Kind::Server(_) => 0,
        }
    }

    fn common(&self) -> Option<&CommonState> {
        match &self.kind {
            Kind::Plain | Kind::Hello(..) => None,
            Kind::Server(connection) => Some(connection),
            Kind::Client(connection) => Some(connection),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("tls", &self.is_tls())
            .field("handshaking", &self.handshaking)
            .field("peer_closed", &self.peer_closed)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The state of a session that [`drive`] updates, besides its bytes.
struct Flags<'a> {
    handshaking: &'a mut bool,
    peer_closed: &'a mut bool,
}

/// A message for a session to encrypt.
#[derive(Clone, Copy)]
enum Message<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

/// The two unbuffered connections of rustls, which have equal methods but no common trait.
trait Drive {
    type Side;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Side>;
    fn common(&self) -> &CommonState;
}

macro_rules! drive {
    ($side:ty) => {
        impl Drive for UnbufferedConnectionCommon<$side> {
            type Side = $side;
            fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, $side> {
                self.process_tls_records(input)
            }
            fn common(&self) -> &CommonState {
                self
            }
        }
    };
}
drive!(ServerConnectionData);
drive!(ClientConnectionData);

/// Processes `input` until the session can only write or only wait.
fn drive<C: Drive + ?Sized>(
    connection: &mut C,
    flags: &mut Flags<'_>,
    input: &mut [u8],
    output: &mut Outgoing,
    deliver: &mut dyn FnMut(&[u8]),
) -> Received {
    let mut received = Received { consumed: 0, opened: false, error: None };
    loop {
        let status = connection.process(input.get_mut(received.consumed..).unwrap_or_default());
        received.consumed += status.discard;
        let error = match status.state {
            // The plaintext stays queued in rustls until it is requested, so returning first loses nothing.
            Ok(ConnectionState::ReadTraffic(_)) if *flags.handshaking => break,
            Ok(ConnectionState::ReadTraffic(mut traffic)) => read(&mut traffic, deliver).err(),
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, output).err(),
            // Output is sent in order, so encoded data counts as transmitted.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed) => {
                *flags.peer_closed = true;
                None
            }
            Ok(_) => break,
            Err(error) => {
                // The failure may be in a record right after the handshake, not in the handshake.
                *flags.handshaking = connection.common().is_handshaking();
                encode_last_words(connection, output);
                Some(error)
            }
        };
        if error.is_some() {
            received.error = error;
            return received;
        }
    }
    if *flags.peer_closed {
        received.consumed = input.len();
    }
    if *flags.handshaking && !connection.common().is_handshaking() {
        *flags.handshaking = false;
        received.opened = true;
    }
    received
}

/// Passes all decrypted plaintext to `deliver`.
fn read<Side>(
    traffic: &mut rustls::unbuffered::ReadTraffic<'_, '_, Side>,
    deliver: &mut dyn FnMut(&[u8]),
) -> Result<(), rustls::Error> {
    while let Some(record) = traffic.next_record() {
        deliver(record?.payload);
    }
    Ok(())
}

/// Encodes queued output and then `message`.
fn write<C: Drive + ?Sized>(
    connection: &mut C,
    message: Message<'_>,
    retained: &mut [u8],
    output: &mut Outgoing,
) -> Result<(), rustls::Error> {
    loop {
        match connection.process(retained).state? {
            ConnectionState::WriteTraffic(mut traffic) => return emit(&mut traffic, message, output),
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, output)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            // The retained bytes are less than a record, so no other state can result from them.
            state => return Err(rustls::Error::General(format!("cannot write in state {state:?}"))),
        }
    }
}

fn emit<Side>(
    traffic: &mut WriteTraffic<'_, Side>,
    message: Message<'_>,
    output: &mut Outgoing,
) -> Result<(), rustls::Error> {
    let mut size = match message {
        Message::Data(plaintext) => Outgoing::encrypted_size(plaintext.len()),
        Message::CloseNotify => Outgoing::encrypted_size(2),
    };
    loop {
        let space = output.space(size);
        let written = match message {
            Message::Data(plaintext) => traffic.encrypt(plaintext, space),
            Message::CloseNotify => traffic.queue_close_notify(space),
        };
        match written {
            Ok(count) => {
                output.advance(count);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) => size = needed.required_size,
            Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
        }
    }
}

fn encode<Side>(data: &mut EncodeTlsData<'_, Side>, output: &mut Outgoing) -> Result<(), rustls::Error> {
    let mut size = 0;
    loop {
        match data.encode(output.space(size)) {
            Ok(count) => {
                output.advance(count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => size = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => return Ok(()),
        }
    }
}

/// The alert for an error for which rustls queues none; `None` if a peer expects none.
fn alert_after(error: &rustls::Error) -> Option<AlertDescription> {
    use rustls::Error as E;
    match error {
        E::AlertReceived(_) => None,
        E::InvalidMessage(_) => Some(AlertDescription::DecodeError),
        E::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
        E::PeerMisbehaved(_) | E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } => {
            Some(AlertDescription::UnexpectedMessage)
        }
        _ => Some(AlertDescription::InternalError),
    }
}

/// After an error: encodes the alert that rustls queued, if any.
///
/// An empty input is correct here although bytes may be retained: rustls processes queued output before any input.
fn encode_last_words<C: Drive + ?Sized>(connection: &mut C, output: &mut Outgoing) {
    while connection.common().wants_write() {
        let done = match connection.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, output),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(())
            }
            // Plaintext that came before the broken record; reading it makes the alert available.
            Ok(ConnectionState::ReadTraffic(mut traffic)) => read(&mut traffic, &mut |_| {}),
            _ => return,
        };
        if done.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
