//! The TLS flags that every listening subcommand shares.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::development::{self, DevelopmentIdentities};
use super::{Failure, files};
use crate::net::Net;
use crate::tls::{ClientAuth, PolicyOptions, ServerPolicy, Source};

/// Where development identities are made and found.
const DEVELOPMENT_FOLDER: &str = "certs";

/// Certificates, and what is asked of clients.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Certificate chain to show to clients, PEM, the leaf first
    ///
    /// With no certificate named, a development CA, a server and a client identity are made once in certs/ and used.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Let in clients with a certificate from the CAs in this PEM file [repeatable]
    ///
    /// A self-signed certificate in it is accepted as itself, and may issue. Naming one makes client certificates
    /// required unless --client-auth optional is given.
    #[arg(long, value_name = "FILE")]
    client_ca: Vec<PathBuf>,
    /// Let in clients with exactly these certificates, which may issue no others [repeatable]
    #[arg(long, value_name = "FILE")]
    client_pin: Vec<PathBuf>,
    /// Whether clients must show a certificate [default: required with --client-ca or --client-pin, else none]
    #[arg(long, value_name = "WHEN")]
    client_auth: Option<ClientAuthArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClientAuthArg {
    /// No certificate is asked for
    None,
    /// One that is shown must be acceptable
    Optional,
    /// An acceptable one must be shown
    Required,
}

/// The certificates that listeners use, and whether they were made for development.
pub(super) struct TlsSetup {
    options: PolicyOptions,
    pub(super) development: Option<DevelopmentIdentities>,
}

impl TlsArgs {
    /// Reads the files that the flags name.
    pub(super) fn load(&self, net: &impl Net) -> Result<TlsSetup, Failure> {
        let (identity, development) = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => ((read("--cert", cert)?, read("--key", key)?), None),
            _ => {
                let made = development::development_identities(Path::new(DEVELOPMENT_FOLDER), net.now().unix_seconds());
                let made = made.map_err(|error| Failure::usage("--cert", error))?;
                (made.server.clone(), Some(made))
            }
        };
        let options = PolicyOptions {
            identities: vec![identity],
            client_ca: read_all("--client-ca", &self.client_ca)?,
            client_pin: read_all("--client-pin", &self.client_pin)?,
            client_auth: self.client_auth.map(|auth| match auth {
                ClientAuthArg::None => ClientAuth::None,
                ClientAuthArg::Optional => ClientAuth::Optional,
                ClientAuthArg::Required => ClientAuth::Required,
            }),
            ..PolicyOptions::default()
        };
        Ok(TlsSetup { options, development })
    }
}

impl TlsSetup {
    /// The policy of a listener that speaks `alpn` (RFC 7301), or leaves that extension out.
    pub(super) fn policy(&self, alpn: &[&str]) -> Result<Arc<ServerPolicy>, Failure> {
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let policy = ServerPolicy::new(PolicyOptions { alpn, ..self.options.clone() });
        policy.map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn read(flag: &str, path: &Path) -> Result<Source, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}

fn read_all(flag: &str, paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    paths.iter().map(|path| read(flag, path)).collect()
}
