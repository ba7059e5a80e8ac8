//! TLS flags, connecting and error texts of the subcommands that are clients.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::ServerName;

use super::address::{bare, lookup_in_words};
use super::{Failure, files, units};
use crate::client::{Client, ClientError};
use crate::net::TimedStream;
use crate::tls::{ClientOptions, ClientPolicy, PemSource, alert_cure};

/// Files in which systems keep the CA certificates they trust, unless `SSL_CERT_FILE` names another.
const SYSTEM_CAS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Which servers are trusted, and the client's own certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct ClientTlsArgs {
    /// Trust servers whose certificate this PEM file verifies: a CA's certificate, or the server's own self-signed one
    /// [default: the system's CAs]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name sent as SNI and expected in the server's certificate [default: the HOST]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Client certificate chain to send if the server requests one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Maximum number of certificates in the server's chain, its own included; longer chains are rejected unverified
    #[arg(long, value_name = "N", default_value = "8", value_parser = units::chain)]
    max_chain: usize,
    /// Time limit for connecting and the handshake together
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    connect_timeout: Duration,
}

impl ClientTlsArgs {
    /// Reads the files that the flags name.
    pub(super) fn policy(&self, alpn: &[&str]) -> Result<ClientPolicy, Failure> {
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read("--cert", cert)?, read("--key", key)?)),
            _ => None,
        };
        policy(self.ca.as_deref(), identity, alpn, self.max_chain)
    }
}

/// The policy for servers trusted by `--ca`, or else by the system's CAs, and for the client's own certificate.
pub(super) fn policy(
    ca: Option<&Path>,
    identity: Option<(PemSource, PemSource)>,
    alpn: &[&str],
    max_chain: usize,
) -> Result<ClientPolicy, Failure> {
    let ca = match ca {
        Some(path) => read("--ca", path)?,
        None => system_cas()?,
    };
    let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let options = ClientOptions { ca: vec![ca], identity, alpn, max_chain, ..ClientOptions::default() };
    ClientPolicy::new(&options).map_err(|error| {
        let identity = options.identity.iter().flat_map(|(cert, key)| [("--key", key), ("--cert", cert)]);
        Failure::of_file(&error, identity.chain(options.ca.iter().map(|ca| ("--ca", ca))))
    })
}

fn read(flag: &str, path: &Path) -> Result<PemSource, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}

pub(super) fn system_cas() -> Result<PemSource, Failure> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || SYSTEM_CAS.iter().map(PathBuf::from).find(|path| path.exists());
    let path = named.or_else(usual).ok_or_else(|| {
        Failure::usage(
            "--ca",
            "no CA certificates found in this system's usual places: pass the file of the server's CA",
        )
    })?;
    read("--ca", &path)
}

/// Parses the name that the server's certificate must have.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::usage("--server-name", format!("'{name}' is neither a host name nor an address")))
}

/// Connects to `host` at `port` and completes the handshake, within `--connect-timeout`. The same limit applies to
/// later reads and writes until another one is set.
pub(super) fn connect(
    host: &str,
    port: u16,
    args: &ClientTlsArgs,
    alpn: &[&str],
) -> Result<Client<TimedStream>, Failure> {
    let policy = args.policy(alpn)?;
    let bare = bare(host);
    let name = server_name(args.server_name.as_deref().unwrap_or(bare))?;
    let stream = TimedStream::connect(bare, port, args.connect_timeout)
        .map_err(|error| Failure::Other(format!("cannot connect to {host}:{port}: {}", lookup_in_words(&error))))?;
    Ok(Client::handshake(stream, policy, name)?)
}

/// The error, and the remedy where one is known.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let cure = match &error {
            ClientError::Refused(refusal) => refusal.cure(),
            ClientError::Alert(alert) => alert_cure(*alert),
            ClientError::Late => "increase --timeout",
            ClientError::NotTls => "connect to the server's TLS port",
            _ => "",
        };
        Self::Other(if cure.is_empty() { error.to_string() } else { format!("{error}: {cure}") })
    }
}

/// Converts a failed read or write of a [`Client`], whose `io::Error` carries the client's own error.
pub(super) fn broken(error: io::Error) -> Failure {
    match error.downcast::<ClientError>() {
        Ok(error) => error.into(),
        Err(error) => ClientError::Stream(error).into(),
    }
}
