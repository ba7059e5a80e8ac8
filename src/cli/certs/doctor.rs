//! `certs check HOST:PORT`: what a live server offers, and what a client needs to connect.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{CertsError, Outcome, days};
use crate::cli::address::host_and_port;
use crate::cli::files;
use crate::net::TimedStream;
use crate::tls::authority::Role;
use crate::tls::{
    Certificate, PemSource, Purpose, Question, Refusal, ServerTrust, date, is_post_quantum, judge, shown_name,
    suite_name,
};

/// Time limit for connecting, and again for the whole handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time to wait after a TLS 1.3 handshake for tickets or an alert, which come with the server's next flight.
const AFTERWARDS: Duration = Duration::from_millis(700);
/// Time to wait for an alert after tickets have arrived.
const AFTER_TICKETS: Duration = Duration::from_millis(100);

/// A server to examine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckTarget {
    host: String,
    port: u16,
}

impl CheckTarget {
    /// Parses `host:port`, `1.2.3.4:port` or `[::1]:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = host_and_port(text).ok()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
        let plausible = !host.contains(['/', '\\']);
        plausible.then_some(Self { host, port })
    }
}

/// Whether the server requests a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    None,
    Optional,
    Required,
}

/// The result of one handshake.
struct Seen {
    connection: ClientConnection,
    demand: Demand,
    wanted: Vec<String>,
}

/// Sends no certificate, and records whether one was requested and from which CAs.
#[derive(Debug, Default)]
struct Listener {
    asked: Mutex<Option<Vec<String>>>,
}

impl ResolvesClientCert for Listener {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let names = hints.iter().map(|name| shown_name(name)).collect();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A client configuration for probes.
struct Approach {
    config: Arc<ClientConfig>,
    listener: Arc<Listener>,
}

impl Approach {
    fn new(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> Result<Self, CertsError> {
        let trust = ServerTrust::insecure(&provider);
        let listener = Arc::new(Listener::default());
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(|error| CertsError::Connection(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(trust)
            .with_no_client_auth();
        config.client_auth_cert_resolver = listener.clone();
        Ok(Self { config: Arc::new(config), listener })
    }

    /// Completes one handshake, and waits briefly for an alert after it.
    fn probe(&self, address: &CheckTarget) -> Result<Seen, CertsError> {
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| CertsError::Usage(format!("{} is not a host name or an address", address.host)))?;
        let failed = |error: &dyn std::fmt::Display| {
            CertsError::Connection(format!("{}:{}: {error}", address.host, address.port))
        };
        let mut connection = ClientConnection::new(self.config.clone(), name).map_err(|error| failed(&error))?;
        let mut socket = connect(address).map_err(|error| failed(&error))?;
        let handshake = handshake(&mut connection, &mut socket);
        let asked = self.listener.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let refused = match handshake {
            // A TLS 1.2 server rejects a client without a certificate within the handshake.
            Err(_) if asked.is_some() && connection.peer_certificates().is_some() => true,
            Err(error) => return Err(failed(&error)),
            Ok(()) => linger(&mut connection, &mut socket),
        };
        let demand = match (&asked, refused) {
            (None, _) => Demand::None,
            (Some(_), false) => Demand::Optional,
            (Some(_), true) => Demand::Required,
        };
        connection.send_close_notify();
        let _ = connection.write_tls(&mut socket);
        Ok(Seen { connection, demand, wanted: asked.unwrap_or_default() })
    }
}

fn connect(address: &CheckTarget) -> io::Result<TimedStream> {
    let mut socket = TimedStream::connect(&address.host, address.port, PATIENCE)?;
    socket.end_in(PATIENCE);
    Ok(socket)
}

fn handshake(connection: &mut ClientConnection, socket: &mut TimedStream) -> io::Result<()> {
    while connection.is_handshaking() {
        match connection.complete_io(socket) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer a TLS handshake"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what follows the handshake; returns whether the server rejected the client after all.
fn linger(connection: &mut ClientConnection, socket: &mut TimedStream) -> bool {
    if connection.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
        // In TLS 1.2 the server's Finished comes last, so the client has been accepted.
        return false;
    }
    socket.end_in(AFTERWARDS);
    // Each iteration reads something or ends; the number is bounded for a server that sends without end.
    for _ in 0..16 {
        match connection.read_tls(socket) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match connection.process_new_packets() {
            Err(rustls::Error::AlertReceived(_)) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
        socket.end_in(AFTER_TICKETS);
        let mut discarded = [0; 4096];
        let _ = io::Read::read(&mut connection.reader(), &mut discarded);
    }
    false
}

fn without_post_quantum() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| !is_post_quantum(group.name()));
    provider
}

/// Examines a server and reports what a client needs.
pub(super) fn examine(
    address: &CheckTarget,
    ca: Option<&Path>,
    now: u64,
    out: &mut dyn Write,
) -> Result<Outcome, CertsError> {
    let ca = ca.map(files::read).transpose()?;
    let approach = Approach::new(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS)?;
    let seen = approach.probe(address)?;
    writeln!(out, "{}:{} speaks TLS", address.host, address.port)?;
    protocol(address, &seen, out)?;
    let faulty = match seen.connection.peer_certificates() {
        Some(chain) => certificate(address, chain, ca.as_ref(), now, out)?,
        None => false,
    };
    clients(&seen, out)?;
    resumption(address, &approach, &seen, out)?;
    Ok(if faulty { Outcome::Faulty } else { Outcome::Fine })
}

fn protocol(address: &CheckTarget, seen: &Seen, out: &mut dyn Write) -> Result<(), CertsError> {
    let version = seen.connection.protocol_version();
    let is_tls13 = version == Some(ProtocolVersion::TLSv1_3);
    let older = if is_tls13 {
        let tls12 = Approach::new(aws_lc_rs::default_provider(), &[&rustls::version::TLS12])?;
        if tls12.probe(address).is_ok() { "; TLS 1.2 also accepted" } else { " only" }
    } else {
        "; TLS 1.3 not supported"
    };
    writeln!(out, "  version       {}{older}", if is_tls13 { "TLS 1.3" } else { "TLS 1.2" })?;
    if let Some(suite) = seen.connection.negotiated_cipher_suite() {
        writeln!(out, "  cipher suite  {}", suite_name(suite.suite()))?;
    }
    if let Some(group) = seen.connection.negotiated_key_exchange_group() {
        let note = if is_post_quantum(group.name()) {
            let classical = Approach::new(without_post_quantum(), rustls::ALL_VERSIONS)?;
            let accepted = classical.probe(address).is_ok();
            if accepted { "post-quantum; classical also accepted" } else { "post-quantum, required" }
        } else {
            "classical: a recording can be decrypted by a future quantum computer"
        };
        writeln!(out, "  key exchange  {:?} ({note})", group.name())?;
    }
    Ok(())
}

/// Reports on the chain; returns whether a verifier rejects it.
fn certificate(
    address: &CheckTarget,
    chain: &[CertificateDer<'_>],
    ca: Option<&PemSource>,
    now: u64,
    out: &mut dyn Write,
) -> Result<bool, CertsError> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Ok(false) };
    let unreadable = |source| CertsError::Certificate { file: "the server's certificate".into(), source };
    let facts = Certificate::from_der(leaf).map_err(unreadable)?;
    let issuer = if facts.is_self_issued() { "itself".to_owned() } else { facts.issuer.clone() };
    writeln!(out, "  certificate   {}, issued by {issuer}", facts.subject)?;
    writeln!(out, "  valid until   {} ({})", date(facts.not_after), days(facts.not_after, now))?;
    writeln!(out, "  names         {}", facts.server_names().join(", "))?;
    writeln!(
        out,
        "  chain         {} sent",
        if chain.len() == 1 { "1 certificate".to_owned() } else { format!("{} certificates", chain.len()) }
    )?;
    let trusted = ca.map(PemSource::certificates).transpose()?;
    let purpose = Some(Purpose::EndEntity(Role::Server));
    let judgement = judge(&Question { chain, trusted: trusted.as_deref(), purpose, now }).map_err(unreadable)?;
    for objection in &judgement.objections {
        let by: Vec<String> = objection.by.iter().map(ToString::to_string).collect();
        writeln!(out, "  rejected by   {}: {}", by.join(", "), objection.why)?;
    }
    let refused = trust(address, leaf, intermediates, ca, now)?;
    match &refused {
        None if ca.is_some() => writeln!(out, "  trust         verified with --ca")?,
        None => {}
        Some(refusal) if ca.is_some() => {
            writeln!(out, "  trust         rejected with --ca: {refusal}; {}", refusal.cure())?;
        }
        Some(Refusal::SelfSigned { .. }) => writeln!(out, "  a client needs --ca FILE with this certificate")?,
        Some(Refusal::UnknownIssuer { issuer }) => {
            writeln!(out, "  a client needs --ca FILE with the certificate of {issuer}")?;
        }
        Some(refusal) => writeln!(out, "  a client would reject it: {refusal}; {}", refusal.cure())?,
    }
    let unknown = matches!(refused, Some(Refusal::SelfSigned { .. } | Refusal::UnknownIssuer { .. }));
    for doubt in &judgement.doubts {
        let by: Vec<String> = doubt.by.iter().map(ToString::to_string).collect();
        writeln!(out, "  unknown to    {}: {}", by.join(", "), doubt.why)?;
    }
    Ok(!judgement.objections.is_empty() || (refused.is_some() && !(ca.is_none() && unknown)))
}

fn trust(
    address: &CheckTarget,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    ca: Option<&PemSource>,
    now: u64,
) -> Result<Option<Refusal>, CertsError> {
    let Ok(name) = ServerName::try_from(address.host.as_str()) else { return Ok(None) };
    let listed: Vec<PemSource> = ca.into_iter().cloned().collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let trust = ServerTrust::new(&listed, &aws_lc_rs::default_provider())?;
    Ok(trust.check(leaf, intermediates, &name, at).err())
}

fn clients(seen: &Seen, out: &mut dyn Write) -> Result<(), CertsError> {
    let demand = match seen.demand {
        Demand::None => "need no certificate",
        Demand::Optional => "may send a certificate",
        Demand::Required => "must send a certificate: --cert FILE --key FILE",
    };
    write!(out, "  clients       {demand}")?;
    if !seen.wanted.is_empty() {
        write!(out, " (of {})", seen.wanted.join("; or of "))?;
    }
    Ok(writeln!(out)?)
}

fn resumption(address: &CheckTarget, approach: &Approach, seen: &Seen, out: &mut dyn Write) -> Result<(), CertsError> {
    if seen.demand == Demand::Required {
        return Ok(writeln!(out, "  resumption    not tried: needs an accepted client certificate")?);
    }
    // The configuration keeps the tickets of the first connection.
    let resumed = approach.probe(address)?.connection.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(writeln!(out, "  resumption    {}", if resumed { "works" } else { "not offered" })?)
}

#[cfg(test)]
mod tests {
    use super::CheckTarget;

    #[test]
    fn addresses_and_files_are_distinguished() {
        let address = |host: &str, port| Some(CheckTarget { host: host.to_owned(), port });
        assert_eq!(CheckTarget::parse("localhost:20000"), address("localhost", 20000));
        assert_eq!(CheckTarget::parse("[::1]:443"), address("::1", 443));
        for file in ["server.pem", "certs/a:1", "localhost:", ":443", "localhost:99999"] {
            assert_eq!(CheckTarget::parse(file), None, "{file}");
        }
    }
}
