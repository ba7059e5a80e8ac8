//! Flags of TLS: trust, identity, handshakes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::cli::address::bare;
use crate::cli::client_tls::system_cas;
use crate::cli::{Failure, files, units};
use crate::load::plan::{Resume, TlsPlan};
use crate::tls::{ClientOptions, ClientPolicy, PemSource, PostQuantum, suite_name, suite_named, suite_names};

/// Trust and identity.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct LoadTlsArgs {
    /// Trust servers whose certificate a CA in this PEM file issued [default: the system's CAs]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust every server: traffic can be intercepted
    #[arg(long, conflicts_with_all = ["ca", "max_chain"])]
    insecure: bool,
    /// No TLS
    #[arg(long, conflicts_with_all = ["ca", "insecure", "cert", "identities", "tls", "pq", "suites", "server_name", "max_chain"])]
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
    /// Certificates in the server's chain, its own included; more are not verified at all
    #[arg(long, value_name = "N", default_value = "8", value_parser = units::chain)]
    max_chain: usize,
    /// Offer this version of TLS only
    #[arg(long, value_enum, value_name = "VERSION")]
    tls: Option<TlsVersion>,
    /// Post-quantum key exchange, which needs TLS 1.3 [default: prefer]
    #[arg(long, value_enum, value_name = "WHEN")]
    pq: Option<PostQuantumArg>,
    /// Cipher suites to offer, the first wanted most, by their standard names [default: TLS_AES_256_GCM_SHA384 and all others]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = suite)]
    suites: Vec<SupportedCipherSuite>,
}

/// Which handshakes are full; for runs that connect more than once.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct ResumeArgs {
    /// Which handshakes are full: all of them (full), each virtual client's first, a full one after it being an error
    /// (tickets), or its first and half of the others (mix; mix:90% resumes nine tenths of them) [default: full]
    #[arg(long, value_name = "full|tickets|mix|mix:SHARE%", value_parser = resume, conflicts_with = "plain")]
    resume: Option<Resume>,
}

fn resume(text: &str) -> Result<Resume, String> {
    match (text, text.strip_prefix("mix:").and_then(|share| share.strip_suffix('%'))) {
        ("full", _) => Ok(Resume::Full),
        ("tickets", _) => Ok(Resume::Tickets),
        ("mix", _) => Ok(Resume::HALF),
        (_, Some(share)) => share.parse().ok().and_then(Resume::mix).ok_or_else(|| {
            "the share of resumed handshakes is more than 0% and less than 100%, such as mix:90%".to_owned()
        }),
        _ => Err("expected full, tickets, mix or mix:SHARE%, such as mix:90%".to_owned()),
    }
}

impl ResumeArgs {
    /// The choice; it has no effect if no connection is ever replaced.
    pub(super) fn resume(self, connects_again: bool) -> Result<Resume, Failure> {
        let resume = self.resume.unwrap_or(Resume::Full);
        if resume != Resume::Full && !connects_again {
            return Err(Failure::usage(
                "--resume",
                "each client connects once here, and nothing is resumed: add --requests-per-connection or \
                 --connection-lifetime, or use `load handshake`",
            ));
        }
        Ok(resume)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsVersion {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
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

impl LoadTlsArgs {
    /// Adds the settings as the report names them.
    pub(super) fn add_settings(&self, settings: &mut BTreeMap<String, String>) {
        let pq = self.pq.or((self.tls != Some(TlsVersion::V12)).then_some(PostQuantumArg::Prefer));
        let named = [
            ("pq", pq.and_then(|pq| pq.to_possible_value())),
            ("tls", self.tls.and_then(|version| version.to_possible_value())),
        ];
        let chosen = named.into_iter().filter_map(|(name, value)| Some((name, value?.get_name().to_owned())));
        settings.extend(chosen.map(|(name, value)| (name.to_owned(), value)));
        if self.insecure {
            settings.insert("insecure".to_owned(), "yes".to_owned());
        }
        let paths =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",");
        let folder: Vec<_> = self.identities.iter().cloned().collect();
        let given = [
            ("server-name", self.server_name.clone().unwrap_or_default()),
            ("cert", paths(&self.cert)),
            ("identities", paths(&folder)),
        ];
        settings.extend(
            given.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)),
        );
        if !self.suites.is_empty() {
            let suites: Vec<_> = self.suites.iter().map(|suite| suite_name(suite.suite())).collect();
            settings.insert("suites".to_owned(), suites.join(","));
        }
    }

    /// A flag that was given and has no meaning without TLS.
    pub(super) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--ca", self.ca.is_some()),
            ("--insecure", self.insecure),
            ("--cert", !self.cert.is_empty()),
            ("--identities", self.identities.is_some()),
            ("--server-name", self.server_name.is_some()),
            ("--tls", self.tls.is_some()),
            ("--pq", self.pq.is_some()),
            ("--suites", !self.suites.is_empty()),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// The versions that are offered. Every flag must be able to have its effect with them.
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, Failure> {
        let versions = match (self.tls, self.pq) {
            (Some(TlsVersion::V12), Some(PostQuantumArg::Prefer | PostQuantumArg::Require)) => {
                return Err(Failure::usage(
                    "--pq",
                    "TLS 1.2 has no post-quantum key exchange: leave out one of --tls and --pq",
                ));
            }
            (Some(TlsVersion::V12), _) => vec![&rustls::version::TLS12],
            (Some(TlsVersion::V13), _) | (None, Some(PostQuantumArg::Require)) => vec![&rustls::version::TLS13],
            (None, _) => rustls::ALL_VERSIONS.to_vec(),
        };
        for suite in &self.suites {
            if !versions.iter().any(|version| version.version == suite.version().version) {
                let name = suite_name(suite.suite());
                return Err(Failure::usage(
                    "--suites",
                    format!("{name} is not of a version of TLS that is offered here"),
                ));
            }
        }
        Ok(versions)
    }

    /// The identities of virtual clients, in turn.
    fn identities(&self, connections: u64) -> Result<Vec<Option<(PemSource, PemSource)>>, Failure> {
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
        let count = identities.len();
        if u64::try_from(count).is_ok_and(|count| count > connections) {
            let flag = if self.identities.is_some() { "--identities" } else { "--cert" };
            return Err(Failure::usage(
                flag,
                format!(
                    "{count} identities are more than {connections} clients can have: give --connections {count} or more"
                ),
            ));
        }
        if identities.is_empty() {
            identities.push(None);
        }
        Ok(identities)
    }

    /// How the `connections` to `host` are encrypted.
    pub(super) fn plan(&self, host: &str, connections: u64, resume: Resume) -> Result<TlsPlan, Failure> {
        let name = bare(self.server_name.as_deref().unwrap_or(host));
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::usage("--server-name", format!("'{name}' is neither a host name nor an address")))?;
        let versions = self.versions()?;
        let ca = match &self.ca {
            Some(path) => vec![read("--ca", path)?],
            None if self.insecure => vec![],
            None => vec![system_cas()?],
        };
        let identities = self.identities(connections)?;
        let mut configs = Vec::new();
        for identity in identities {
            let options = ClientOptions {
                ca: ca.clone(),
                insecure: self.insecure,
                identity,
                alpn: vec![],
                post_quantum: self.pq.unwrap_or(PostQuantumArg::Prefer).into(),
                suites: self.suites.clone(),
                max_chain: self.max_chain,
            };
            let policy = ClientPolicy::with_versions(&options, &versions).map_err(|error| {
                let [cert, key] = if self.identities.is_some() { ["--identities"; 2] } else { ["--cert", "--key"] };
                let of_identity = options.identity.iter().flat_map(|(chain, private)| [(cert, chain), (key, private)]);
                let of_ca = options.ca.iter().filter(|_| self.ca.is_some()).map(|file| ("--ca", file));
                Failure::of_file(&error, of_ca.chain(of_identity))
            })?;
            let mut config = rustls::ClientConfig::clone(&policy.config());
            config.resumption = Resumption::disabled();
            configs.push(Arc::new(config));
        }
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

fn read(flag: &str, path: &Path) -> Result<PemSource, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}
