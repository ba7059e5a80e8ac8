//! The report of a run: what `--json` writes and `compare` reads.
//!
//! The field names are a contract with scripts. Fields may be added; none is renamed, removed or changed in meaning
//! without a new [`SCHEMA`]. All times are in the unit that the name ends in.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

use crate::load::histogram::Percentiles;
use crate::load::outcome::{ClientLimit, Facts, Problem, Verdict};
use crate::load::schedule::Schedule;
use crate::load::second::Second;
use crate::load::slo::{Measured, Objective};
use crate::load::tally::{self, Tally};

/// The version of the fields below.
pub const SCHEMA: u32 = 1;

/// A whole run. Unless said otherwise everything is of the measured part, without the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program and its version.
    pub tool: String,
    /// When the measured part began, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// `echo`, `resp`, `xmlrpc`, `handshake` or `idle`.
    pub protocol: String,
    /// `tls://HOST:PORT` or `plain://HOST:PORT`.
    pub target: String,
    /// The settings of the run, as the command line has them.
    pub settings: BTreeMap<String, String>,
    /// Requests answered as they should be; with `handshake`, handshakes finished.
    pub requests: u64,
    /// Requests sent.
    pub sent: u64,
    /// Failures of requests and connections, by reason. Reasons that did not occur are left out.
    pub errors: BTreeMap<String, u64>,
    /// The first few different errors that the server answered with (`error_reply`).
    #[serde(default)]
    pub error_replies: Vec<ErrorReply>,
    /// Reads that found no value.
    pub misses: u64,
    /// Values that the run has written, its warm-up included. Their keys stay on the server.
    #[serde(default)]
    pub writes: u64,
    /// What the names of those keys begin with; null where none was written.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// Requests a second that the schedule asks for; null in a closed loop.
    pub asked_per_s: Option<f64>,
    /// Requests a second that were sent, while any were due.
    pub sent_per_s: f64,
    /// Good answers a second that came within the measured part; those after it do not count.
    pub answered_per_s: f64,
    /// Length of the measured part; where a number of requests ends it, to the answer to the last.
    pub duration_s: f64,
    /// From when a request was due to its answer. What was due and never answered counts with the time it waited.
    pub latency_us: Percentiles,
    /// From when a request was sent to its answer.
    pub service_us: Percentiles,
    /// Handshakes of all connections; with `handshake`, of the measured part only.
    pub handshakes: HandshakeReport,
    /// Connections that replaced an earlier one of the same virtual client, over the whole run.
    #[serde(default)]
    pub reconnections: u64,
    /// Bytes written to sockets, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from sockets, TLS included.
    pub bytes_received: u64,
    /// Connections open at the end, and the server's memory for them; only with `idle`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle: Option<Idle>,
    /// Whether the figures describe this program, or its machine, and not the server.
    pub client_bound: bool,
    /// The first reason that applies.
    #[serde(default)]
    pub client_bound_by: Option<ClientLimit>,
    /// The busiest thread's part of the time that it had something to do, 0 to 1.
    pub client_busy: f64,
    /// Processor time of all threads over the whole run.
    pub client_cpu_s: f64,
    /// The part of the measured time that the most starved thread had something to do and no processor, 0 to 1.
    #[serde(default)]
    pub client_starved: f64,
    /// The part of it in pauses: without a processor for more than a millisecond at a time, 0 to 1.
    #[serde(default)]
    pub client_paused: f64,
    /// The part of the answers that were read just after a pause, 0 to 1.
    #[serde(default)]
    pub client_late_reads: f64,
    /// The mean of the pauses before these answers: none was read later than its pause was long.
    #[serde(default)]
    pub client_read_delay_us: f64,
    /// The part of the mean latency that may be waits of this program for a processor, 0 to 1.
    #[serde(default)]
    pub client_latency_part: f64,
    /// Whether more than one request in a hundred was sent over a millisecond late although a connection was free: this
    /// program was not woken in time, which is part of the latency.
    #[serde(default)]
    pub client_late: bool,
    /// The verdict in one line: `pass`, or `FAIL: ` and why.
    #[serde(default)]
    pub outcome: String,
    /// `pass`, `not_as_asked` or `slo_missed`.
    pub verdict: Verdict,
    /// Problems of the run, allowed ones included.
    pub problems: Vec<Problem>,
    /// Objectives, and what was measured for each.
    pub slo: Vec<Slo>,
    /// Second by second, by the time of the answer.
    pub seconds: Vec<SecondRow>,
    /// Latency over quantiles.
    pub latency_curve: Curve,
    /// Service time over quantiles.
    pub service_curve: Curve,
}

/// An error that the server answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Its words, cut where they are long; control characters are replaced.
    pub text: String,
    /// How often it came.
    pub count: u64,
}

/// Pairs of a quantile (0 to 1) and the microseconds at it.
pub type Curve = Vec<(f64, f64)>;

/// Groups and suites agreed in handshakes, and how long their parts took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandshakeReport {
    /// Full ones without a retry.
    pub full: u64,
    /// Resumed ones.
    pub resumed: u64,
    /// Full ones with a HelloRetryRequest.
    pub hrr: u64,
    /// How many agreed on each key exchange group.
    pub groups: BTreeMap<String, u64>,
    /// How many agreed on each cipher suite.
    pub suites: BTreeMap<String, u64>,
    /// From the connect call to the connected socket.
    pub tcp: ReportPhase,
    /// From the connected socket to the end of the handshake.
    pub tls: ReportPhase,
    /// From the first request (or the end of the handshake) to the first byte back.
    pub first_byte: ReportPhase,
}

/// How long one part of connecting took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportPhase {
    /// How many were measured.
    pub count: u64,
    /// Percentiles.
    pub us: Percentiles,
    /// All of it.
    pub curve: Curve,
}

/// The result of holding idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// Connections open at the end.
    pub open: u64,
    /// Those of them that still answered.
    pub alive: u64,
    /// The server's resident memory before the first connection; null without `--pid`.
    pub server_rss_before_bytes: Option<u64>,
    /// The same with all connections open.
    pub server_rss_bytes: Option<u64>,
    /// Their difference for each open connection.
    pub server_rss_per_connection_bytes: Option<f64>,
    /// What a connection can take at most, if the difference may be too small: the server had been as large before the
    /// run, so that connections may have got memory that it had kept. Null if it is not.
    #[serde(default)]
    pub server_rss_per_connection_at_most_bytes: Option<f64>,
}

/// One objective and how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// As it was given.
    pub objective: String,
    /// What was measured, as people read it.
    pub measured: String,
    /// Whether the objective was met.
    pub met: bool,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondRow {
    /// Seconds since the measured part began.
    pub second: u64,
    /// Answers in this second.
    pub answered: u64,
    /// Failures in this second.
    pub errors: u64,
    /// Requests that the schedule makes due in this second, on average; null in a closed loop.
    #[serde(default)]
    pub asked: Option<f64>,
    /// From when the requests were due; those that were given up in this second count with the time they waited.
    pub latency_us: Percentiles,
    /// From when they were sent.
    pub service_us: Percentiles,
}

/// The facts of a report besides the tally.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// See [`Report::started_unix_ms`].
    pub started_unix_ms: u64,
    /// See [`Report::protocol`].
    pub protocol: &'static str,
    /// See [`Report::target`].
    pub target: String,
    /// See [`Report::settings`].
    pub settings: BTreeMap<String, String>,
    /// See [`Report::key_prefix`].
    pub key_prefix: Option<String>,
    /// Length of the measured part.
    pub duration: Duration,
    /// The part of it in which requests were made.
    pub sending: Duration,
    /// See [`Report::client_cpu_s`].
    pub client_cpu: Duration,
    /// See [`Report::idle`].
    pub idle: Option<Idle>,
    /// When something was due.
    pub schedule: Schedule,
    /// What the verdict rests on.
    pub facts: Facts,
    /// Problems that do not spoil the verdict.
    pub allowed: Vec<Problem>,
    /// Objectives to meet.
    pub objectives: Vec<Objective>,
}

impl Report {
    /// The report on `tally`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn new(context: RunContext, tally: &Tally) -> Self {
        let seconds = context.duration.as_secs_f64().max(1e-9);
        let per_second = |count: u64| count as f64 / seconds;
        let sending = context.sending.as_secs_f64().max(1e-9);
        let recorder = &tally.recorder;
        let failed = tally.failures.total();
        let measured = Measured {
            latency: recorder.latency(),
            errors: failed as f64 / (failed + tally.answered).max(1) as f64,
            rate: per_second(tally.in_time),
        };
        let slo: Vec<_> = context.objectives.iter().map(|objective| Slo::judge(objective, &measured)).collect();
        let problems = context.facts.problems();
        let verdict = Verdict::of(&problems, &context.allowed, slo.iter().all(|slo| slo.met));
        let outcome = outcome(verdict, &problems, &context, &slo);
        let (own, limit) = (context.facts.own, context.facts.client_limit());
        let schedule = context.schedule;
        let asked = |second| schedule.expected(Duration::from_secs(second), Duration::from_secs(second + 1));
        let errors = tally.failures.nonzero().map(|(failure, count)| (failure.name().to_owned(), count)).collect();
        Self {
            schema: SCHEMA,
            tool: concat!("latchkey ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_unix_ms: context.started_unix_ms,
            protocol: context.protocol.to_owned(),
            target: context.target,
            settings: context.settings,
            requests: tally.answered,
            sent: tally.sent,
            errors,
            error_replies: tally.wordings.iter().map(ErrorReply::of).collect(),
            misses: tally.misses,
            writes: tally.writes,
            key_prefix: context.key_prefix.filter(|_| tally.writes > 0),
            asked_per_s: context.facts.asked_per_s,
            sent_per_s: tally.sent as f64 / sending,
            answered_per_s: per_second(tally.in_time),
            duration_s: context.duration.as_secs_f64(),
            latency_us: Percentiles::of(recorder.latency()),
            service_us: Percentiles::of(recorder.service()),
            handshakes: HandshakeReport::of(&tally.handshakes),
            reconnections: tally.reconnections,
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            idle: context.idle,
            client_bound: limit.is_some(),
            client_bound_by: limit,
            client_busy: own.busy,
            client_cpu_s: context.client_cpu.as_secs_f64(),
            client_starved: own.starved,
            client_paused: own.paused,
            client_late_reads: own.late_reads,
            client_read_delay_us: own.read_delay_us,
            client_latency_part: own.latency,
            client_late: own.late_sends,
            outcome,
            verdict,
            problems,
            slo,
            seconds: recorder
                .seconds()
                .zip(0..)
                .map(|(second, at)| SecondRow { asked: asked(at), ..SecondRow::of(at, &second) })
                .collect(),
            latency_curve: curve(recorder.latency()),
            service_curve: curve(recorder.service()),
        }
    }
}

/// The verdict in one line, with the flags that accept its problems.
fn outcome(verdict: Verdict, problems: &[Problem], context: &RunContext, slo: &[Slo]) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::NotAsAsked => {
            let mut wrong = problems.to_vec();
            wrong.retain(|problem| !context.allowed.contains(problem));
            let words: Vec<_> = wrong.iter().map(|problem| context.facts.words(*problem)).collect();
            let flags = wrong.iter().filter_map(|problem| problem.allowed_by());
            let flags: Vec<_> = flags.map(|value| format!("--allow {value}")).collect();
            let accepted =
                if flags.is_empty() { String::new() } else { format!(" ({} accepts that)", flags.join(" ")) };
            format!("FAIL: {}{accepted}", words.join(", "))
        }
        Verdict::SloMissed => {
            let missed = slo.iter().filter(|slo| !slo.met).map(|slo| slo.objective.as_str());
            format!("FAIL: missed {}", missed.collect::<Vec<_>>().join(", "))
        }
    }
}

impl Report {
    /// Warnings about the figures, one for each cause. Errors stand with their reasons in the table, and explain requests
    /// that were not sent.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let has_failed = self.problems.contains(&Problem::Errors);
        let warning = |problem: &Problem| {
            match problem {
            Problem::Errors | Problem::Stopped => None,
            Problem::SentLess if has_failed => None,
            Problem::SentLess => Some(
                "less was sent than the schedule asks for: every connection was busy. Requests that were due and not sent \
                 count in the latency with the time they waited. Ask for less, or give more --connections"
                    .to_owned(),
            ),
            Problem::ClientBound => {
                let why = self.client_bound_by.map_or("was the bottleneck", ClientLimit::explanation);
                Some(format!("the figures describe this client and not the server: it {why}"))
            }
            Problem::Nothing => {
                Some("nothing was measured: the time was too short for a single answer; give a longer --duration".to_owned())
            }
        }
        };
        self.problems.iter().filter_map(warning).collect()
    }

    /// The seconds that the measured part covers wholly. One that it covers in part, or that only its last answers fell
    /// into, would look like a slow second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    pub fn whole_seconds(&self) -> &[SecondRow] {
        let whole =
            self.seconds.iter().take_while(|row| row.second.saturating_add(1) as f64 <= self.duration_s + 1e-6).count();
        self.seconds.get(..whole).unwrap_or_default()
    }

    /// What charts over time show: the whole seconds or, where there is none, the only one there is.
    #[must_use]
    pub fn shown_seconds(&self) -> &[SecondRow] {
        match self.whole_seconds() {
            [] => self.seconds.get(..1).unwrap_or_default(),
            whole => whole,
        }
    }
}

impl ErrorReply {
    fn of((text, count): (&str, u64)) -> Self {
        Self { text: text.to_owned(), count }
    }
}

impl Slo {
    fn judge(objective: &Objective, measured: &Measured<'_>) -> Self {
        let (value, met) = objective.judge(measured);
        Self { objective: objective.to_string(), measured: objective.show(value), met }
    }
}

impl SecondRow {
    fn of(second: u64, row: &Second) -> Self {
        Self {
            second,
            answered: row.service.len(),
            errors: row.errors,
            asked: None,
            latency_us: Percentiles::of(&row.latency),
            service_us: Percentiles::of(&row.service),
        }
    }
}

impl HandshakeReport {
    fn of(tally: &tally::HandshakeTally) -> Self {
        let phase = |times: &Histogram<u64>| ReportPhase {
            count: times.len(),
            us: Percentiles::of(times),
            curve: curve(times),
        };
        Self {
            full: tally.full,
            resumed: tally.resumed,
            hrr: tally.retried,
            groups: tally.groups.clone(),
            suites: tally.suites.clone(),
            tcp: phase(&tally.tcp),
            tls: phase(&tally.tls),
            first_byte: phase(&tally.first_byte),
        }
    }
}

/// Quantiles ever closer to 1, as far as the number of values gives them meaning.
#[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is below 2^53")]
pub(super) fn curve<C: Counter>(histogram: &Histogram<C>) -> Curve {
    if histogram.is_empty() {
        return Curve::new();
    }
    // Eight steps for each time that the rest above the quantile shrinks to a tenth.
    let rests = (0..=48).map(|step| 10f64.powf(-f64::from(step) / 8.0));
    let meaningful = rests.take_while(|rest| rest * histogram.len() as f64 >= 1.0);
    meaningful.map(|rest| (1.0 - rest, histogram.value_at_quantile(1.0 - rest) as f64)).collect()
}

#[cfg(test)]
pub(in crate::load) mod tests {
    use super::*;
    use crate::load::outcome::{OwnShare, RequestFailure};
    use crate::load::schedule::{Gaps, Pace, Ramp, StopAfter};

    /// A run of ten seconds with a little of everything, as other tests of outputs need it.
    pub(in crate::load) fn sample() -> (Report, Tally) {
        let mut tally = Tally {
            due: 10_000,
            sent: 10_000,
            answered: 9_998,
            in_time: 9_998,
            misses: 3,
            writes: 7,
            ..Tally::default()
        };
        for i in 0..9_998u64 {
            let service = Duration::from_micros(80 + i % 97 + if i % 1000 < 5 { 4000 } else { 0 });
            let wait = Duration::from_micros(if i / 1000 == 5 { 900 * (i % 1000) } else { i % 13 });
            tally.recorder.answered(Duration::from_millis(i), service + wait, service);
        }
        tally.failures.add(RequestFailure::Reset, 2);
        tally.wordings.add("ERR <b>no</b>", 1);
        tally.recorder.failed(Duration::from_millis(5500));
        tally.recorder.failed(Duration::from_millis(5600));
        tally.handshakes.full = 40;
        tally.handshakes.resumed = 10;
        for i in 0..50 {
            tally.handshakes.agreed(Some("X25519MLKEM768"), Some("TLS_AES_256_GCM_SHA384"));
            let base = Duration::from_micros(100 + i * 3);
            tally::HandshakeTally::record(&mut tally.handshakes.tcp, base);
            tally::HandshakeTally::record(&mut tally.handshakes.tls, base * 20);
            tally::HandshakeTally::record(&mut tally.handshakes.first_byte, base * 2);
        }
        let facts = Facts {
            due: Some(10_000),
            asked_per_s: Some(1000.0),
            promised: None,
            sent: 10_000,
            answered: 9_998,
            failed: 2,
            interrupted: false,
            connections: (50, 50),
            measured: Duration::from_secs(10),
            own: OwnShare { busy: 0.41, starved: 0.003, ..OwnShare::default() },
            p99_us: 800.0,
        };
        let context = RunContext {
            started_unix_ms: 1_700_000_000_000,
            protocol: "echo",
            target: "tls://<localhost>:20000".to_owned(),
            settings: [("rate", "1000"), ("connections", "50")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            key_prefix: Some("lk:12345678:".to_owned()),
            duration: Duration::from_secs(10),
            sending: Duration::from_secs(10),
            client_cpu: Duration::from_secs(4),
            idle: None,
            schedule: Schedule {
                pace: Pace::Open { rate: 1000.0, gaps: Gaps::Poisson },
                ramp: Ramp::NONE,
                warmup: Duration::from_secs(1),
                end: StopAfter::After(Duration::from_secs(10)),
            },
            facts,
            allowed: vec![],
            objectives: vec!["p99<5ms".parse().expect("objective"), "errors<1%".parse().expect("objective")],
        };
        (Report::new(context, &tally), tally)
    }

    #[test]
    fn a_report_survives_the_round_trip() {
        let (report, _) = sample();
        let text = serde_json::to_string_pretty(&report).expect("serialises");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("parses"), report);
    }

    #[test]
    fn the_fields_that_scripts_depend_on_are_there() {
        let json = serde_json::to_value(sample().0).expect("serialises");
        let at = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_else(|| panic!("{pointer} is missing"));
        assert_eq!(at("/requests"), 9998);
        assert_eq!(at("/errors/reset"), 2);
        assert_eq!(at("/asked_per_s"), 1000.0);
        assert_eq!(at("/sent_per_s"), 1000.0);
        assert_eq!(at("/duration_s"), 10.0);
        for times in ["latency_us", "service_us"] {
            for name in ["p50", "p90", "p99", "p99_9", "max", "mean"] {
                assert!(at(&format!("/{times}/{name}")).is_f64());
            }
        }
        assert_eq!(
            (at("/handshakes/full"), at("/handshakes/resumed"), at("/handshakes/hrr")),
            (40.into(), 10.into(), 0.into())
        );
        assert_eq!((at("/client_bound"), at("/verdict")), (false.into(), "not_as_asked".into()));
        assert_eq!((at("/slo/0/met"), at("/slo/1/met")), (false.into(), true.into()));
    }

    #[test]
    fn curves_end_where_values_do() {
        let (report, _) = sample();
        assert!(report.latency_curve.is_sorted());
        let last = report.latency_curve.last().expect("not empty").0;
        // Of 9,998 values the last one is at 0.9999.
        assert!((0.999..0.9999).contains(&last), "{last}");
        assert!(curve(&crate::load::histogram::histogram()).is_empty());
    }
}
