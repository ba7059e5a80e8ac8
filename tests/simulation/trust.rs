//! Certificates, policies, and who is let in by which.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use latchkey::internals::access::{Gate, Rules};
use latchkey::internals::net::sim::SimRandom;
use latchkey::internals::server::Security;
use latchkey::internals::tls::authority::{Authority, Issued, KeyKind, Role, Subject};
use latchkey::internals::tls::{Certificate, ClientAuth, PemSource, PolicyOptions, ServerPolicy, ServerTrust, Session};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};

use crate::script::{Conduct, Script};

/// What a server's door asks of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// No certificate.
    Open,
    /// One, if there is one.
    Optional,
    /// One.
    Required,
}

impl Door {
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Optional, Self::Required];

    fn auth(self) -> ClientAuth {
        match self {
            Self::Open => ClientAuth::None,
            Self::Optional => ClientAuth::Optional,
            Self::Required => ClientAuth::Required,
        }
    }
}

/// What is changed by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Nothing: another policy that asks the same.
    Same,
    /// The server's certificate.
    Certificate,
    /// Whose clients are let in.
    Authority,
    /// Bob's certificate is revoked.
    Revocation,
    /// Only Alice is let in.
    Rules,
    /// The new files are no good.
    Refused,
}

impl Change {
    pub(crate) const ALL: [Self; 6] =
        [Self::Same, Self::Certificate, Self::Authority, Self::Revocation, Self::Rules, Self::Refused];
}

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Badge {
    None,
    Alice,
    Bob,
    /// Of another authority.
    Foreign,
    /// Of long ago.
    Expired,
    /// Alice's, with more certificates behind it than are looked at.
    Long,
    /// With authorities behind it that have one name and different keys: many paths to search.
    Tangled,
}

impl Badge {
    pub(crate) const ALL: [Self; 7] =
        [Self::None, Self::Alice, Self::Bob, Self::Foreign, Self::Expired, Self::Long, Self::Tangled];

    /// Half of all clients are Alice, and the most are known here: the reasons to turn one away are met by few of them each.
    pub(crate) fn draw(random: &mut SimRandom) -> Self {
        match random.below(20) {
            0..10 => Self::Alice,
            10..19 => random.one_of([Self::None, Self::Bob, Self::Foreign, Self::Expired]),
            _ => random.one_of([Self::Long, Self::Tangled]),
        }
    }

    /// Whether who shows it is let in by a door, behind that change if there was one.
    pub(crate) fn is_welcome(self, door: Door, change: Option<Change>) -> bool {
        if door == Door::Open {
            return true;
        }
        match self {
            Self::None => door == Door::Optional && change != Some(Change::Rules),
            Self::Alice => change != Some(Change::Authority),
            Self::Bob => !matches!(change, Some(Change::Authority | Change::Revocation | Change::Rules)),
            Self::Foreign => change == Some(Change::Authority),
            Self::Expired | Self::Long | Self::Tangled => false,
        }
    }
}

/// A clock that stands still: certificates are made at its time and judged by it.
#[derive(Debug)]
struct Noon;

const NOON: u64 = 1_800_000_000;
/// Certificates in a chain that is too long.
const LONG: usize = 10;
/// Authorities of one name: fewer than are looked at, and more paths than are searched.
const NAMESAKES: usize = 5;

/// Bytes of the records of a client that has small ones.
const SMALL_RECORD: usize = 100;

const YEARS: u64 = 5 * 365 * 86_400;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOON)))
    }
}

/// All that is made once for all seeds. Ed25519, for its signatures have one length only.
struct Trust {
    doors: BTreeMap<(Door, Option<Change>), Security>,
    /// By badge, and whether TLS 1.2 is spoken.
    clients: BTreeMap<(Badge, bool), ClientConfig>,
    /// Of a client that believes nobody here.
    distrustful: ClientConfig,
}

fn trust() -> Result<&'static Trust, String> {
    static TRUST: OnceLock<Result<Trust, String>> = OnceLock::new();
    let trust = TRUST.get_or_init(|| make_trust().map_err(|error| error.to_string()));
    trust.as_ref().map_err(Clone::clone)
}

fn source(text: &str) -> PemSource {
    PemSource { name: "simulated".into(), bytes: text.as_bytes().to_vec() }
}

fn pair(issued: &Issued) -> (PemSource, PemSource) {
    (source(&issued.certificate), source(&issued.key))
}

fn make_trust() -> Result<Trust, Box<dyn Error>> {
    let ours = Authority::create(KeyKind::Ed25519, "simulated CA", NOON)?;
    let theirs = Authority::create(KeyKind::Ed25519, "foreign CA", NOON)?;
    let old = Authority::create(KeyKind::Ed25519, "simulated CA", NOON - YEARS)?;
    let host = Subject::named("localhost", &[])?.reachable()?;
    let server = |authority: &Authority| authority.issue(Role::Server, &host, KeyKind::Ed25519, NOON);
    let client = |authority: &Authority, name, now| {
        authority.issue(Role::Client, &Subject::named(name, &[])?, KeyKind::Ed25519, now)
    };
    let bob = client(&ours, "bob", NOON)?;
    let leaf = source(&bob.certificate).certificates()?;
    let namesakes = (0..NAMESAKES).map(|_| Authority::create(KeyKind::Ed25519, "namesake CA", NOON));
    let namesakes = namesakes.collect::<Result<Vec<_>, _>>()?;
    let tangled = client(namesakes.first().ok_or("no namesake")?, "alice", NOON)?;
    let badges = [
        (Badge::None, None),
        (Badge::Alice, Some(client(&ours, "alice", NOON)?)),
        (Badge::Bob, Some(bob)),
        (Badge::Foreign, Some(client(&theirs, "alice", NOON)?)),
        (Badge::Expired, Some(client(&old, "alice", NOON - YEARS)?)),
        (Badge::Long, Some(above(client(&ours, "alice", NOON)?, &[&ours; LONG - 1]))),
        (Badge::Tangled, Some(above(tangled, &namesakes.iter().collect::<Vec<_>>()))),
    ];
    let serial = Certificate::from_der(leaf.first().ok_or("no certificate")?)?.serial;
    let crl = ours.revocation_list(&[(serial, NOON)], 30, NOON)?;

    let identities = [server(&ours)?, server(&ours)?];
    let mut doors = BTreeMap::new();
    for door in Door::ALL {
        for change in [None].into_iter().chain(Change::ALL.map(Some)) {
            let [before, after] = identities.each_ref().map(pair);
            let renewed = change == Some(Change::Certificate);
            let mut options = PolicyOptions {
                identities: vec![if renewed { after } else { before }],
                client_auth: Some(door.auth()),
                clock: Arc::new(Noon),
                ..PolicyOptions::default()
            };
            if door != Door::Open {
                let authority = if change == Some(Change::Authority) { &theirs } else { &ours };
                options.client_ca = vec![source(&authority.files().certificate)];
                options.crl.extend((change == Some(Change::Revocation)).then(|| source(&crl)));
            }
            doors.insert((door, change), gate(options, change == Some(Change::Rules) && door != Door::Open)?);
        }
    }
    let mut clients = BTreeMap::new();
    for (badge, issued) in &badges {
        for old in [false, true] {
            // All but Alice would rather have a classical group, and are made to do without.
            let config = client_config(&ours, issued.as_ref(), old, *badge != Badge::Alice)?;
            clients.insert((*badge, old), config);
        }
    }
    let distrustful = client_config(&theirs, None, false, false)?;
    Ok(Trust { doors, clients, distrustful })
}

/// A certificate with those of `authorities` behind it.
fn above(issued: Issued, authorities: &[&Authority]) -> Issued {
    let certificates = authorities.iter().map(|authority| authority.files().certificate);
    Issued { certificate: [issued.certificate].into_iter().chain(certificates).collect(), ..issued }
}

fn gate(options: PolicyOptions, with_rules: bool) -> Result<Security, Box<dyn Error>> {
    const ONLY_ALICE: &str = "[[rule]]\ncn = 'alice'\ngrant = ['read', 'write', 'connect']";
    let rules = with_rules.then(|| Rules::parse(&source(ONLY_ALICE), &[])).transpose()?;
    Ok(Security::Tls(Gate::new(Arc::new(ServerPolicy::new(options)?), rules.map(Arc::new))))
}

fn client_config(
    authority: &Authority,
    badge: Option<&Issued>,
    old: bool,
    is_conservative: bool,
) -> Result<ClientConfig, Box<dyn Error>> {
    let mut provider = aws_lc_rs::default_provider();
    if is_conservative {
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::X25519MLKEM768];
    }
    let provider = Arc::new(provider);
    let verifier = ServerTrust::new(&[source(&authority.files().certificate)], &provider)?;
    let version = if old { &TLS12 } else { &TLS13 };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Noon))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match badge.map(pair) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(certificate.certificates()?, key.private_key()?)?,
    })
}

/// A listener behind that door, or without TLS.
pub(crate) fn security(door: Option<Door>, change: Option<Change>) -> Result<Security, String> {
    let Some(door) = door else { return Ok(Security::Plain) };
    trust()?.doors.get(&(door, change)).cloned().ok_or_else(|| "no such door".to_owned())
}

/// The clients of one simulation. Who has the same badge and version shares tickets, and nobody else does: with those of
/// another simulation, a trace would depend on history.
pub(crate) struct Credentials {
    resumption: bool,
    configs: BTreeMap<(Badge, bool, bool), Arc<ClientConfig>>,
}

impl Credentials {
    pub(crate) fn new(resumption: bool) -> Self {
        Self { resumption, configs: BTreeMap::new() }
    }

    /// What a client with that badge speaks with.
    pub(crate) fn config(
        &mut self,
        badge: Badge,
        old: bool,
        has_small_records: bool,
    ) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.configs.get(&(badge, old, has_small_records)) {
            return Ok(Arc::clone(config));
        }
        let mut config = trust()?.clients.get(&(badge, old)).cloned().ok_or("no such client")?;
        config.resumption = if self.resumption { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        config.max_fragment_size = has_small_records.then_some(SMALL_RECORD);
        let config = Arc::new(config);
        self.configs.insert((badge, old, has_small_records), Arc::clone(&config));
        Ok(config)
    }

    pub(crate) fn session(&mut self, script: &Script) -> Result<Session, String> {
        let name = "localhost".try_into().map_err(|error| format!("{error}"))?;
        let config = match script.conduct {
            Conduct::Distrustful => Arc::new(trust()?.distrustful.clone()),
            _ => self.config(script.badge, script.is_old, script.has_small_records)?,
        };
        Session::client(config, name).map_err(|error| error.to_string())
    }
}
