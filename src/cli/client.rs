//! The client half of the command line: flags, connecting, and words for what goes wrong.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use super::{Failure, files, units};
use crate::tls::{ClientOptions, ClientPolicy, Outgoing, Session, Source};

/// Where systems keep the CA certificates that they trust, unless `SSL_CERT_FILE` names another file.
const SYSTEM_CAS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Whom to believe, and who to be.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct ClientTlsArgs {
    /// Believe servers with a certificate from this PEM file: a CA's, or the server's own self-signed one [default: the
    /// system's CAs]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate chain to show when the server asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// How long connecting and the handshake may take, together
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    connect_timeout: Duration,
}

impl ClientTlsArgs {
    /// Reads the files that the flags name.
    pub(super) fn policy(&self, alpn: &[&str]) -> Result<ClientPolicy, Failure> {
        let ca = match &self.ca {
            Some(path) => read("--ca", path)?,
            None => system_cas()?,
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read("--cert", cert)?, read("--key", key)?)),
            _ => None,
        };
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let options = ClientOptions { ca: vec![ca], identity, alpn, ..ClientOptions::default() };
        ClientPolicy::new(&options).map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn read(flag: &str, path: &Path) -> Result<Source, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}

pub(super) fn system_cas() -> Result<Source, Failure> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || SYSTEM_CAS.iter().map(PathBuf::from).find(|path| path.exists());
    let path = named.or_else(usual).ok_or_else(|| {
        Failure::usage(
            "--ca",
            "this system keeps no CA certificates in a usual place: name the file of the server's CA",
        )
    })?;
    read("--ca", &path)
}

/// A TLS connection whose handshake is done.
pub(super) struct Client {
    pub(super) socket: TcpStream,
    pub(super) session: Session,
    pub(super) policy: ClientPolicy,
    retained: Vec<u8>,
    output: Outgoing,
}

/// Plaintext that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Some came, or may come.
    Open,
    /// The server has said good-bye.
    Closed,
}

impl Client {
    /// Connects to `host` at `port` and shakes hands within the flags' time. The socket blocks for that long at most.
    pub(super) fn connect(host: &str, port: u16, args: &ClientTlsArgs, alpn: &[&str]) -> Result<Self, Failure> {
        let policy = args.policy(alpn)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Failure::Usage(format!("'{host}' is neither a host name nor an address")))?;
        let socket = connect(bare, port, args.connect_timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(args.connect_timeout))?;
        socket.set_write_timeout(Some(args.connect_timeout))?;
        let session = Session::client(policy.config(), name).map_err(|error| Failure::Other(error.to_string()))?;
        let mut client = Self { socket, session, policy, retained: Vec::new(), output: Outgoing::default() };
        client.digest(&[], &mut |_| {})?;
        while client.session.is_handshaking() {
            match client.receive(&mut |_| {})? {
                Input::Open => {}
                Input::Closed => return Err(Failure::Other(format!("{host}:{port} closed during the handshake"))),
            }
        }
        Ok(client)
    }

    /// Reads the socket once and gives what comes of it to `deliver`.
    pub(super) fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) -> Result<Input, Failure> {
        let mut bytes = vec![0; READ_BYTES];
        let count = match self.socket.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(Failure::Other("the server does not answer: is it a TLS server?".into()));
            }
            Err(error) => return Err(Failure::Other(format!("the connection broke: {error}"))),
        };
        self.digest(bytes.get(..count).unwrap_or_default(), deliver)?;
        let over = count == 0 || self.session.peer_closed();
        Ok(if over { Input::Closed } else { Input::Open })
    }

    /// Takes `bytes` from the server, gives their plaintext to `deliver`, and sends what the session answers.
    fn digest(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        let answer = self.decrypt(bytes, deliver)?;
        self.write(&answer)
    }

    /// Takes `bytes` from the server, gives their plaintext to `deliver`; returns what must be sent in answer.
    pub(super) fn decrypt(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) -> Result<Vec<u8>, Failure> {
        self.retained.extend_from_slice(bytes);
        loop {
            let received = self.session.receive(&mut self.retained, &mut self.output, deliver);
            self.retained.drain(..received.consumed);
            if let Some(error) = received.error {
                // Told or not, the server finds out; what counts is what the user is told.
                let alert = self.take_output();
                let _ = self.socket.write_all(&alert);
                return Err(self.explain(&error, bytes));
            }
            if !received.opened {
                return Ok(self.take_output());
            }
        }
    }

    /// The encrypted form of `plaintext`, to be sent.
    pub(super) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        let sent = self.session.send(plaintext, &mut self.retained, &mut self.output);
        sent.map_err(|error| Failure::Other(error.to_string()))?;
        Ok(self.take_output())
    }

    /// The word that nothing more will be sent, to be sent.
    pub(super) fn encrypt_farewell(&mut self) -> Result<Vec<u8>, Failure> {
        let sent = self.session.send_close_notify(&mut self.retained, &mut self.output);
        sent.map_err(|error| Failure::Other(error.to_string()))?;
        Ok(self.take_output())
    }

    /// Encrypts and sends.
    pub(super) fn send(&mut self, plaintext: &[u8]) -> Result<(), Failure> {
        let bytes = self.encrypt(plaintext)?;
        self.write(&bytes)
    }

    fn take_output(&mut self) -> Vec<u8> {
        let bytes = self.output.filled().to_vec();
        self.output.clear();
        bytes
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.socket.write_all(bytes).map_err(|error| Failure::Other(format!("the connection broke: {error}")))
    }

    /// What a broken session means for the user, and what to do.
    fn explain(&self, error: &rustls::Error, input: &[u8]) -> Failure {
        let (what, cure) = match error {
            rustls::Error::InvalidCertificate(_) => match self.policy.refusal() {
                Some(refusal) => (format!("the server is not believed: {refusal}"), refusal.cure()),
                None => (format!("the server is not believed: {error}"), ""),
            },
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                ("the server demands a client certificate".into(), "pass yours with --cert FILE --key FILE")
            }
            rustls::Error::AlertReceived(alert) => {
                (format!("the server refused the connection (alert {alert:?})"), cure_for(*alert))
            }
            rustls::Error::InvalidMessage(_) if !input.starts_with(&[22]) && self.session.is_handshaking() => {
                ("this port does not speak TLS".into(), "use the server's TLS port")
            }
            _ => (error.to_string(), ""),
        };
        Failure::Other(if cure.is_empty() { what } else { format!("{what}: {cure}") })
    }
}

fn cure_for(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError => {
            "it does not accept the client certificate: pass one from a CA that it trusts with --cert FILE --key FILE"
        }
        AlertDescription::CertificateExpired => "the client certificate has expired: pass a new one with --cert FILE",
        AlertDescription::CertificateRevoked => "the client certificate was revoked: pass another with --cert FILE",
        AlertDescription::ProtocolVersion => "it speaks none of TLS 1.2 and 1.3",
        _ => "its log says why",
    }
}

/// Connects to the first address of `host` that answers.
fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Other(format!("cannot connect to {host}:{port}: {error}"));
    let addresses = (host, port).to_socket_addrs().map_err(|error| failed(&error))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| failed(&"the name has no address"), |error| failed(&error)))
}
