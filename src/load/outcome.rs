//! Failures of requests and connections, and the verdict on a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a request or a connection failed: the complete list. The names stand in every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestFailure {
    /// No server listens at the address.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// No route, or another error of the network while connecting.
    Unreachable,
    /// The process has no descriptor left.
    Descriptors,
    /// Every local port of the source addresses is in use.
    Ports,
    /// The TLS handshake failed for another reason than the server's certificate.
    Handshake,
    /// The server's certificate was rejected: no trusted CA issued it, or it is damaged.
    Certificate,
    /// The server's certificate is for another name.
    CertificateName,
    /// The server's certificate has expired, or is not valid yet.
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

    /// Its meaning and its remedy, for people.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "no server listens there: is it running, and is the port right?",
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
                "server certificate rejected: no trusted CA issued it; give the file of its CA with --ca; \
                 `latchkey certs check HOST:PORT` shows what is wrong"
            }
            Self::CertificateName => {
                "server certificate rejected: it is for another name; connect by a name in it, or give that with \
                 --server-name; `latchkey certs check HOST:PORT` shows its names"
            }
            Self::CertificateTime => {
                "server certificate rejected: it has expired or is not valid yet; renew it, and compare the clocks; \
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
    /// Length of the measured part.
    pub measured: Duration,
    /// How much of it all may be the harness's own doing: the worst of each over its threads.
    pub own: OwnShare,
    /// Latency at the 99th percentile, in microseconds.
    pub p99_us: f64,
}

/// How much of what a thread, or the worst of several, has measured may be its own doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnShare {
    /// The part of its time that it ran or waited for a processor, 0 to 1.
    pub busy: f64,
    /// The part of its time that it had something to do and no processor, 0 to 1.
    pub starved: f64,
    /// The part of its time that it was in pauses: without a processor for more than a millisecond at a time, 0 to 1.
    pub paused: f64,
    /// The part of the mean latency that may be its waits for a processor, 0 to 1.
    pub latency: f64,
    /// Whether more than one request in a hundred was sent late although a connection was free for it.
    pub late_sends: bool,
    /// Whether more than one request in a hundred was sent late for whatever reason.
    pub behind: bool,
    /// The part of the answers that were read just after a pause, 0 to 1.
    pub late_reads: f64,
    /// The mean of the pauses before these answers, in microseconds: none was read later than its pause was long.
    pub read_delay_us: f64,
}

impl OwnShare {
    /// The worse of two in everything.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self {
            busy: self.busy.max(other.busy),
            starved: self.starved.max(other.starved),
            paused: self.paused.max(other.paused),
            latency: self.latency.max(other.latency),
            late_sends: self.late_sends || other.late_sends,
            behind: self.behind || other.behind,
            late_reads: self.late_reads.max(other.late_reads),
            read_delay_us: self.read_delay_us.max(other.read_delay_us),
        }
    }
}

/// A reason for which the figures describe the harness and not the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLimit {
    /// A thread had no time left.
    Busy,
    /// Requests were sent late although a connection was free.
    LateSends,
    /// A thread was without a processor for so long that it sent less.
    Paused,
    /// Answers were read late, by an amount that shows in the 99th percentile.
    LateReads,
    /// Short waits for a processor are a large part of the latency.
    Waits,
}

impl ClientLimit {
    /// What happened, as the rest of a sentence about this client.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Busy => "had no time left: add --threads or hosts",
            Self::LateSends => {
                "sent over 1% of the requests more than 1 ms late though a connection was free, which the latency includes: \
                 leave it a processor of its own"
            }
            Self::Paused => {
                "was without a processor for over 10% of the time, in pauses of more than 1 ms: it has asked less than it \
                 could; leave it a processor of its own"
            }
            Self::LateReads => {
                "read over 1% of the answers late, after pauses without a processor that show in the p99: leave it a \
                 processor of its own"
            }
            Self::Waits => {
                "waited for a processor for over half of the latency that it reports: leave it a processor of its own"
            }
        }
    }
}

/// A reason for which a run answers another question than was asked.
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

    /// The value of `--allow` that accepts it; nothing accepts a run without a measurement.
    #[must_use]
    pub fn allowed_by(self) -> Option<&'static str> {
        match self {
            Self::Errors => Some("errors"),
            Self::SentLess => Some("sent-less"),
            Self::Stopped => Some("stopped"),
            Self::ClientBound => Some("client-bound"),
            Self::Nothing => None,
        }
    }
}

/// Part of the due requests that may be missing at the end: those of the last turn of the loop.
const TOLERATED_MISSING: f64 = 0.001;
/// A thread that is busier than this has no time left.
const SATURATED: f64 = 0.95;
/// The part of its time that a thread may be in pauses. While it is, it sends nothing: in a closed loop the rate may be
/// lower by as much. Rates of one server differ by some percent from run to run.
const PAUSED: f64 = 0.10;
/// The part of the answers that may be read late: beyond it, the 99th percentile is one of those.
const LATE_READS: f64 = 0.01;
/// Late reads show in the 99th percentile if the delay is at least this part of it.
const SHOWS_IN_P99: f64 = 0.10;
/// The part of the mean latency that may be waits for a processor: beyond it, the figure describes more of this machine
/// than of the server.
const WAITS: f64 = 0.5;
/// Less of its time than this a thread waits for a processor on an idle machine too, where wake-ups are rare and slow.
const NOTICEABLE: f64 = 0.02;
/// A run must have lasted so long for its client to be judged: what a thread does in a few milliseconds, the first of its
/// life, is chance.
const SHORTEST: Duration = Duration::from_millis(100);

impl Facts {
    /// The reason for which the figures describe the harness and not the server, if there is one.
    ///
    /// That a thread has waited for a processor is no distortion by itself: on a machine that client and server share,
    /// some of its many wake-ups always wait, while the server works on other requests. It is one where the thread had no
    /// time left, where it sent or read so late that the percentiles show it, where it was away for so long that the rate
    /// shows it, and where its waits are most of the latency.
    #[must_use]
    pub fn client_limit(&self) -> Option<ClientLimit> {
        let own = self.own;
        if self.measured < SHORTEST || self.answered == 0 {
            return None;
        }
        let shows_in_p99 = own.read_delay_us >= self.p99_us * SHOWS_IN_P99;
        let limits = [
            (ClientLimit::Busy, own.busy >= SATURATED && (self.due.is_none() || own.behind)),
            (ClientLimit::LateSends, own.late_sends),
            (ClientLimit::Paused, own.paused >= PAUSED),
            (ClientLimit::LateReads, own.late_reads > LATE_READS && shows_in_p99),
            (ClientLimit::Waits, own.latency >= WAITS && own.starved >= NOTICEABLE),
        ];
        limits.into_iter().find_map(|(limit, applies)| applies.then_some(limit))
    }

    /// How much of the load was sent, in words; of the connections, if only those are short.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn sent_part(&self) -> String {
        let (wanted, made) = self.connections;
        match self.promised.or(self.due) {
            Some(asked) if self.sent < asked => {
                // Rounded down: a part is never 100 %.
                let permille = (1000.0 * self.sent as f64 / asked as f64).floor();
                format!("{} % of the load was sent", permille / 10.0)
            }
            _ => format!("{made} of {wanted} connections were made"),
        }
    }

    /// A problem of this run, in the words of the verdict.
    #[must_use]
    pub fn words(&self, problem: Problem) -> String {
        match problem {
            Problem::Errors => "errors".to_owned(),
            Problem::SentLess => self.sent_part(),
            Problem::Stopped => "stopped before its end".to_owned(),
            Problem::ClientBound => "client-bound".to_owned(),
            Problem::Nothing => "nothing was measured".to_owned(),
        }
    }

    /// All problems of the run.
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
            (Problem::ClientBound, self.client_limit().is_some()),
        ];
        found.into_iter().filter_map(|(problem, is_so)| is_so.then_some(problem)).collect()
    }
}

/// The verdict on a run, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The run has no problem, and every objective was met.
    Pass,
    /// The run has a problem that was not allowed; its figures answer another question.
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

    /// Its exit code.
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
        measured: Duration::from_secs(10),
        own: OWN,
        p99_us: 800.0,
    };

    const OWN: OwnShare = OwnShare {
        busy: 0.4,
        starved: 0.005,
        paused: 0.0,
        latency: 0.005,
        late_sends: false,
        behind: false,
        late_reads: 0.0,
        read_delay_us: 0.0,
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
            (Facts { own: OwnShare { late_sends: true, ..OWN }, ..GOOD }, vec![Problem::ClientBound]),
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
    fn client_bound_needs_a_distortion_that_the_figures_show() {
        let closed = Facts { due: None, asked_per_s: None, ..GOOD };
        let limit = |facts: Facts, own: OwnShare| Facts { own, ..facts }.client_limit();
        // A loop that goes as fast as it can has no time left; one with a schedule only if it is behind.
        assert_eq!(limit(GOOD, OwnShare { busy: 0.99, ..OWN }), None);
        assert_eq!(limit(GOOD, OwnShare { behind: true, ..OWN }), None, "the server may be slow");
        assert_eq!(limit(GOOD, OwnShare { busy: 0.99, behind: true, ..OWN }), Some(ClientLimit::Busy));
        assert_eq!(limit(closed, OwnShare { busy: 0.99, ..OWN }), Some(ClientLimit::Busy));
        let late = OwnShare { late_sends: true, behind: true, busy: 0.04, ..OWN };
        assert_eq!(limit(GOOD, late), Some(ClientLimit::LateSends));
        // A quarter of the time in short waits, as beside a build on two processors: the server works on meanwhile.
        let shared = OwnShare { starved: 0.25, latency: 0.25, paused: 0.04, ..OWN };
        assert_eq!([GOOD, closed].map(|facts| limit(facts, shared)), [None, None]);
        assert_eq!(limit(closed, OwnShare { paused: 0.2, ..shared }), Some(ClientLimit::Paused));
        // One request in flight at a time, read half a millisecond late each.
        assert_eq!(limit(GOOD, OwnShare { latency: 0.8, ..shared }), Some(ClientLimit::Waits));
        assert_eq!(limit(GOOD, OwnShare { latency: 0.8, ..OWN }), None, "rare wake-ups of an idle machine");
        // Late reads count where they are more than one in a hundred, and by what they add to the percentile.
        let reads = |late_reads, read_delay_us| OwnShare { late_reads, read_delay_us, ..shared };
        assert_eq!(limit(GOOD, reads(0.009, 4000.0)), None);
        assert_eq!(limit(GOOD, reads(0.02, 4000.0)), Some(ClientLimit::LateReads));
        assert_eq!(limit(Facts { p99_us: 50_000.0, ..GOOD }, reads(0.02, 4000.0)), None, "the server is slower still");
        // The first few milliseconds of a thread show chance.
        let short = Facts { measured: Duration::from_millis(99), ..closed };
        assert_eq!(limit(short, OwnShare { busy: 1.0, paused: 1.0, ..OWN }), None);
        assert_eq!(limit(Facts { answered: 0, ..closed }, OwnShare { busy: 1.0, ..OWN }), None);
    }

    #[test]
    fn problems_are_named_with_what_is_short() {
        let words = |facts: Facts| facts.words(Problem::SentLess);
        assert_eq!(words(Facts { sent: 8000, ..GOOD }), "80 % of the load was sent");
        assert_eq!(words(Facts { sent: 9_999_999, due: Some(10_000_000), ..GOOD }), "99.9 % of the load was sent");
        assert_eq!(words(Facts { due: None, promised: Some(30), sent: 10, ..GOOD }), "33.3 % of the load was sent");
        assert_eq!(words(Facts { connections: (50, 49), ..GOOD }), "49 of 50 connections were made");
        assert_eq!(GOOD.words(Problem::Errors), "errors");
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
