//! What a listener requires of TLS clients: built once, then applied to every handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::{Certificate, date};
use super::identity::Anchor;
use super::key_exchange::{self, PostQuantum};
use super::pem::PemSource;
use super::policy_error::PolicyError;
use super::records::{self, Hello, Look};
use super::resolver::Certificates;
use super::revocation::OutdatedLists;
use super::tickets::{HandshakeTicketer, TicketKeys};
use super::trust::{ClientTrust, HandshakeVerifier, Refusal, Witness};
use crate::limits::Limits;

/// Whether a client must present a certificate (`--client-auth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is requested.
    None,
    /// A certificate is requested; if one is presented, it must be accepted.
    Optional,
    /// An accepted certificate is required.
    Required,
}

/// The oldest protocol version that a listener accepts (`--tls-min`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsMin {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Options of a listener's TLS, from the command line or a program.
#[derive(Clone, Debug)]
pub struct PolicyOptions {
    /// Certificate chain and private key, the leaf first in the chain. The first pair is used for unknown names.
    pub identities: Vec<(PemSource, PemSource)>,
    /// Trusted CAs: they are accepted, and so are certificates that they issued.
    pub client_ca: Vec<PemSource>,
    /// Pins: accepted as themselves, never as issuers.
    pub client_pin: Vec<PemSource>,
    /// Revocation lists of the client CAs.
    pub crl: Vec<PemSource>,
    /// How to treat lists that are expired when they are loaded.
    pub outdated_lists: OutdatedLists,
    /// The policy that this one replaces. Its revocation lists stay in force unless a newer list replaces them.
    pub in_force: Option<Arc<ServerPolicy>>,
    /// `None`: required if there is a CA or a pin, else not requested.
    pub client_auth: Option<ClientAuth>,
    /// The oldest protocol version.
    pub tls_min: TlsMin,
    /// Requirements on the key exchange.
    pub post_quantum: PostQuantum,
    /// Application protocols in order of preference (RFC 7301); empty to leave the extension out.
    pub alpn: Vec<Vec<u8>>,
    /// Certificates in a client's chain, its own included; a longer chain is not verified at all.
    pub max_chain: usize,
    /// How long a client may resume sessions after a full handshake.
    pub reauthenticate_after: Duration,
    /// The clock for certificates and tickets.
    pub clock: Arc<dyn TimeProvider>,
}

impl Default for PolicyOptions {
    fn default() -> Self {
        Self {
            identities: Vec::new(),
            client_ca: Vec::new(),
            client_pin: Vec::new(),
            crl: Vec::new(),
            outdated_lists: OutdatedLists::default(),
            in_force: None,
            client_auth: None,
            tls_min: TlsMin::default(),
            post_quantum: PostQuantum::default(),
            alpn: Vec::new(),
            max_chain: Limits::default().chain_certificates,
            // Long enough not to be noticed, short enough that a removed certificate stops working within a day.
            reauthenticate_after: Duration::from_hours(12),
            clock: Arc::new(DefaultTimeProvider),
        }
    }
}

/// The TLS policy of a listener. It is built once and replaced as a whole.
///
/// Sessions do not outlive it: its ticket keys are its own, and there is no other session store. So one new policy is a
/// complete change of trust.
#[derive(Debug)]
pub struct ServerPolicy {
    certificates: Arc<Certificates>,
    client: Option<ClientPolicy>,
    tickets: TicketKeys,
    tls_min: TlsMin,
    post_quantum: PostQuantum,
    /// For all clients, or for those without X25519MLKEM768 if that is preferred.
    general: Flavour,
    /// For clients that offer X25519MLKEM768, if that is preferred.
    quantum: Option<Flavour>,
    alpn: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct ClientPolicy {
    trust: Arc<ClientTrust>,
    required: bool,
}

/// A configuration with one choice of key-exchange groups.
#[derive(Debug)]
struct Flavour {
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    /// The configuration shared by all handshakes; only if no client certificate is requested.
    shared: Option<Arc<ServerConfig>>,
}

/// The configuration and state of one handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The configuration for the connection; it is specific to this handshake if a client certificate is requested.
    pub config: Arc<ServerConfig>,
    /// After the handshake, it has the client's identity or the reason for a rejection. `None` if no certificate is
    /// requested.
    pub witness: Option<Witness>,
}

/// What to do with the first bytes of a client.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Call again with more bytes.
    NeedMore,
    /// Start the handshake with the same bytes.
    Start(Handshake),
}

impl ServerPolicy {
    /// Parses the listener's files, and rejects options that are contradictory or could not be enforced.
    pub fn new(options: PolicyOptions) -> Result<Self, PolicyError> {
        let now = options.clock.current_time().ok_or(PolicyError::Clock)?.as_secs();
        let provider = key_exchange::provider(options.post_quantum);
        let certificates = Arc::new(Certificates::new(&options.identities, &provider)?);
        let client = ClientPolicy::new(&options, &provider, now)?;
        let versions: &[_] = if Self::only_tls13(&options) { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
        let build = |provider| -> Result<Flavour, rustls::Error> {
            let builder =
                ServerConfig::builder_with_details(provider, options.clock.clone()).with_protocol_versions(versions)?;
            Ok(Flavour { builder, shared: None })
        };
        let prefers = options.post_quantum == PostQuantum::Prefer;
        let mut policy = Self {
            certificates,
            general: build(provider)?,
            quantum: prefers.then(|| build(key_exchange::post_quantum_provider())).transpose()?,
            tickets: TicketKeys {
                keys: Ticketer::new()?,
                clock: options.clock.clone(),
                reauthenticate_after: options.reauthenticate_after,
            },
            client,
            tls_min: if Self::only_tls13(&options) { TlsMin::Tls13 } else { TlsMin::Tls12 },
            post_quantum: options.post_quantum,
            alpn: options.alpn,
        };
        policy.share();
        Ok(policy)
    }

    /// The same policy for another listener, which offers `alpn`. Both share the certificates and revocation lists, but
    /// not the ticket keys: no session is resumed at another listener.
    pub fn sibling(&self, alpn: Vec<Vec<u8>>) -> Result<Self, PolicyError> {
        let unshared = |flavour: &Flavour| Flavour { builder: flavour.builder.clone(), shared: None };
        let mut policy = Self {
            certificates: Arc::clone(&self.certificates),
            client: self.client.clone(),
            tickets: TicketKeys { keys: Ticketer::new()?, ..self.tickets.clone() },
            tls_min: self.tls_min,
            post_quantum: self.post_quantum,
            general: unshared(&self.general),
            quantum: self.quantum.as_ref().map(unshared),
            alpn,
        };
        policy.share();
        Ok(policy)
    }

    /// Requiring the post-quantum group leaves only TLS 1.3, because TLS 1.2 does not have it.
    fn only_tls13(options: &PolicyOptions) -> bool {
        options.tls_min == TlsMin::Tls13 || options.post_quantum == PostQuantum::Require
    }

    /// Builds shared configurations if no handshake needs its own.
    fn share(&mut self) {
        if self.client.is_some() {
            return;
        }
        let general = self.anonymous(&self.general);
        let quantum = self.quantum.as_ref().map(|flavour| self.anonymous(flavour));
        self.general.shared = Some(general);
        if let Some(flavour) = &mut self.quantum {
            flavour.shared = quantum;
        }
    }

    fn anonymous(&self, flavour: &Flavour) -> Arc<ServerConfig> {
        let config = flavour.builder.clone().with_no_client_auth().with_cert_resolver(self.certificates.clone());
        Arc::new(self.finish(config, self.tickets.keys.clone(), 2))
    }

    fn finish(&self, mut config: ServerConfig, ticketer: Arc<dyn ProducesTickets>, count: usize) -> ServerConfig {
        // With a session id, TLS 1.2 clients could resume a session after its ticket has expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        config.send_tls13_tickets = count;
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// Chooses the configuration for a client by `first`, all bytes it has sent so far.
    ///
    /// Bytes that are not a ClientHello start a handshake too, so that rustls answers with the right alert.
    #[doc(hidden)]
    pub fn choose(&self, first: &[u8]) -> Choice {
        match Hello::default().look(first, usize::MAX, usize::MAX) {
            Look::NeedMore | Look::TooLong => Choice::NeedMore,
            Look::Start(end) => Choice::Start(self.answer(first.get(..end).unwrap_or_default())),
        }
    }

    /// The handshake for the client whose ClientHello is in these records.
    pub(super) fn answer(&self, hello: &[u8]) -> Handshake {
        match &self.quantum {
            Some(quantum) if records::offers_post_quantum(hello) => self.start(quantum),
            _ => self.start(&self.general),
        }
    }

    /// A handshake that follows the client's order of groups, for callers that have no bytes yet.
    pub(crate) fn begin(&self) -> Handshake {
        self.start(&self.general)
    }

    /// A configuration that follows the client's order of groups.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.begin().config
    }

    fn start(&self, flavour: &Flavour) -> Handshake {
        if let Some(config) = &flavour.shared {
            return Handshake { config: config.clone(), witness: None };
        }
        let Some(client) = &self.client else {
            return Handshake { config: self.anonymous(flavour), witness: None };
        };
        let witness = Witness::new(client.trust.clone());
        let verifier = HandshakeVerifier { witness: witness.clone(), required: client.required };
        let ticketer = HandshakeTicketer { shared: self.tickets.clone(), witness: witness.clone() };
        let config = flavour
            .builder
            .clone()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.certificates.clone());
        // Every ticket contains the client's whole chain, so one is enough; resuming with it brings the next.
        let config = self.finish(config, Arc::new(ticketer), 1);
        Handshake { config: Arc::new(config), witness: Some(witness) }
    }

    /// Decides again on a client that was accepted under an earlier policy. `chain` is empty if it presented none.
    /// Returns its anchor; `None` if no certificate is required of it.
    pub fn still_trusted(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Arc<Anchor>>, Refusal> {
        let Some(client) = &self.client else { return Ok(None) };
        if chain.is_empty() && !client.required {
            return Ok(None);
        }
        // A clock that cannot be read counts as a time before every certificate.
        let epoch = || UnixTime::since_unix_epoch(Duration::ZERO);
        let authentication = client.trust.admit(chain, self.tickets.clock.current_time().unwrap_or_else(epoch))?;
        Ok(client.trust.anchor(authentication.anchor).cloned())
    }

    /// The trusted certificates for clients; `None` if no certificate is requested.
    pub(crate) fn client_trust(&self) -> Option<&ClientTrust> {
        self.client.as_ref().map(|client| &*client.trust)
    }

    /// The same for an owner.
    pub(crate) fn shared_trust(&self) -> Option<Arc<ClientTrust>> {
        self.client.as_ref().map(|client| Arc::clone(&client.trust))
    }

    /// The server's leaf certificates; the first is used for unknown names.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.leaves()
    }

    /// The CAs whose revocation list has expired at `now` (seconds since the Unix epoch). All clients of such a CA are
    /// rejected until a new list is loaded.
    pub fn outdated_lists(&self, now: u64) -> impl Iterator<Item = &str> {
        self.client.iter().flat_map(move |client| client.trust.revocation().outdated(now))
    }

    /// The CAs whose revocation list stays in force although the files contain an older one, or none.
    pub fn kept_lists(&self) -> impl Iterator<Item = &str> {
        self.client.iter().flat_map(|client| client.trust.revocation().kept())
    }

    /// The CAs in `--client-ca` without a revocation list, if client certificates are requested.
    pub fn unchecked_issuers(&self) -> impl Iterator<Item = &str> {
        self.client.iter().flat_map(|client| client.trust.unchecked_issuers())
    }

    /// The issuer of each revocation list, and its next update in seconds since the Unix epoch.
    pub fn list_updates(&self) -> impl Iterator<Item = (&str, u64)> {
        self.client.iter().flat_map(|client| client.trust.revocation().updates())
    }

    /// The certificates in `--client-ca` and `--client-pin` that have expired at `now`. A client that presents one is
    /// rejected; one with a valid certificate from such a CA is accepted, because a trust anchor is a name and a key
    /// without dates (RFC 5280, 6.1.1).
    pub(crate) fn expired_trust(&self, now: u64) -> impl Iterator<Item = &Certificate> {
        let listed = self.client.iter().flat_map(|client| client.trust.listed());
        listed.filter(move |certificate| certificate.not_after < now)
    }

    /// The policy in one line, for the log at start: what is enforced and what is not.
    #[must_use]
    pub fn describe(&self) -> String {
        self.to_string()
    }
}

impl ClientPolicy {
    fn new(
        options: &PolicyOptions,
        provider: &rustls::crypto::CryptoProvider,
        now: u64,
    ) -> Result<Option<Self>, PolicyError> {
        let named = !options.client_ca.is_empty() || !options.client_pin.is_empty();
        if options.client_ca.is_empty() && !options.crl.is_empty() {
            return Err(PolicyError::CrlWithoutCa);
        }
        let required = match (options.client_auth, named) {
            (None | Some(ClientAuth::None), false) => return Ok(None),
            (Some(ClientAuth::None), true) => return Err(PolicyError::AuthContradiction),
            (Some(ClientAuth::Optional), false) => return Err(PolicyError::NobodyTrusted("optional")),
            (Some(ClientAuth::Required), false) => return Err(PolicyError::NobodyTrusted("required")),
            (None | Some(ClientAuth::Required), true) => true,
            (Some(ClientAuth::Optional), true) => false,
        };
        let PolicyOptions { client_ca, client_pin, crl, outdated_lists, in_force, .. } = options;
        let mut trust = ClientTrust::with_outdated(client_ca, client_pin, crl, provider, now, *outdated_lists)?;
        if let Some(before) = in_force.as_ref().and_then(|policy| policy.client.as_ref()) {
            trust.keep_lists(&before.trust);
        }
        Ok(Some(Self { trust: Arc::new(trust.with_max_chain(options.max_chain)), required }))
    }
}

impl fmt::Display for ServerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.tls_min {
            TlsMin::Tls12 => "TLS 1.2+",
            TlsMin::Tls13 => "TLS 1.3",
        };
        let quantum = match self.post_quantum {
            PostQuantum::Prefer => "post-quantum preferred",
            PostQuantum::Require => "post-quantum required",
            PostQuantum::Off => "post-quantum off",
        };
        write!(f, "{version}, {quantum}, ")?;
        let Some(client) = &self.client else { return f.write_str("client certificate not requested") };
        let demand = if client.required { "required" } else { "optional" };
        let (authorities, pins) = client.trust.counts();
        write!(f, "client certificate {demand} (")?;
        match (authorities, pins) {
            (_, 0) => write!(f, "{})", counted(authorities, "CA"))?,
            (0, _) => write!(f, "{})", counted(pins, "pin"))?,
            _ => write!(f, "{}, {})", counted(authorities, "CA"), counted(pins, "pin"))?,
        }
        describe_revocation(&client.trust, f)
    }
}

/// Describes which certificates are checked for revocation.
fn describe_revocation(trust: &ClientTrust, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let lists = trust.revocation();
    let unchecked: Vec<&str> = trust.unchecked_issuers().collect();
    let Some(until) = lists.earliest_update() else {
        return if unchecked.is_empty() { Ok(()) } else { f.write_str(", revocation not checked; pass --crl") };
    };
    write!(f, ", {} until {}", counted(lists.len(), "CRL"), date(until))?;
    let of_intermediates: Vec<&str> = lists.of_intermediates().collect();
    if !of_intermediates.is_empty() {
        let count = of_intermediates.len();
        let apply = if count == 1 { "applies" } else { "apply" };
        write!(f, ", {count} of them {apply} to intermediate CAs in clients' chains: {}", named(&of_intermediates))?;
    }
    let partial: Vec<&str> = lists.partial().collect();
    if !partial.is_empty() {
        write!(f, ", {} with partial scope: {}", partial.len(), named(&partial))?;
    }
    if !unchecked.is_empty() {
        write!(
            f,
            ", revocation not checked for {}: {}; pass --crl",
            counted(unchecked.len(), "CA"),
            named(&unchecked)
        )?;
    }
    Ok(())
}

/// The most names on one log line.
const NAMES: usize = 8;

/// The first names, and the number of the others.
fn named(names: &[&str]) -> String {
    let some = names.iter().take(NAMES).copied().collect::<Vec<_>>().join("; ");
    match names.len().saturating_sub(NAMES) {
        0 => some,
        others => format!("{some} and {others} more"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
