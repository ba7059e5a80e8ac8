//! Certificates and policies, and which certificates a policy accepts.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};

use latchkey::internals::access::{Gate, Rules};
use latchkey::internals::net::sim::SimRandom;
use latchkey::internals::server::Security;
use latchkey::internals::testing::{Clock, NOW, client_config_with, files_of, leaf, source};
use latchkey::internals::tls::authority::{Authority, Issued, KeyKind, Role, Subject};
use latchkey::internals::tls::{Certificate, ClientAuth, PemSource, PolicyOptions, ServerPolicy, ServerTrust, Session};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};

use crate::script::{Conduct, Script};

/// The demand for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// None is requested.
    Open,
    /// One is requested.
    Optional,
    /// One is required.
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

/// What a reload changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Nothing: another policy with the same demands.
    Same,
    /// The server's certificate.
    Certificate,
    /// The CA of clients.
    Authority,
    /// Bob's certificate is revoked.
    Revocation,
    /// Only Alice is admitted by the rules.
    Rules,
    /// The new files are invalid.
    Refused,
}

impl Change {
    pub(crate) const ALL: [Self; 6] =
        [Self::Same, Self::Certificate, Self::Authority, Self::Revocation, Self::Rules, Self::Refused];
}

/// The certificate of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Badge {
    None,
    Alice,
    Bob,
    /// Issued by another CA.
    Foreign,
    /// Expired.
    Expired,
    /// Alice's, with a longer chain than is accepted.
    Long,
    /// Alice's, with CAs that have one name and different keys: many paths to search.
    Tangled,
}

impl Badge {
    pub(crate) const ALL: [Self; 7] =
        [Self::None, Self::Alice, Self::Bob, Self::Foreign, Self::Expired, Self::Long, Self::Tangled];

    /// Half of all clients are Alice, and most are known: each reason to reject one occurs for few of them.
    pub(crate) fn draw(random: &mut SimRandom) -> Self {
        match random.below(20) {
            0..10 => Self::Alice,
            10..19 => random.one_of([Self::None, Self::Bob, Self::Foreign, Self::Expired]),
            _ => random.one_of([Self::Long, Self::Tangled]),
        }
    }

    /// Whether it is accepted, after that change if there was one.
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

/// Length of the chain that is too long.
const LONG: usize = 10;
/// CAs with the same name: fewer than are looked at, and more paths than are searched.
const NAMESAKES: usize = 5;

/// Size of the records of a client with small records, in bytes.
const SMALL_RECORD: usize = 100;

const YEARS: u64 = 5 * 365 * 86_400;

/// What is made once for all seeds. Ed25519, because its signatures have a fixed length.
struct Trust {
    doors: BTreeMap<(Door, Option<Change>), Security>,
    /// By certificate, and whether TLS 1.2 is used.
    clients: BTreeMap<(Badge, bool), ClientConfig>,
    /// Of a client that trusts no server here.
    distrustful: ClientConfig,
}

fn trust() -> Result<&'static Trust, String> {
    static TRUST: OnceLock<Result<Trust, String>> = OnceLock::new();
    let trust = TRUST.get_or_init(|| make_trust().map_err(|error| error.to_string()));
    trust.as_ref().map_err(Clone::clone)
}

fn certificate_of(authority: &Authority) -> PemSource {
    source("ca.pem", &authority.files().certificate)
}

fn make_trust() -> Result<Trust, Box<dyn Error>> {
    let ours = Authority::create(KeyKind::Ed25519, "simulated CA", NOW)?;
    let theirs = Authority::create(KeyKind::Ed25519, "foreign CA", NOW)?;
    let old = Authority::create(KeyKind::Ed25519, "simulated CA", NOW - YEARS)?;
    let host = Subject::named("localhost", &[])?.reachable()?;
    let server = |authority: &Authority| authority.issue(Role::Server, &host, KeyKind::Ed25519, NOW);
    let client = |authority: &Authority, name, now| {
        authority.issue(Role::Client, &Subject::named(name, &[])?, KeyKind::Ed25519, now)
    };
    let bob = client(&ours, "bob", NOW)?;
    let serial = Certificate::from_der(&leaf(&bob))?.serial;
    let namesakes = (0..NAMESAKES).map(|_| Authority::create(KeyKind::Ed25519, "namesake CA", NOW));
    let namesakes = namesakes.collect::<Result<Vec<_>, _>>()?;
    let tangled = client(namesakes.first().ok_or("no namesake")?, "alice", NOW)?;
    let badges = [
        (Badge::None, None),
        (Badge::Alice, Some(client(&ours, "alice", NOW)?)),
        (Badge::Bob, Some(bob)),
        (Badge::Foreign, Some(client(&theirs, "alice", NOW)?)),
        (Badge::Expired, Some(client(&old, "alice", NOW - YEARS)?)),
        (Badge::Long, Some(above(client(&ours, "alice", NOW)?, &[&ours; LONG - 1]))),
        (Badge::Tangled, Some(above(tangled, &namesakes.iter().collect::<Vec<_>>()))),
    ];
    let crl = ours.revocation_list(&[(serial, NOW)], 30, NOW)?;

    let identities = [server(&ours)?, server(&ours)?];
    let mut doors = BTreeMap::new();
    for door in Door::ALL {
        for change in [None].into_iter().chain(Change::ALL.map(Some)) {
            let [before, after] = identities.each_ref().map(files_of);
            let renewed = change == Some(Change::Certificate);
            let mut options = PolicyOptions {
                identities: vec![if renewed { after } else { before }],
                client_auth: Some(door.auth()),
                clock: Clock::at(NOW),
                ..PolicyOptions::default()
            };
            if door != Door::Open {
                let authority = if change == Some(Change::Authority) { &theirs } else { &ours };
                options.client_ca = vec![certificate_of(authority)];
                options.crl.extend((change == Some(Change::Revocation)).then(|| source("crl.pem", &crl)));
            }
            doors.insert((door, change), gate(options, change == Some(Change::Rules) && door != Door::Open)?);
        }
    }
    let mut clients = BTreeMap::new();
    for (badge, issued) in &badges {
        for old in [false, true] {
            // All but Alice prefer a classical group, and must do without.
            let config = client_config(&ours, issued.as_ref(), old, *badge != Badge::Alice)?;
            clients.insert((*badge, old), config);
        }
    }
    let distrustful = client_config(&theirs, None, false, false)?;
    Ok(Trust { doors, clients, distrustful })
}

/// A certificate with those of `authorities` after it.
fn above(issued: Issued, authorities: &[&Authority]) -> Issued {
    let certificates = authorities.iter().map(|authority| authority.files().certificate);
    Issued { certificate: [issued.certificate].into_iter().chain(certificates).collect(), ..issued }
}

fn gate(options: PolicyOptions, with_rules: bool) -> Result<Security, Box<dyn Error>> {
    const ONLY_ALICE: &str = "[[rule]]\ncn = 'alice'\ngrant = ['read', 'write', 'connect']";
    let rules = with_rules.then(|| Rules::parse(&source("rules.toml", ONLY_ALICE), &[])).transpose()?;
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
    let trust = ServerTrust::new(&[certificate_of(authority)], &provider)?;
    let version = if old { &TLS12 } else { &TLS13 };
    Ok(client_config_with(provider, trust, badge, &Clock::at(NOW), &[version]))
}

/// The security of a listener with that demand, or without TLS.
pub(crate) fn security(door: Option<Door>, change: Option<Change>) -> Result<Security, String> {
    let Some(door) = door else { return Ok(Security::Plain) };
    trust()?.doors.get(&(door, change)).cloned().ok_or_else(|| "no such door".to_owned())
}

/// The clients of one simulation. Clients with the same certificate and version share tickets, and no others: with
/// tickets of another simulation, a trace would depend on history.
pub(crate) struct Credentials {
    resumption: bool,
    configs: BTreeMap<(Badge, bool, bool), Arc<ClientConfig>>,
}

impl Credentials {
    pub(crate) fn new(resumption: bool) -> Self {
        Self { resumption, configs: BTreeMap::new() }
    }

    /// The configuration of a client with that certificate.
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
