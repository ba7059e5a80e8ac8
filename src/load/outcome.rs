//! What can go wrong in a run, and whether the run is what was asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a request or a connection failed: the complete list. The names stand in every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestFailure {
    /// Nobody listens there.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// No route, or another error of the network while connecting.
    Unreachable,
    /// The process has no descriptor left.
    Descriptors,
    /// Every local port of the source addresses is in use.
    Ports,
    /// The TLS handshake failed, but for the server's certificate.
    Handshake,
    /// The server's certificate is not accepted: it is not from a CA that is believed, or is damaged.
    Certificate,
    /// It is for another name.
    CertificateName,
    /// It has expired, or is not valid yet.
    CertificateTime,
    /// The server sent a fatal TLS alert.
    Alert,
    /// A full handshake where a resumed one was asked for.
    NotResumed,
    /// The socket was reset.
    Reset,
    /// The server closed a connection that was owed replies.
    Closed,
    /// No answer in time.
    Timeout,
    /// Bytes that are not the protocol.
    Malformed,
    /// The server answered with an error.
    ErrorReply,
    /// The answer has other bytes than were written.
    WrongBytes,
}

impl RequestFailure {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 17] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Unreachable,
        Self::Descriptors,
        Self::Ports,
        Self::Handshake,
        Self::Certificate,
        Self::CertificateName,
        Self::CertificateTime,
        Self::Alert,
        Self::NotResumed,
        Self::Reset,
        Self::Closed,
        Self::Timeout,
        Self::Malformed,
        Self::ErrorReply,
        Self::WrongBytes,
    ];

    /// The reason as it stands in every output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::CertificateName => "certificate_name",
            Self::CertificateTime => "certificate_time",
            Self::Alert => "alert",
            Self::NotResumed => "not_resumed",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::ErrorReply => "error_reply",
            Self::WrongBytes => "wrong_bytes",
        }
    }

    /// The failure of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// What it means, and what to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "nobody listens there: is the server running, is the port right?",
            Self::ConnectTimeout => {
                "no connection within --timeout: a firewall, or a full listen queue; try --connect-over, fewer --connections"
            }
            Self::Unreachable => "the network gave an error while connecting: check the address and the route",
            Self::Descriptors => "no descriptor left: raise `ulimit -n`, here or in the whole system (fs.file-max)",
            Self::Ports => "no local port left: give several --bind addresses, or widen net.ipv4.ip_local_port_range",
            Self::Handshake => {
                "the handshake failed: is it a TLS port, and do --tls and --pq fit? `latchkey certs check HOST:PORT` looks"
            }
            Self::Certificate => {
                "the server's certificate is not from a CA that is believed here: name the file of its CA with --ca; \
                 `latchkey certs check HOST:PORT` says what is wrong"
            }
            Self::CertificateName => {
                "the server's certificate is for another name than the one that was connected to: connect by a name in \
                 it, or give that with --server-name; `latchkey certs check HOST:PORT` shows its names"
            }
            Self::CertificateTime => {
                "the server's certificate has expired or is not valid yet: renew it, and compare the clocks; \
                 `latchkey certs check HOST:PORT` shows its times"
            }
            Self::Alert => {
                "the server ended TLS with an alert: does it want a client certificate (--cert, --key), another --tls, another --pq?"
            }
            Self::NotResumed => {
                "the server did not resume a session: it gives no tickets, or forgets them (count both with --resume mix \
                 --allow errors)"
            }
            Self::Reset => "the server reset connections: look into its log; it may limit connections or requests",
            Self::Closed => {
                "the server closed connections that were owed replies: look into its log, and at its limits"
            }
            Self::Timeout => {
                "no answer within --timeout: less --rate or --connections, or a longer --timeout; or the port speaks another \
                 protocol: is it the right port and command, TLS or --plain?"
            }
            Self::Malformed => {
                "the answers are not of this protocol: is it the right port and command, TLS or --plain?"
            }
            Self::ErrorReply => "the server answered with errors, the first different ones of them being",
            Self::WrongBytes => {
                "answers had other bytes than were written: is it the right port and command, TLS or --plain? If they are \
                 values: do others write these keys (another --seed names other ones)?"
            }
        }
    }
}

/// How often each failure happened.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    counts: [u64; RequestFailure::ALL.len()],
}

impl Failures {
    /// Counts `times` failures.
    pub fn add(&mut self, failure: RequestFailure, times: u64) {
        if let Some(count) = self.counts.get_mut(failure as usize) {
            *count += times;
        }
    }

    /// Adds another thread's failures.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// All failures together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The failures that happened, by reason.
    pub fn nonzero(&self) -> impl Iterator<Item = (RequestFailure, u64)> {
        RequestFailure::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

/// The facts a verdict rests on. They are of the measured part alone.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Requests that fell due in an open loop; `None` in a closed one.
    pub due: Option<u64>,
    /// Requests a second that the schedule asks for; `None` in a closed loop.
    pub asked_per_s: Option<f64>,
    /// Requests that had to be made because `--requests` said so; `None` where time ended the run.
    pub promised: Option<u64>,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered as they should be.
    pub answered: u64,
    /// Failures of requests and of connections.
    pub failed: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// Connections asked for and connections made.
    pub connections: (u64, u64),
    /// The busiest thread's part of its time that it ran or waited for a processor, 0 to 1.
    pub busy: f64,
    /// The part of its time that the most starved thread had something to do and was given no processor for it, 0 to 1.
    pub starved: f64,
    /// Length of the measured part.
    pub measured: Duration,
    /// Whether many requests were sent later than they were due although a connection was free for them.
    pub late: bool,
    /// Whether many requests were sent later than they were due for whatever reason.
    pub behind: bool,
}

/// Why a run is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Requests or connections failed.
    Errors,
    /// Less was sent than asked for.
    SentLess,
    /// The run was stopped before its end.
    Stopped,
    /// The harness, or the machine that it ran on, and not the server, set the pace or the times.
    ClientBound,
    /// Nothing was measured.
    Nothing,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Errors, Self::SentLess, Self::Stopped, Self::ClientBound, Self::Nothing];

    /// As it stands in the outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::SentLess => "sent_less",
            Self::Stopped => "stopped",
            Self::ClientBound => "client_bound",
            Self::Nothing => "nothing",
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Errors => "requests or connections failed, see above (allow with --allow errors)",
            Self::SentLess => {
                "less was sent than asked for: connections were busy or missing. What was due and not sent counts in the \
                 latency with the time it waited. Cure what failed, ask for less, or give more --connections (allow with \
                 --allow sent-less)"
            }
            Self::Stopped => {
                "the run was stopped before its end: the figures are of what came before (allow with --allow stopped)"
            }
            Self::ClientBound => {
                "this client was the bottleneck: the figures describe it, not the server. If it was busy, add --threads or \
                 hosts; if it was not given a processor, leave it one of its own (allow with --allow client-bound)"
            }
            Self::Nothing => {
                "nothing was measured: was the time too short for a single answer? Give a longer --duration"
            }
        }
    }
}

/// Part of the due requests that may be missing at the end: those of the last turn of the loop.
const TOLERATED_MISSING: f64 = 0.001;
/// A thread that is busier than this has no time left.
const SATURATED: f64 = 0.95;
/// A thread that waits for a processor for a larger part of its time than this measures its own machine: more than one
/// answer in a hundred is then read later than it came.
pub(crate) const STARVED: f64 = 0.02;
/// A run must have lasted so long for its client to be judged: what a thread does in a few milliseconds, the first of its
/// life, is chance.
const SHORTEST: Duration = Duration::from_millis(100);

impl Facts {
    /// Whether the figures describe the harness, not the server.
    ///
    /// They do if it had no time left: behind its schedule, or in a closed loop, where it goes as fast as it can. And they
    /// do if it was not given a processor when it had something to do, since its machine was busy with something else, or
    /// it was stopped: what it then sends late, and reads late, the server has not done.
    #[must_use]
    pub fn client_bound(&self) -> bool {
        let had_no_time = self.busy >= SATURATED && (self.due.is_none() || self.behind);
        let shows_something = self.measured >= SHORTEST && self.answered > 0;
        shows_something && (had_no_time || self.late || self.starved >= STARVED)
    }

    /// Everything that makes the run something else than what was asked for.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn problems(&self) -> Vec<Problem> {
        let short = |sent: u64, asked: u64| (sent as f64) < asked as f64 * (1.0 - TOLERATED_MISSING);
        let (wanted, made) = self.connections;
        let sent_less = self.due.is_some_and(|due| short(self.sent, due))
            || self.promised.is_some_and(|promised| self.sent < promised)
            || made < wanted;
        let found = [
            (Problem::Nothing, self.answered == 0 && self.failed == 0 && !self.interrupted),
            (Problem::Errors, self.failed > 0),
            (Problem::SentLess, sent_less && !self.interrupted),
            (Problem::Stopped, self.interrupted),
            (Problem::ClientBound, self.client_bound()),
        ];
        found.into_iter().filter_map(|(problem, is_so)| is_so.then_some(problem)).collect()
    }
}

/// What a script needs to know of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The run is what was asked for, and every objective was met.
    Pass,
    /// The run is not what was asked for; its figures answer another question.
    NotAsAsked,
    /// The run is valid and missed an objective.
    SloMissed,
}

impl Verdict {
    /// The judgement over problems, those `allowed` left out, and over objectives. An invalid run proves no objective.
    #[must_use]
    pub fn of(problems: &[Problem], allowed: &[Problem], objectives_met: bool) -> Self {
        if problems.iter().any(|problem| !allowed.contains(problem)) {
            Self::NotAsAsked
        } else if objectives_met {
            Self::Pass
        } else {
            Self::SloMissed
        }
    }

    /// The exit code that says so to a script.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::NotAsAsked => 3,
            Self::SloMissed => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        due: Some(10_000),
        asked_per_s: Some(1000.0),
        promised: None,
        sent: 10_000,
        answered: 10_000,
        failed: 0,
        interrupted: false,
        connections: (50, 50),
        busy: 0.4,
        starved: 0.005,
        measured: Duration::from_secs(10),
        late: false,
        behind: false,
    };

    #[test]
    fn every_failure_has_its_own_counter_and_name() {
        let mut failures = Failures::default();
        for (index, failure) in RequestFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index);
            failures.add(failure, index as u64);
        }
        failures.merge(&failures.clone());
        assert_eq!(failures.total(), 272);
        assert_eq!(failures.nonzero().next(), Some((RequestFailure::ConnectTimeout, 2)));
        assert!(
            RequestFailure::ALL.into_iter().all(|failure| RequestFailure::from_name(failure.name()) == Some(failure))
        );
        let names: std::collections::HashSet<_> = RequestFailure::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), RequestFailure::ALL.len());
    }

    #[test]
    fn each_problem_is_found_from_its_own_facts() {
        let cases = [
            (GOOD, vec![]),
            (Facts { sent: 9_995, ..GOOD }, vec![]),
            (Facts { sent: 9_980, ..GOOD }, vec![Problem::SentLess]),
            (Facts { promised: Some(10_001), ..GOOD }, vec![Problem::SentLess]),
            (Facts { connections: (50, 49), ..GOOD }, vec![Problem::SentLess]),
            (Facts { interrupted: true, ..GOOD }, vec![Problem::Stopped]),
            (Facts { failed: 1, ..GOOD }, vec![Problem::Errors]),
            (Facts { busy: 0.99, ..GOOD }, vec![]),
            (Facts { late: true, behind: true, busy: 0.04, ..GOOD }, vec![Problem::ClientBound]),
            (Facts { starved: 0.3, ..GOOD }, vec![Problem::ClientBound]),
            (Facts { starved: 0.3, due: None, ..GOOD }, vec![Problem::ClientBound]),
            (Facts { busy: 1.0, starved: 1.0, due: None, measured: Duration::from_millis(99), ..GOOD }, vec![]),
            (Facts { busy: 1.0, due: None, answered: 0, failed: 1, ..GOOD }, vec![Problem::Errors]),
            (Facts { behind: true, ..GOOD }, vec![]),
            (Facts { busy: 0.99, behind: true, ..GOOD }, vec![Problem::ClientBound]),
            (Facts { busy: 0.99, due: None, ..GOOD }, vec![Problem::ClientBound]),
            (Facts { due: Some(0), sent: 0, answered: 0, ..GOOD }, vec![Problem::Nothing]),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.problems(), expected, "{facts:?}");
            for problem in expected {
                assert_eq!(serde_json::to_value(problem).expect("a word"), problem.name());
            }
        }
    }

    #[test]
    fn an_invalid_run_is_worse_than_a_missed_objective_unless_allowed() {
        let code = |problems: &[_], allowed: &[_], met| Verdict::of(problems, allowed, met).exit_code();
        let [errors, bound] = [Problem::Errors, Problem::ClientBound];
        assert_eq!(code(&[], &[], true), 0);
        assert_eq!(code(&[], &[], false), 4);
        assert_eq!(code(&[errors], &[], true), 3);
        assert_eq!(code(&[errors], &[errors], true), 0);
        assert_eq!(code(&[errors], &[errors], false), 4);
        assert_eq!(code(&[errors, bound], &[errors], false), 3);
    }
}
