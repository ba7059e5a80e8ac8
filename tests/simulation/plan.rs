//! The plan of a simulation, drawn from its seed.

use std::time::Duration;

use latchkey::internals::limits::Limits;
use latchkey::internals::net::sim::{NetFaults, SimRandom};

use crate::disk::Durability;
use crate::protocol_model::ProtocolModel;
use crate::script::{Conduct, Scale, Script};
use crate::trust::{Badge, Change, Door};

/// One in this many seeds runs over TLS, where a handshake costs more than the rest of a simulation.
const TLS_SHARE: u64 = 4;

/// One in this many seeds has a data directory.
const DURABLE_SHARE: u64 = 5;

/// The most loops of one server.
pub(crate) const LOOPS: usize = 4;

/// With this duration of a call, a turn with all clients takes tens of milliseconds.
const DEAR: Duration = Duration::from_micros(700);

/// Enough for any request, even if each of its bytes takes such a turn.
const LONG: Duration = Duration::from_mins(3);

/// Everything that a seed decides before the first turn.
pub(crate) struct Plan {
    pub(crate) faults: NetFaults,
    pub(crate) limits: Limits,
    /// The demand for client certificates; `None` without TLS.
    pub(crate) door: Option<Door>,
    /// Clients keep tickets.
    pub(crate) resumption: bool,
    /// The protocols, each with its own listener.
    pub(crate) tongues: Vec<ProtocolModel>,
    /// The server is behind a wrapper.
    pub(crate) wrap: Option<Wrap>,
    /// How many loops the server has that clients connect to.
    pub(crate) loops: usize,
    /// The disk under the store, if there is a data directory.
    pub(crate) durability: Option<Durability>,
    pub(crate) idle_timeout: Duration,
    /// When the server is asked to stop.
    pub(crate) drain_at: Option<Duration>,
    /// When the server gets another policy.
    pub(crate) reload: Option<(Duration, Change)>,
    pub(crate) scarcity: Scarcity,
    /// Maximum size of a request, and of a reply, in bytes.
    pub(crate) largest: usize,
    pub(crate) scale: Scale,
    pub(crate) scripts: Vec<Script>,
}

/// The resource that is scarce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scarcity {
    Nothing,
    /// Connections.
    Places,
    /// Connections of one address, or its handshakes.
    PlacesPerAddress,
    /// Memory for all clients.
    Memory,
}

impl Scarcity {
    pub(crate) const ALL: [Self; 4] = [Self::Nothing, Self::Places, Self::PlacesPerAddress, Self::Memory];
}

/// How the server is wrapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrap {
    /// A PROXY protocol header names the client to the server.
    pub(crate) announce: bool,
    /// TLS between wrapper and server.
    pub(crate) tls: bool,
    pub(crate) outage: Outage,
}

/// The fault of the wrapped server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outage {
    None,
    /// The first of its addresses refuses connections.
    FirstRefuses,
    /// The first of its addresses does not answer.
    FirstSilent,
    /// No address accepts connections.
    Down,
    /// No address answers.
    Silent,
    /// It dies during the simulation.
    Dies(Duration),
}

impl Outage {
    pub(crate) const KINDS: [&str; 6] = ["none", "first refuses", "first silent", "down", "silent", "dies"];

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FirstRefuses => "first refuses",
            Self::FirstSilent => "first silent",
            Self::Down => "down",
            Self::Silent => "silent",
            Self::Dies(_) => "dies",
        }
    }

    fn draw(random: &mut SimRandom) -> Self {
        let at = random.time(Duration::from_secs(3));
        if random.chance(0.6) {
            return Self::None;
        }
        random.one_of([Self::FirstRefuses, Self::FirstSilent, Self::Down, Self::Silent, Self::Dies(at)])
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64, random: &mut SimRandom) -> Self {
        let faults = NetFaults::draw(random);
        let tls = seed.is_multiple_of(TLS_SHARE);
        let is_durable = seed % DURABLE_SHARE == 3;
        let wrap = (random.chance(0.25) && !is_durable).then(|| Wrap {
            announce: random.chance(0.5),
            tls: tls && random.chance(0.5),
            outage: Outage::draw(random),
        });
        // The wrapped server may only have TLS to its wrapper.
        let outer_tls = tls && (wrap.is_none_or(|wrap| !wrap.tls) || random.chance(0.5));
        let door = outer_tls.then(|| random.one_of(Door::ALL));
        let scarcity = if random.chance(0.75) || is_durable { Scarcity::Nothing } else { random.one_of(Scarcity::ALL) };
        let scarcity = if wrap.is_some() && scarcity == Scarcity::Memory { Scarcity::Places } else { scarcity };
        let mut limits = limits(random, scarcity, outer_tls);
        if wrap.is_some() && limits.transmit_bytes_per_turn == 1 && faults.call_cost >= DEAR {
            // A client sends a request at once, but the wrapper forwards it a byte per turn: the server behind it would
            // blame the client.
            limits.header_timeout = LONG;
            limits.request_timeout = LONG;
        }
        let tongues = match (random.chance(0.5), wrap) {
            (true, _) if !is_durable => vec![ProtocolModel::NumberedService],
            (_, None) => vec![ProtocolModel::Echo, ProtocolModel::XmlRpc, ProtocolModel::Resp],
            (_, Some(_)) => vec![random.one_of([ProtocolModel::Echo, ProtocolModel::XmlRpc, ProtocolModel::Resp])],
        };
        let bottleneck = faults.window.min(limits.output_bytes).min(100 * limits.transmit_bytes_per_turn);
        let scale = scale(random, bottleneck);
        let clients = random.size(1, if tls { 7 } else { 12 });
        let script = |index| Script::draw(random, format!("k{index}"), &tongues, scale);
        let mut scripts: Vec<Script> = (0..clients).map(script).collect();
        for script in scripts.iter_mut().filter(|script| script.conduct == Conduct::Sipper) {
            if wrap.is_some() {
                // The wrapper forwards in steps as large as the buffers between: the server behind it sees a client
                // with long pauses.
                script.conduct = Conduct::Polite;
            } else {
                // A third of the window, which makes the server's socket writable, takes longer than the write timeout.
                script.sip = Some(faults.window.div_ceil(120).max(1));
            }
        }
        Self {
            limits,
            door,
            resumption: random.chance(0.7),
            wrap,
            // A wrapper has no state that its loops would have to share.
            loops: if wrap.is_some() { random.size(1, LOOPS) } else { 1 },
            idle_timeout: Duration::from_secs(random.one_of([20, 60])),
            drain_at: drain_at(random),
            reload: reload(random, door),
            scarcity,
            // A reply may contain two values, within XML and HTTP.
            largest: 3 * scale.bytes + 2_000,
            durability: is_durable.then(|| Durability::draw(random)),
            scale,
            scripts,
            tongues,
            faults,
        }
    }
}

impl Plan {
    /// Whether a client with this certificate is accepted, before the reload and after it.
    pub(crate) fn welcome(&self, badge: Badge) -> (bool, bool) {
        let welcome = |change| self.door.is_none_or(|door| badge.is_welcome(door, change));
        (welcome(None), welcome(self.reload.map(|(_, change)| change)))
    }
}

/// Scripts of slow connections are short, so that no seed takes longer than all others.
fn scale(random: &mut SimRandom, bottleneck: usize) -> Scale {
    match bottleneck {
        0..10 => Scale { requests: 4, bytes: 30 },
        10..1_000 => Scale { requests: 30, bytes: 1_000 },
        _ if random.chance(0.05) => Scale { requests: 40, bytes: 300_000 },
        _ => Scale { requests: 60, bytes: 20_000 },
    }
}

/// In one seed of five the server is asked to stop: during the first requests, or before some clients have connected.
fn drain_at(random: &mut SimRandom) -> Option<Duration> {
    let latest = Duration::from_millis(random.one_of([2, 50, 6_000]));
    random.chance(0.2).then(|| random.time(latest))
}

fn reload(random: &mut SimRandom, door: Option<Door>) -> Option<(Duration, Change)> {
    let latest = Duration::from_millis(random.one_of([50, 500, 5_000]));
    let at = random.time(latest);
    let change = if door.is_none() {
        random.one_of([Change::Same, Change::Refused])
    } else if random.chance(0.5) {
        random.one_of(Change::ALL)
    } else {
        // Few clients are connected, and of those that the change affects, exactly when it happens.
        random.one_of([Change::Authority, Change::Revocation, Change::Rules, Change::Rules])
    };
    random.chance(if door.is_some() { 0.8 } else { 0.1 }).then_some((at, change))
}

/// Limits are small, so that they are reached often. Timeouts suffice for every honest client in any network condition.
fn limits(random: &mut SimRandom, scarcity: Scarcity, tls: bool) -> Limits {
    let usual = Limits::default();
    let is_scarce = scarcity != Scarcity::Nothing;
    let mut limits = Limits {
        refusals: if is_scarce { random.size(0, 2) } else { usual.refusals },
        handshake_timeout: Duration::from_secs(15),
        header_timeout: Duration::from_secs(random.one_of([15, 30])),
        request_timeout: Duration::from_secs(random.one_of([20, 40])),
        write_timeout: Duration::from_secs(random.one_of([10, 40])),
        // Mostly shorter than the idle timeout, which also ends a link that rests half-closed.
        half_close_timeout: Duration::from_secs(random.one_of([15, 15, 15, 300])),
        // In some network conditions, no client could read more.
        write_rate: 1,
        drain_timeout: Duration::from_secs(random.one_of([1, 100])),
        // A wrapper that reads a byte per turn needs long for what has arrived when the server behind it ends.
        linger_timeout: Duration::from_mins(1),
        request_bytes: 1 << 20,
        output_bytes: random.one_of([1, 300, 20_000, 1 << 20]),
        replies: random.one_of([1, 3, 1024]),
        requests_per_turn: random.one_of([1, 4, 128]),
        transmit_bytes_per_turn: random.one_of([1, 700, 5_000, 256 << 10]),
        accepts_per_turn: random.one_of([1, 32]),
        peers_per_turn: random.one_of([1, 1024]),
        ..usual
    };
    match scarcity {
        Scarcity::Nothing => {}
        Scarcity::Places => limits.connections = random.size(1, 4),
        Scarcity::PlacesPerAddress => {
            limits.connections_per_address = Some(random.size(1, 2));
            limits.handshakes_per_address = tls.then(|| random.size(1, 2));
        }
        Scarcity::Memory => limits.client_memory = random.one_of([8_000, 30_000, 100_000]),
    }
    limits
}
