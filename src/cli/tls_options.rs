//! The TLS flags of the listening subcommands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::development::{self, DevelopmentIdentities};
use super::files::{self, ReadableBy};
use super::{Failure, units};
use crate::access::{Gate, Reach, Rules};
use crate::limits::Limits;
use crate::services::Splice;
use crate::tls::{ClientAuth, OutdatedLists, PemSource, PolicyOptions, PostQuantum, ServerPolicy, TlsMin};

/// Folder of the development certificates.
const DEVELOPMENT_FOLDER: &str = "certs";

/// A working day with a margin: a user who presents a smart card in the morning does so again the next day.
const REAUTHENTICATE_AFTER: Duration = Duration::from_hours(12);

/// Certificates, and what clients must present.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Server certificate chain, PEM, leaf first [repeatable]
    ///
    /// Without --cert, a development CA, a server and a client certificate are created once in certs/ and used. Of
    /// several certificates, a client gets the first that matches its SNI name, or else the first.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,
    /// Private key of --cert, PEM; one for each, in the same order [repeatable]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// Accept private keys that other users can read
    #[arg(long)]
    allow_readable_key: bool,
    /// Accept client certificates issued by the CAs in this PEM file [repeatable]
    ///
    /// A self-signed certificate in it is accepted as itself and may issue. Client certificates are then required
    /// unless --client-auth optional is given.
    #[arg(long, value_name = "FILE")]
    client_ca: Vec<PathBuf>,
    /// Accept exactly these client certificates, which may not issue others [repeatable]
    #[arg(long, value_name = "FILE")]
    client_pin: Vec<PathBuf>,
    /// Whether client certificates are requested and required [default: required with --client-ca or --client-pin, else
    /// none]
    #[arg(long, value_name = "WHEN")]
    client_auth: Option<ClientAuthArg>,
    /// Reject client certificates listed as revoked in this PEM file of revocation lists (CRLs) [repeatable]
    ///
    /// A list applies to the certificates issued by its CA: a CA in --client-ca, or one below it whose certificate the
    /// client sends. Every certificate between the client's and a CA with a list is checked; a certificate that no list
    /// covers is rejected. When a list expires (nextUpdate), all certificates under its CA are rejected: at start that
    /// is an error, at a reload a warning. A CA in --client-ca without a list is not checked, which the start line
    /// reports. Pins are checked too. After a reload, a list stays in force until the files hold a newer one of its CA.
    #[arg(long, value_name = "FILE", requires = "client_ca")]
    crl: Vec<PathBuf>,
    /// Admit only clients that match a rule in this TOML file, and allow them only what it grants
    ///
    /// `[[rule]]` matches clients by cn, dns, uri, email, fingerprint or anchor (all that are given must match), and
    /// grants a list of "read", "write" and names of methods and commands, for keys with `prefix` if one is given.
    /// Clients of wrap need the grant "connect".
    #[arg(long, value_name = "FILE")]
    authorize: Option<PathBuf>,
    /// Maximum number of certificates in a peer's chain, its own included; longer chains are rejected unverified
    /// [default: 8]
    #[arg(long, value_name = "N", value_parser = units::chain)]
    max_chain: Option<usize>,
    /// Time after which a client must do a full handshake with its certificate instead of resuming [default: 12h]
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    reauth_after: Option<Duration>,
    /// Minimum TLS version [default: 1.2]
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_min: Option<TlsMinArg>,
    /// Post-quantum key exchange (X25519MLKEM768) [default: prefer]
    #[arg(long, value_enum, value_name = "WHEN")]
    pq: Option<PostQuantumArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsMinArg {
    /// TLS 1.2 and 1.3
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 only
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PostQuantumArg {
    /// With every client that supports it, wherever it is in the client's list
    Prefer,
    /// Reject clients without it, and therefore TLS 1.2
    Require,
    /// Never
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClientAuthArg {
    /// No certificate is requested
    None,
    /// A certificate that is sent must be valid
    Optional,
    /// A valid certificate is required
    Required,
}

/// The certificates of the listeners, and whether they are development certificates.
pub(super) struct TlsSetup {
    options: PolicyOptions,
    /// The policy of the first listener. The others share its certificates and revocation lists.
    first: Option<Arc<ServerPolicy>>,
    rules: Option<PemSource>,
    pub(super) development: Option<DevelopmentIdentities>,
}

impl TlsArgs {
    /// The client certificate and key for another server; `None` when none was given.
    pub(super) fn client_identity(&self) -> Result<Option<(PemSource, PemSource)>, Failure> {
        let mut identities = self.identities()?;
        let first = identities.pop();
        if !identities.is_empty() {
            return Err(Failure::usage("--cert", "only one certificate can be sent to the backend"));
        }
        Ok(first)
    }

    /// Reads the files named by the flags. `now` is in seconds since the Unix epoch. `is_shown` says whether any
    /// listener uses TLS; if none does, no development certificate is created. `outdated` decides what happens to
    /// expired revocation lists. `in_force` is the policy to be replaced.
    pub(super) fn load(
        &self,
        now: u64,
        is_shown: bool,
        outdated: OutdatedLists,
        in_force: Option<Arc<ServerPolicy>>,
    ) -> Result<TlsSetup, Failure> {
        let (identities, development) = if self.cert.is_empty() && is_shown {
            let made = development::development_identities(Path::new(DEVELOPMENT_FOLDER), now);
            let made = made.map_err(|error| Failure::usage("--cert", error))?;
            for key in made.keys() {
                self.check_readers("a development key", &key)?;
            }
            (vec![made.server.clone()], Some(made))
        } else {
            (self.identities()?, None)
        };
        let options = PolicyOptions {
            identities,
            client_ca: read_all("--client-ca", &self.client_ca)?,
            client_pin: read_all("--client-pin", &self.client_pin)?,
            client_auth: self.client_auth.map(|auth| match auth {
                ClientAuthArg::None => ClientAuth::None,
                ClientAuthArg::Optional => ClientAuth::Optional,
                ClientAuthArg::Required => ClientAuth::Required,
            }),
            crl: read_all("--crl", &self.crl)?,
            outdated_lists: outdated,
            in_force,
            max_chain: self.max_chain(),
            reauthenticate_after: self.reauth_after.unwrap_or(REAUTHENTICATE_AFTER),
            tls_min: match self.tls_min.unwrap_or(TlsMinArg::Tls12) {
                TlsMinArg::Tls12 => TlsMin::Tls12,
                TlsMinArg::Tls13 => TlsMin::Tls13,
            },
            post_quantum: match self.pq.unwrap_or(PostQuantumArg::Prefer) {
                PostQuantumArg::Prefer => PostQuantum::Prefer,
                PostQuantumArg::Require => PostQuantum::Require,
                PostQuantumArg::Off => PostQuantum::Off,
            },
            ..PolicyOptions::default()
        };
        let rules = self.authorize.as_deref().map(|path| read("--authorize", path)).transpose()?;
        Ok(TlsSetup { options, first: None, rules, development })
    }

    /// Maximum number of certificates in a peer's chain.
    pub(super) fn max_chain(&self) -> usize {
        self.max_chain.unwrap_or(Limits::default().chain_certificates)
    }

    /// The files named by the flags.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let lists = [&self.cert, &self.key, &self.client_ca, &self.client_pin, &self.crl];
        lists.into_iter().flatten().chain(&self.authorize)
    }

    /// Refuses flags without effect. `dials` says whether the flags also apply to a backend.
    pub(super) fn check_use(&self, dials: bool) -> Result<(), Failure> {
        let asks = !self.client_ca.is_empty() || !self.client_pin.is_empty();
        let given = [
            ("--reauth-after", self.reauth_after.is_some() && !asks),
            ("--max-chain", self.max_chain.is_some() && !asks && !dials),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, is_idle)| *is_idle) {
            let problem = "client certificates are not requested: add --client-ca or --client-pin, or remove this flag";
            return Err(Failure::usage(flag, problem));
        }
        Ok(())
    }

    /// The first of these flags that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--authorize", self.authorize.is_some()),
            ("--cert", !self.cert.is_empty()),
            ("--key", !self.key.is_empty()),
            ("--client-ca", !self.client_ca.is_empty()),
            ("--client-pin", !self.client_pin.is_empty()),
            ("--client-auth", self.client_auth.is_some()),
            ("--crl", !self.crl.is_empty()),
            ("--max-chain", self.max_chain.is_some()),
            ("--reauth-after", self.reauth_after.is_some()),
            ("--tls-min", self.tls_min.is_some()),
            ("--pq", self.pq.is_some()),
        ];
        given.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// Whether every admitted client is identified: a certificate is required, or no rule admits clients without one.
    pub(super) fn knows_clients(&self) -> bool {
        let asks = !self.client_ca.is_empty() || !self.client_pin.is_empty();
        asks && (self.has_rules() || !matches!(self.client_auth, Some(ClientAuthArg::Optional)))
    }

    /// Whether authorization rules apply.
    pub(super) fn has_rules(&self) -> bool {
        self.authorize.is_some()
    }

    /// Whether `--cert` was given.
    pub(super) fn has_identity(&self) -> bool {
        !self.cert.is_empty()
    }

    /// The certificates of `--cert`, each with its key.
    fn identities(&self) -> Result<Vec<(PemSource, PemSource)>, Failure> {
        if self.cert.len() != self.key.len() {
            let (certificates, keys) = (self.cert.len(), self.key.len());
            return Err(Failure::usage("--key", format!("one key per --cert is required: {keys} for {certificates}")));
        }
        let pairs = self.cert.iter().zip(&self.key);
        pairs.map(|(cert, key)| Ok((read("--cert", cert)?, self.private_key(key)?))).collect()
    }

    fn private_key(&self, path: &Path) -> Result<PemSource, Failure> {
        let source = read("--key", path)?;
        // A certificate given as the key may be world-readable, and its permissions are not the error.
        if source.may_hold_private_key() {
            self.check_readers("--key", path)?;
        }
        Ok(source)
    }

    /// Refuses a private key that other users can read, unless `--allow-readable-key` was given.
    fn check_readers(&self, what: &str, path: &Path) -> Result<(), Failure> {
        let readers = files::readers(path).map_err(|error| Failure::usage(what, error))?;
        if readers != ReadableBy::Owner && !self.allow_readable_key {
            let file = path.display();
            return Err(Failure::usage(
                what,
                format!("{file} is readable by {readers}: `chmod 600 {file}`, or pass --allow-readable-key"),
            ));
        }
        Ok(())
    }
}

impl TlsSetup {
    /// The files that were read, each with its flag. A key comes before its certificate: when they do not match, the
    /// key is reported.
    fn files(&self) -> impl Iterator<Item = (&'static str, &PemSource)> {
        let PolicyOptions { identities, client_ca, client_pin, crl, .. } = &self.options;
        let keys = identities.iter().map(|(_, key)| ("--key", key));
        let certificates = identities.iter().map(|(certificate, _)| ("--cert", certificate));
        let lists = [("--client-ca", client_ca), ("--client-pin", client_pin), ("--crl", crl)];
        let lists = lists.into_iter().flat_map(|(flag, files)| files.iter().map(move |file| (flag, file)));
        keys.chain(certificates).chain(lists)
    }

    /// The gate of a listener that offers `alpn` (RFC 7301), or no ALPN at all if it is empty. `reach` maps a request
    /// name that a rule may grant to what it affects.
    pub(super) fn gate(&mut self, alpn: &[&str], reach: fn(&str) -> Option<Reach>) -> Result<Gate, Failure> {
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let policy = match &self.first {
            Some(first) => first.sibling(alpn),
            None => ServerPolicy::new(PolicyOptions { alpn, ..self.options.clone() }),
        };
        let policy = Arc::new(policy.map_err(|error| Failure::of_file(&error, self.files()))?);
        self.first.get_or_insert_with(|| Arc::clone(&policy));
        let rules = self.rules.as_ref().map(|rules| parse_rules(rules, &policy, reach)).transpose()?;
        Ok(Gate::new(policy, rules.map(Arc::new)))
    }
}

fn parse_rules(source: &PemSource, policy: &ServerPolicy, reach: fn(&str) -> Option<Reach>) -> Result<Rules, Failure> {
    let refuse = |problem: String| Failure::usage("--authorize", problem);
    let trust = policy.client_trust().ok_or_else(|| {
        refuse("rules need --client-ca or --client-pin: without them no client has an identity".to_owned())
    })?;
    let rules = Rules::parse(source, trust.anchors()).map_err(|error| refuse(error.to_string()))?;
    let file = &source.name;
    if rules.is_empty() {
        // An empty file may be intended, so it is not an error; it must not go unnoticed either.
        tracing::warn!("--authorize: {file} has no [[rule]], so no client is admitted");
    }
    for (name, is_under_prefix) in rules.names() {
        match reach(name) {
            Some(Reach::Server) if is_under_prefix => {
                return Err(refuse(format!(
                    "{file}: grant {name:?} is not about keys, so a rule with a prefix cannot grant it: give it a rule of its own"
                )));
            }
            Some(_) => {}
            None if reach(Splice::CONNECT).is_some() => {
                return Err(refuse(format!("{file}: unknown grant {name:?}; wrap knows \"connect\" only")));
            }
            None if name == Splice::CONNECT => {
                return Err(refuse(format!(
                    "{file}: grant \"connect\" is for wrap; use \"read\", \"write\" or a command name"
                )));
            }
            None => {
                return Err(refuse(format!(
                    "{file}: unknown grant {name:?}; use \"read\", \"write\" or a command name"
                )));
            }
        }
    }
    Ok(rules)
}

fn read(flag: &str, path: &Path) -> Result<PemSource, Failure> {
    files::read(path).map_err(|error| Failure::usage(flag, error))
}

fn read_all(flag: &str, paths: &[PathBuf]) -> Result<Vec<PemSource>, Failure> {
    paths.iter().map(|path| read(flag, path)).collect()
}
