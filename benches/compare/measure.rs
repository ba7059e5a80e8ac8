//! One row: its peers are started, measured in turn several times, and the medians reported.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use latchkey::internals::cli::development::development_identities;
use latchkey::internals::services::Echo;
use latchkey::internals::testing::Pair;
use serde::Serialize;
use tempfile::TempDir;

use super::drive::{self, Load, number, requests};
use super::peers::{Peer, Running};
use super::rows::{Goal, Row, Take};
use super::world;

/// The working directory of a run, and its certificates.
pub(crate) struct Lab {
    dir: TempDir,
    files: Cell<u32>,
}

impl Lab {
    #[expect(clippy::disallowed_methods, reason = "certificates begin now")]
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        // One ECDSA P-256 certificate for all servers.
        development_identities(&dir.path().join("certs"), now).expect("certificates");
        Self { dir, files: Cell::new(0) }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn certs(&self, name: &str) -> PathBuf {
        self.dir().join("certs").join(name)
    }

    /// A file that does not exist yet.
    pub(crate) fn fresh(&self, kind: &str) -> PathBuf {
        self.files.set(self.files.get() + 1);
        self.dir().join(format!("{}.{kind}", self.files.get()))
    }
}

/// The result of a row.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// Latchkey first.
    pub(crate) figures: Vec<Figure>,
    pub(crate) verdicts: Vec<Verdict>,
    /// Peers that could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

/// The measurements of one peer.
#[derive(Serialize)]
pub(crate) struct Figure {
    pub(crate) peer: &'static str,
    pub(crate) version: String,
    pub(crate) settings: String,
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
}

impl Figure {
    pub(crate) fn range(&self) -> (f64, f64) {
        let fold = |pick: fn(f64, f64) -> f64| self.values.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        (fold(f64::min), fold(f64::max))
    }
}

/// A figure compared with its goal.
#[derive(Serialize)]
pub(crate) struct Verdict {
    /// The peer our figure is divided by; `None` where the goal is an absolute bound.
    pub(crate) beside: Option<&'static str>,
    pub(crate) value: f64,
    /// The goal in words; empty where there is none.
    pub(crate) reach: String,
    pub(crate) met: Option<bool>,
}

/// Measures `row`: every peer once per round, in turn, so that disturbances of the machine affect all.
pub(crate) fn measure(lab: &Lab, row: &Row) -> Outcome {
    let mut skipped = Vec::new();
    let mut figures: Vec<Figure> = Vec::new();
    let mut up: Vec<Option<Running>> = Vec::new();
    for peer in row.peers {
        match peer.start(lab) {
            Ok(running) => {
                figures.push(Figure {
                    peer: peer.name(),
                    version: running.version.clone(),
                    settings: running.settings.replace(&lab.dir().display().to_string(), "DIR"),
                    values: Vec::new(),
                    median: f64::NAN,
                });
                up.push(Some(running));
            }
            Err(reason) => skipped.push(format!("{}: {reason}", peer.name())),
        }
    }
    for round in 0..row.rounds {
        for (figure, slot) in figures.iter_mut().zip(&mut up) {
            let Some(running) = slot else { continue };
            match take(lab, running, &row.take) {
                Ok(value) => figure.values.push(value),
                Err(reason) => {
                    skipped.push(format!("{} in round {}: {reason}", figure.peer, round + 1));
                    *slot = None;
                }
            }
        }
    }
    figures.retain_mut(|figure| {
        figure.median = median(&figure.values);
        !figure.values.is_empty()
    });
    let verdicts = judge(row, &figures);
    Outcome { name: row.name, what: row.what, unit: row.unit, figures, verdicts, skipped }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let low = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    let high = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    f64::midpoint(low, high)
}

fn judge(row: &Row, figures: &[Figure]) -> Vec<Verdict> {
    let Some(own) = figures.iter().find(|figure| Some(figure.peer) == row.peers.first().map(|peer| peer.name())) else {
        return Vec::new();
    };
    let mut verdicts = Vec::new();
    for figure in figures.iter().filter(|figure| !std::ptr::eq(*figure, own)) {
        let value = own.median / figure.median;
        let goal = row.goals.iter().find(|(peer, _)| peer.is_some_and(|peer| peer.name() == figure.peer));
        let (reach, met) = goal.map_or((String::new(), None), |(_, goal)| (goal.show(), Some(goal.holds(value))));
        verdicts.push(Verdict { beside: Some(figure.peer), value, reach, met });
    }
    for (_, goal) in row.goals.iter().filter(|(peer, _)| peer.is_none()) {
        verdicts.push(Verdict {
            beside: None,
            value: own.median,
            reach: goal.show(),
            met: Some(goal.holds(own.median)),
        });
    }
    verdicts
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn show(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

/// One measurement.
fn take(lab: &Lab, server: &Running, what: &Take) -> Result<f64, String> {
    match what {
        Take::CpuPerRequest(_) if server.peer == Peer::InMemory => Ok(in_memory_handshake()),
        Take::CpuPerRequest(words) => cpu_per(lab, server, words, |report| Ok(requests(report)? / 1e6)),
        Take::CpuPerGigabyte(words) => cpu_per(lab, server, words, |report| {
            requests(report)?;
            Ok((number(report, "/bytes_sent")? + number(report, "/bytes_received")?) / 1e9)
        }),
        Take::PerCpuSecond(words) => Ok(1.0 / cpu_per(lab, server, words, requests)?),
        Take::ClientCpu { pipeline, requests } => drive::client_cpu(lab, server, pipeline, *requests),
        Take::IdleKib(words) => idle(lab, server, words),
        Take::StormP99 => Ok(storm(lab, server)?.0 / 1e3),
        Take::StormConnections => Ok(storm(lab, server)?.1),
        Take::WrkRate => drive::wrk(lab, server),
        Take::BytesPerKey(keys) => bytes_per_key(lab, server, *keys),
        Take::StallWhileLoading(keys) => stall(lab, server, *keys),
    }
}

/// CPU seconds of the server per `unit` of a load.
fn cpu_per(
    lab: &Lab,
    server: &Running,
    words: &[&str],
    unit: fn(&serde_json::Value) -> Result<f64, String>,
) -> Result<f64, String> {
    let before = server.process()?.cpu();
    let report = Load::new(lab, server, words)?.run()?;
    // The cost of closing the connections is included.
    sleep(Duration::from_millis(100));
    Ok((server.process()?.cpu() - before) / unit(&report)?)
}

/// Microseconds of the server's half, the median of many.
fn in_memory_handshake() -> f64 {
    let endpoints = world::endpoints();
    let mut pair = Pair::serving(Echo, None, endpoints.sessions());
    let mut microseconds = |_| world::handshake_cpu(&mut pair, &endpoints).as_secs_f64() * 1e6;
    let times: Vec<f64> = (0..2_000).map(&mut microseconds).collect();
    median(&times)
}

fn idle(lab: &Lab, server: &Running, words: &[&str]) -> Result<f64, String> {
    // The first connections include one-time setup.
    let warm = ["handshake", "--connections", "20", "--requests", "200"];
    Load::new(lab, server, &warm)?.run()?;
    sleep(Duration::from_millis(500));
    let pid = server.process()?.worker().to_string();
    // The load takes the sample when all are open, before any of them sends a request.
    let report = Load::new(lab, server, &[words, &["--pid", &pid]].concat())?.run()?;
    Ok(number(&report, "/idle/server_rss_per_connection_bytes")? / 1024.0)
}

/// The p99 in microseconds of connected clients while others handshake as fast as they can, and the number of
/// connections that those have made.
fn storm(lab: &Lab, server: &Running) -> Result<(f64, f64), String> {
    // They connect before the storm begins, and are measured from its second second on.
    let steady = ["resp", "--connections", "20", "--rate", "2000", "--warmup", "2s", "--duration", "3s"];
    let steady = Load::new(lab, server, &steady)?.preferred().start()?;
    sleep(Duration::from_secs(1));
    let handshakes = ["handshake", "--connections", "300", "--duration", "5s", "--timeout", "30s"];
    let storm = Load::new(lab, server, &handshakes)?.run()?;
    let steady = steady.report()?;
    requests(&steady)?;
    Ok((number(&steady, "/latency_us/p99")?, requests(&storm)?))
}

fn loading(keys: u64) -> Vec<String> {
    let words = format!(
        "resp --ratio 1:0 --distribution sequential --keys {keys} --requests {keys} --connections 8 --pipeline 32 --timeout 60s"
    );
    words.split(' ').map(str::to_owned).collect()
}

fn bytes_per_key(lab: &Lab, server: &Running, keys: u64) -> Result<f64, String> {
    let before = server.process()?.resident();
    let words = loading(keys);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let report = Load::new(lab, server, &words)?.run()?;
    Ok((server.process()?.resident() - before) * 1024.0 / requests(&report)?)
}

/// The maximum time in milliseconds that one client waits for a reply while another one loads `keys`.
fn stall(lab: &Lab, server: &Running, keys: u64) -> Result<f64, String> {
    let words = loading(keys);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let steady = ["resp", "--connections", "1", "--rate", "500", "--arrivals", "constant", "--duration", "90s"];
    let mut steady = Load::new(lab, server, &steady)?.preferred().start()?;
    let loaded = Load::new(lab, server, &words)?.run()?;
    requests(&loaded)?;
    steady.interrupt()?;
    Ok(number(&steady.report()?, "/latency_us/max")? / 1e3)
}
