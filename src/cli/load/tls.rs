//! Flags of TLS: whom to believe, whom to be, which handshakes to make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rustls::SupportedCipherSuite;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::cli::client::system_cas;
use crate::cli::{Failure, files};
use crate::load::plan::{Resume, TlsPlan};
use crate::tls::{ClientOptions, ClientPolicy, PostQuantum, Source, suite_name, suite_named, suite_names};

/// Whom to believe, and as whom to come.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Believe servers with a certificate from this PEM file [default: the system's CAs]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Believe every server: anyone can be in between
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// No TLS
    #[arg(long, conflicts_with_all = ["ca", "insecure", "cert", "identities", "resume", "tls", "pq", "suites", "server_name"])]
    pub(super) plain: bool,
    /// Certificate chain to show, PEM [repeatable: virtual clients take identities in turn]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,
    /// Private key of the --cert at the same place, PEM [repeatable]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// Folder of identities, NAME.pem with its NAME-key.pem: virtual clients take them in turn
    #[arg(long, value_name = "DIR", conflicts_with = "cert")]
    identities: Option<PathBuf>,
    /// Name that the server's certificate must have [default: the host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Speak this version of TLS only
    #[arg(long, value_enum, value_name = "VERSION")]
    tls: Option<TlsVersion>,
    /// Post-quantum key exchange
    #[arg(long, value_enum, value_name = "WHEN", default_value = "prefer")]
    pq: PostQuantumArg,
    /// Cipher suites to offer, the first wanted most, by their standard names [default: TLS_AES_256_GCM_SHA384 and all others]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = suite)]
    suites: Vec<SupportedCipherSuite>,
    /// Which handshakes are full
    #[arg(long, value_enum, value_name = "WHICH", default_value = "full")]
    resume: ResumeArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsVersion {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ResumeArg {
    /// All of them
    Full,
    /// Each virtual client's first; a full one after it is an error
    Tickets,
    /// Each virtual client's first and every second one after it
    Mix,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PostQuantumArg {
    /// Offer X25519MLKEM768 first, classical groups after it
    Prefer,
    /// Offer X25519MLKEM768 alone
    Require,
    /// Offer classical groups only
    Off,
}

impl From<PostQuantumArg> for PostQuantum {
    fn from(arg: PostQuantumArg) -> Self {
        match arg {
            PostQuantumArg::Prefer => Self::Prefer,
            PostQuantumArg::Require => Self::Require,
            PostQuantumArg::Off => Self::Off,
        }
    }
}

impl TlsArgs {
    /// Adds the settings as the report names them.
    pub(super) fn add_settings(&self, settings: &mut BTreeMap<String, String>) {
        if self.plain {
            return;
        }
        let named = [
            ("resume", self.resume.to_possible_value()),
            ("pq", self.pq.to_possible_value()),
            ("tls", self.tls.and_then(|version| version.to_possible_value())),
        ];
        let chosen = named.into_iter().filter_map(|(name, value)| Some((name, value?.get_name().to_owned())));
        settings.extend(chosen.map(|(name, value)| (name.to_owned(), value)));
        if !self.suites.is_empty() {
            let suites: Vec<_> = self.suites.iter().map(|suite| suite_name(suite.suite())).collect();
            settings.insert("suites".to_owned(), suites.join(","));
        }
    }

    /// Who virtual clients are, in turn.
    fn identities(&self) -> Result<Vec<Option<(Source, Source)>>, Failure> {
        if self.cert.len() != self.key.len() {
            return Err(Failure::usage("--key", "there must be as many as there are --cert"));
        }
        let mut identities = Vec::new();
        for (cert, key) in self.cert.iter().zip(&self.key) {
            identities.push(Some((read("--cert", cert)?, read("--key", key)?)));
        }
        if let Some(folder) = &self.identities {
            for (cert, key) in pairs_in(folder)? {
                identities.push(Some((read("--identities", &cert)?, read("--identities", &key)?)));
            }
        }
        if identities.is_empty() {
            identities.push(None);
        }
        Ok(identities)
    }

    /// How connections are encrypted.
    pub(super) fn plan(&self, host: &str) -> Result<TlsPlan, Failure> {
        let name = self.server_name.as_deref().unwrap_or(host).trim_start_matches('[').trim_end_matches(']');
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::usage("--server-name", format!("'{name}' is neither a host name nor an address")))?;
        let ca = match &self.ca {
            Some(path) => vec![read("--ca", path)?],
            None if self.insecure => vec![],
            None => vec![system_cas()?],
        };
        let identities = self.identities()?;
        let versions = match self.tls {
            Some(TlsVersion::V12) => &[&rustls::version::TLS12][..],
            Some(TlsVersion::V13) => &[&rustls::version::TLS13],
            None => rustls::ALL_VERSIONS,
        };
        let mut configs = Vec::new();
        for identity in identities {
            let options = ClientOptions {
                ca: ca.clone(),
                insecure: self.insecure,
                identity,
                alpn: vec![],
                post_quantum: self.pq.into(),
                suites: self.suites.clone(),
            };
            let policy =
                ClientPolicy::with_versions(&options, versions).map_err(|error| Failure::Usage(error.to_string()))?;
            let mut config = rustls::ClientConfig::clone(&policy.config());
            config.resumption = Resumption::disabled();
            configs.push(Arc::new(config));
        }
        let resume = match self.resume {
            ResumeArg::Full => Resume::Full,
            ResumeArg::Tickets => Resume::Tickets,
            ResumeArg::Mix => Resume::Mix,
        };
        Ok(TlsPlan { configs, server_name, resume })
    }
}

fn suite(name: &str) -> Result<SupportedCipherSuite, String> {
    suite_named(name).ok_or_else(|| format!("offered can be {}", suite_names().collect::<Vec<_>>().join(", ")))
}

/// The pairs of certificate and key in a folder, by name.
fn pairs_in(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let refuse = |why: String| Failure::usage("--identities", format!("{}: {why}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(|error| refuse(error.to_string()))?;
    let mut pairs = Vec::new();
    for entry in entries {
        let cert = entry.map_err(|error| refuse(error.to_string()))?.path();
        let Some(name) = cert.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".pem"))
        else {
            continue;
        };
        let key = folder.join(format!("{name}-key.pem"));
        if key.is_file() {
            pairs.push((cert, key));
        }
    }
    pairs.sort();
    if pairs.is_empty() { Err(refuse("there is no NAME.pem with a NAME-key.pem".to_owned())) } else { Ok(pairs) }
}

fn read(flag: &str, path: &Path) -> Result<Source, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}
