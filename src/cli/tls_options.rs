//! The TLS flags that every listening subcommand shares.

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

/// Where development identities are made and found.
const DEVELOPMENT_FOLDER: &str = "certs";

/// A working day and a night: who logs in by a smart card in the morning does so again the next day.
const REAUTHENTICATE_AFTER: Duration = Duration::from_hours(12);

/// Certificates, and what is asked of clients.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Certificate chain to show to clients, PEM, the leaf first [repeatable]
    ///
    /// With no certificate named, a development CA, a server and a client identity are made once in certs/ and used. Of
    /// several, a client gets the first that has the name it asks for, and without such a one the first of all.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,
    /// Private key of --cert, PEM; one for each, in the same order [repeatable]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// Use private keys that others than their owner can read
    #[arg(long)]
    allow_readable_key: bool,
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
    /// Refuse the client certificates that this PEM file of revocation lists names [repeatable]
    ///
    /// A list applies to what its CA issued: a CA in --client-ca, or one below it whose certificate clients show. Every
    /// certificate between a client's and a CA with a list is checked; one that no list tells about is refused. Past a
    /// list's next update, nobody under its CA is let in: at start that is an error, at a reload it is said. A CA in
    /// --client-ca without a list is not checked, and the start line says so. Pins are checked too. At a reload, a list
    /// stays in force until the files hold a newer one of its CA.
    #[arg(long, value_name = "FILE", requires = "client_ca")]
    crl: Vec<PathBuf>,
    /// Let in only clients that a rule in this TOML file names, and let them do only what it grants
    ///
    /// `[[rule]]` names clients by cn, dns, uri, email, fingerprint or anchor (all that are given must match), and
    /// grants a list of "read", "write" and names of methods and commands, under a key `prefix` if one is given. To be
    /// let in by wrap, a client must be granted "connect".
    #[arg(long, value_name = "FILE")]
    authorize: Option<PathBuf>,
    /// Certificates in the chain that a peer shows, its own included; more are not verified at all [default: 8]
    #[arg(long, value_name = "N", value_parser = units::chain)]
    max_chain: Option<usize>,
    /// How long a client may resume its session before it must show its certificate again [default: 12h]
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    reauth_after: Option<Duration>,
    /// The oldest TLS version to speak [default: 1.2]
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
    /// With every client that knows it, wherever it stands in the client's list
    Prefer,
    /// Refuse clients that do not know it, and with them all of TLS 1.2
    Require,
    /// Never
    Off,
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
    rules: Option<PemSource>,
    pub(super) development: Option<DevelopmentIdentities>,
}

impl TlsArgs {
    /// The certificate and key to show to another server; `None` when none was named.
    pub(super) fn client_identity(&self) -> Result<Option<(PemSource, PemSource)>, Failure> {
        let mut identities = self.identities()?;
        let first = identities.pop();
        if !identities.is_empty() {
            return Err(Failure::usage("--cert", "only one can be shown to a server"));
        }
        Ok(first)
    }

    /// Reads the files that the flags name. `now` is in seconds since the Unix epoch. `is_shown` says whether any
    /// listener shows a certificate: if none does, none is made. `outdated` says what becomes of revocation lists that are
    /// out of date. `in_force` is the policy whose place is taken.
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
        Ok(TlsSetup { options, rules, development })
    }

    /// How many certificates a peer may show in one chain.
    pub(super) fn max_chain(&self) -> usize {
        self.max_chain.unwrap_or(Limits::default().chain_certificates)
    }

    /// The files that the flags name.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let lists = [&self.cert, &self.key, &self.client_ca, &self.client_pin, &self.crl];
        lists.into_iter().flatten().chain(&self.authorize)
    }

    /// Refuses what would have no effect. `dials` says whether these flags are about a server that is dialed, too.
    pub(super) fn check_use(&self, dials: bool) -> Result<(), Failure> {
        let asks = !self.client_ca.is_empty() || !self.client_pin.is_empty();
        let given = [
            ("--reauth-after", self.reauth_after.is_some() && !asks),
            ("--max-chain", self.max_chain.is_some() && !asks && !dials),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, is_idle)| *is_idle) {
            let problem = "no certificate is asked for: name --client-ca or --client-pin, or leave it out";
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

    /// Whether everybody who is let in has proved who they are: by a certificate that must be shown, or because no rule
    /// lets in those who show none.
    pub(super) fn knows_clients(&self) -> bool {
        let asks = !self.client_ca.is_empty() || !self.client_pin.is_empty();
        asks && (self.has_rules() || !matches!(self.client_auth, Some(ClientAuthArg::Optional)))
    }

    /// Whether what clients may do depends on who they are.
    pub(super) fn has_rules(&self) -> bool {
        self.authorize.is_some()
    }

    /// Whether a certificate was named.
    pub(super) fn has_identity(&self) -> bool {
        !self.cert.is_empty()
    }

    /// The named certificates, each with its key.
    fn identities(&self) -> Result<Vec<(PemSource, PemSource)>, Failure> {
        if self.cert.len() != self.key.len() {
            let (certificates, keys) = (self.cert.len(), self.key.len());
            return Err(Failure::usage("--key", format!("one is needed for each --cert: {keys} for {certificates}")));
        }
        let pairs = self.cert.iter().zip(&self.key);
        pairs.map(|(cert, key)| Ok((read("--cert", cert)?, self.private_key(key)?))).collect()
    }

    fn private_key(&self, path: &Path) -> Result<PemSource, Failure> {
        let source = read("--key", path)?;
        // A certificate in its place is for everyone to read, and its permissions are not what is wrong.
        if source.may_hold_private_key() {
            self.check_readers("--key", path)?;
        }
        Ok(source)
    }

    /// Refuses a private key that others than its owner can read, unless that was allowed.
    fn check_readers(&self, what: &str, path: &Path) -> Result<(), Failure> {
        let readers = files::readers(path).map_err(|error| Failure::usage(what, error))?;
        if readers != ReadableBy::Owner && !self.allow_readable_key {
            let file = path.display();
            return Err(Failure::usage(
                what,
                format!("{file} is readable by {readers}: `chmod 600 {file}`, or give --allow-readable-key"),
            ));
        }
        Ok(())
    }
}

impl TlsSetup {
    /// The files that were read, each with the flag that named it. A key comes before its certificate: it is the one to
    /// exchange when they do not belong together.
    fn files(&self) -> impl Iterator<Item = (&'static str, &PemSource)> {
        let PolicyOptions { identities, client_ca, client_pin, crl, .. } = &self.options;
        let keys = identities.iter().map(|(_, key)| ("--key", key));
        let certificates = identities.iter().map(|(certificate, _)| ("--cert", certificate));
        let lists = [("--client-ca", client_ca), ("--client-pin", client_pin), ("--crl", crl)];
        let lists = lists.into_iter().flat_map(|(flag, files)| files.iter().map(move |file| (flag, file)));
        keys.chain(certificates).chain(lists)
    }

    /// What stands before a listener that speaks `alpn` (RFC 7301), or leaves that extension out. `reach` tells what the
    /// requests are about that a rule may grant by name.
    pub(super) fn gate(&self, alpn: &[&str], reach: fn(&str) -> Option<Reach>) -> Result<Gate, Failure> {
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let policy = ServerPolicy::new(PolicyOptions { alpn, ..self.options.clone() })
            .map_err(|error| Failure::of_file(&error, self.files()))?;
        let rules = self.rules.as_ref().map(|rules| parse_rules(rules, &policy, reach)).transpose()?;
        Ok(Gate::new(Arc::new(policy), rules.map(Arc::new)))
    }
}

fn parse_rules(source: &PemSource, policy: &ServerPolicy, reach: fn(&str) -> Option<Reach>) -> Result<Rules, Failure> {
    let refuse = |problem: String| Failure::usage("--authorize", problem);
    let trust = policy.client_trust().ok_or_else(|| {
        refuse("without --client-ca or --client-pin nobody has a name that a rule could match".to_owned())
    })?;
    let rules = Rules::parse(source, trust.anchors()).map_err(|error| refuse(error.to_string()))?;
    let file = &source.name;
    if rules.is_empty() {
        // A file that is being emptied may mean just that, so it is no mistake; but it must not go unseen.
        tracing::warn!("--authorize: {file} has no [[rule]], so nobody is let in");
    }
    for (name, is_under_prefix) in rules.names() {
        match reach(name) {
            Some(Reach::Server) if is_under_prefix => {
                return Err(refuse(format!(
                    "{file}: {name:?} is about no key, so that a rule with a prefix cannot grant it: give it a rule of \
                     its own"
                )));
            }
            Some(_) => {}
            None if reach(Splice::CONNECT).is_some() => {
                return Err(refuse(format!("{file}: {name:?} means nothing to wrap, which only asks for \"connect\"")));
            }
            None if name == Splice::CONNECT => {
                return Err(refuse(format!(
                    "{file}: \"connect\" is for wrap; here \"read\", \"write\" and names of methods and commands can be \
                     granted"
                )));
            }
            None => {
                return Err(refuse(format!(
                    "{file}: {name:?} is neither \"read\" nor \"write\" nor anything that can be asked for here"
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
