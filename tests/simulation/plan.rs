//! What a seed stands for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use latchkey::limits::Limits;
use latchkey::net::sim::{Faults, Random};
use latchkey::server::Security;
use latchkey::tls::authority::{Authority, KeyKind, Role, Subject};
use latchkey::tls::{PolicyOptions, ServerPolicy, ServerTrust, Session, Source};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};

use crate::script::{Scale, Script};

/// One in so many seeds runs over TLS, where a handshake costs more than the rest of a simulation.
const TLS_SHARE: u64 = 8;

/// Everything that a seed decides before the first turn.
pub(crate) struct Plan {
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
    pub(crate) tls: bool,
    pub(crate) echo: bool,
    pub(crate) idle_timeout: Duration,
    /// When the server is asked to stop.
    pub(crate) drain_at: Option<Duration>,
    /// When the server is given another policy, which asks no more and no less than the first.
    pub(crate) reload_at: Option<Duration>,
    /// Some clients find the server full.
    pub(crate) crowded: bool,
    /// Bytes of the largest request, and of the largest reply.
    pub(crate) largest: usize,
    pub(crate) scripts: Vec<Script>,
}

impl Plan {
    pub(crate) fn draw(seed: u64, random: &mut Random) -> Self {
        let faults = Faults::draw(random);
        let (tls, echo, crowded) = (seed.is_multiple_of(TLS_SHARE), random.chance(0.25), random.chance(0.15));
        let clients = random.size(1, if tls { 5 } else { 12 });
        let limits = limits(random, crowded);
        // What moves a byte at a time is not given much to move, lest one seed take longer than all others.
        let scale = match faults.window.min(limits.output_bytes) {
            0..10 => Scale { echo, requests: 4, bytes: 30 },
            10..1_000 => Scale { echo, requests: 30, bytes: 1_000 },
            _ if random.chance(0.1) => Scale { echo, requests: 40, bytes: 1_000_000 },
            _ => Scale { echo, requests: 60, bytes: 20_000 },
        };
        Self {
            limits,
            tls,
            echo,
            idle_timeout: Duration::from_secs(random.one_of([20, 60])),
            drain_at: drain_at(random),
            // Nothing is drawn for it, so that a seed stands for what it stood for without.
            reload_at: seed.is_multiple_of(4).then(|| Duration::from_millis(seed * 37 % 5_000)),
            crowded,
            // Echo takes and gives what there is room for.
            largest: if echo { 0 } else { scale.bytes + 100 },
            scripts: (0..clients).map(|_| Script::draw(random, scale)).collect(),
            faults,
        }
    }
}

/// In one seed of four the server is asked to stop: among the first requests, or when some clients have not come yet.
fn drain_at(random: &mut Random) -> Option<Duration> {
    let latest = Duration::from_millis(random.one_of([2, 50, 6_000]));
    random.chance(0.25).then(|| random.time(latest))
}

/// Small limits are met often. Times are long enough for every honest client in any weather.
fn limits(random: &mut Random, crowded: bool) -> Limits {
    let usual = Limits::default();
    Limits {
        connections: if crowded { random.size(1, 4) } else { usual.connections },
        refusals: if crowded { random.size(0, 2) } else { usual.refusals },
        handshake_timeout: Duration::from_secs(15),
        request_timeout: Duration::from_secs(random.one_of([20, 40])),
        write_timeout: Duration::from_secs(random.one_of([10, 40])),
        drain_timeout: Duration::from_secs(random.one_of([1, 100])),
        request_bytes: 1 << 20,
        output_bytes: random.one_of([1, 300, 20_000, 1 << 20]),
        replies: random.one_of([1, 3, 1024]),
        requests_per_turn: random.one_of([1, 4, 128]),
        transmit_bytes_per_turn: random.one_of([1, 5_000, 256 << 10]),
        accepts_per_turn: random.one_of([1, 32]),
        ..usual
    }
}

/// A clock that stands still: certificates are made at its time and judged by it.
#[derive(Debug)]
struct Noon;

const NOON: u64 = 1_800_000_000;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOON)))
    }
}

/// A server's policy and a client that trusts it. Ed25519, for its signatures have one length only.
struct Trust {
    server: Arc<ServerPolicy>,
    renewed: Arc<ServerPolicy>,
    client: ClientConfig,
    old_client: ClientConfig,
}

fn trust() -> Result<&'static Trust, String> {
    static TRUST: OnceLock<Result<Trust, String>> = OnceLock::new();
    let trust = TRUST.get_or_init(|| make_trust().map_err(|error| error.to_string()));
    trust.as_ref().map_err(Clone::clone)
}

fn make_trust() -> Result<Trust, Box<dyn std::error::Error>> {
    let authority = Authority::create(KeyKind::Ed25519, "simulated CA", NOON)?;
    let host = Subject::named("localhost", &[])?.reachable()?;
    let issued = authority.issue(Role::Server, &host, KeyKind::Ed25519, NOON)?;
    let source = |text: &str| Source { name: "simulated".into(), bytes: text.as_bytes().to_vec() };
    let identity = (source(&issued.certificate), source(&issued.key));
    let options = PolicyOptions { identities: vec![identity], clock: Arc::new(Noon), ..PolicyOptions::default() };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = ServerTrust::new(&[source(&authority.files().certificate)], &provider)?;
    let client = |version| {
        let client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Noon))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        Ok::<_, rustls::Error>(client)
    };
    Ok(Trust {
        server: Arc::new(ServerPolicy::new(options.clone())?),
        renewed: Arc::new(ServerPolicy::new(options)?),
        client: client(&TLS13)?,
        old_client: client(&TLS12)?,
    })
}

pub(crate) fn security(tls: bool) -> Result<Security, String> {
    Ok(if tls { Security::tls(Arc::clone(&trust()?.server)) } else { Security::Plain })
}

/// What replaces it.
pub(crate) fn renewed_security(tls: bool) -> Result<Security, String> {
    Ok(if tls { Security::tls(Arc::clone(&trust()?.renewed)) } else { Security::Plain })
}

/// One client in four speaks TLS 1.2.
pub(crate) fn client_session(tls: bool, random: &mut Random) -> Result<Session, String> {
    if !tls {
        return Ok(Session::plain());
    }
    // Without a store of its own, a client could resume another one's session and make the trace depend on history.
    let trust = trust()?;
    let mut config = ClientConfig::clone(if random.chance(0.25) { &trust.old_client } else { &trust.client });
    config.resumption = rustls::client::Resumption::disabled();
    let name = "localhost".try_into().map_err(|error| format!("{error}"))?;
    Session::client(Arc::new(config), name).map_err(|error| error.to_string())
}
