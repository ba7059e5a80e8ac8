//! Runs against this program's own server, over the loopback interface.

mod stall;
mod threads;

use rustls::pki_types::ServerName;

use std::sync::atomic::Ordering;

use super::*;
use crate::connection::{Exchange, Served, Service};
use crate::limits::Limits;
use crate::load::codec::RequestTemplate;
use crate::load::outcome::RequestFailure;
use crate::load::plan::{LoadProtocol, Resume, TlsPlan};
use crate::load::schedule::{Gaps, Pace, Ramp, Schedule, StopAfter};
use crate::load::workload::{Distribution, Mix, Ratio, ValueSizes, Values};
use crate::net::mio::MioNet;
use crate::server::{ListenerConfig, Security, Server};
use crate::services::Echo;
use crate::testing::{self, Clock, TestPki};
use crate::tls::{PolicyOptions, ServerPolicy};

/// Echoes, but for every hundredth byte.
struct Liar(usize);

impl Service for Liar {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, _session: &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        for byte in input {
            self.0 += 1;
            exchange.reply().push(if self.0.is_multiple_of(100) { byte ^ 1 } else { *byte });
        }
        Served::Used(input.len())
    }
}

/// Answers with a byte too many, and none of them right.
struct Babbler;

impl Service for Babbler {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, _session: &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        exchange.reply().extend(input.iter().map(|byte| byte ^ 1));
        exchange.reply().push(0);
        Served::Used(input.len())
    }
}

/// A clock on which a minute passes whenever it is looked at: every ticket is old.
#[derive(Debug)]
struct Hasty(std::sync::atomic::AtomicU64);

impl rustls::time_provider::TimeProvider for Hasty {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = self.0.fetch_add(60, Ordering::Relaxed);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

fn plan(protocol: LoadProtocol, connections: u64, schedule: Schedule) -> Plan {
    let sizes = ValueSizes::Range(1, 3000);
    Plan {
        protocol,
        target: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        tls: None,
        connections,
        connect_over: Duration::ZERO,
        hold: Duration::ZERO,
        pipeline: 3,
        requests_per_connection: None,
        lifetime: None,
        once: false,
        schedule,
        template: RequestTemplate::new(Values::new(&sizes, 1), String::new()),
        mix: Mix {
            ratio: Ratio { writes: 1, reads: 1 },
            keys: 1000,
            distribution: Distribution::Uniform,
            sizes,
            seed: 1,
        },
        timeout: Duration::from_secs(10),
        sources: vec![],
    }
}

fn count(count: u64) -> Schedule {
    Schedule { pace: Pace::Closed, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::Count(count) }
}

fn run(plan: Plan) -> Finding {
    let net = MioNet::new().expect("poller");
    Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run")
}

/// Runs `plan` against `service` on a port of its own.
fn run_against<S: Service<Session = ()> + Send>(service: S, config: Option<ServerPolicy>, plan: Plan) -> Finding {
    run_watched(service, config, None, plan, |_| {})
}

/// As [`run_against`], with a server that closes idle connections, and with a function that watches the run.
fn run_watched<S: Service<Session = ()> + Send>(
    service: S,
    config: Option<ServerPolicy>,
    idle_timeout: Option<Duration>,
    mut plan: Plan,
    watch: impl FnOnce(&RunProgress) + Send,
) -> Finding {
    let security = config.map_or(Security::Plain, |policy| Security::tls(Arc::new(policy)));
    let listener = ListenerConfig { idle_timeout, ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), security) };
    let net = MioNet::new().expect("poller");
    let mut server = Server::new(net, service, vec![listener], Limits::default()).expect("server");
    plan.target = server.addresses().expect("addresses")[0].into();
    let handle = server.handle();
    std::thread::scope(|scope| {
        scope.spawn(move || server.run().expect("served"));
        let progress = Arc::new(RunProgress::default());
        let watched = Arc::clone(&progress);
        scope.spawn(move || watch(&watched));
        let net = MioNet::exact().expect("poller");
        let finding = Runner::new(net, Arc::new(plan), progress, ThreadShare::WHOLE).run().expect("run");
        handle.stop();
        finding
    })
}

fn with_tls(mut plan: Plan, resume: Resume) -> (ServerPolicy, Plan) {
    let (pki, clock) = (TestPki::new(), Clock::at(testing::NOW));
    let mut forgetful = rustls::ClientConfig::clone(&pki.client_config(None, &clock));
    forgetful.resumption = rustls::client::Resumption::disabled();
    let server_name = ServerName::try_from("localhost").expect("name");
    plan.tls = Some(TlsPlan { configs: vec![Arc::new(forgetful)], server_name, resume });
    (ServerPolicy::new(pki.options(&clock)).expect("policy"), plan)
}

#[test]
fn a_closed_loop_makes_exactly_as_many_requests_as_asked_for() {
    let (server, plan) = with_tls(plan(LoadProtocol::Echo, 5, count(1001)), Resume::Full);
    let found = run_against(Echo, Some(server), plan);
    let tally = &found.tally;
    assert_eq!((tally.sent, tally.answered, tally.failures.total()), (1001, 1001, 0));
    assert_eq!((tally.handshakes.full, tally.handshakes.resumed, found.connections), (5, 0, (5, 5)));
    assert_eq!(tally.handshakes.groups.keys().collect::<Vec<_>>(), ["X25519MLKEM768"]);
    assert_eq!(tally.recorder.service().len(), 1001);
    let made = &tally.handshakes;
    assert_eq!((made.tcp.len(), made.tls.len(), made.first_byte.len()), (5, 5, 5));
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let pace = Pace::Open { rate: 5000.0, gaps: Gaps::Poisson };
    let warmup = Duration::from_millis(50);
    let schedule = Schedule { pace, ramp: Ramp::NONE, warmup, end: StopAfter::Count(500) };
    let tally = run_against(Echo, None, plan(LoadProtocol::Echo, 4, schedule)).tally;
    assert_eq!((tally.due, tally.sent, tally.answered, tally.failures.total()), (500, 500, 500, 0));
}

#[test]
fn connections_are_replaced_after_their_share_of_requests() {
    let plan = Plan { requests_per_connection: Some(10), ..plan(LoadProtocol::Echo, 2, count(200)) };
    let (server, plan) = with_tls(plan, Resume::Tickets);
    let found = run_against(Echo, Some(server), plan);
    assert_eq!((found.tally.answered, found.tally.failures.total()), (200, 0));
    // The last ones may be opened without use, just before the run ends.
    assert!((20..=22).contains(&found.tally.connections), "{}", found.tally.connections);
    assert_eq!(found.tally.handshakes.full, 2);
}

#[test]
fn wrong_bytes_are_noticed() {
    let tally = run_against(Liar(0), None, plan(LoadProtocol::Echo, 2, count(100))).tally;
    let reasons: Vec<_> = tally.failures.nonzero().map(|(failure, _)| failure).collect();
    assert_eq!(reasons, [RequestFailure::WrongBytes]);
    assert_eq!(tally.answered + tally.failures.total(), 100);
}

#[test]
fn handshakes_resume_with_tickets_but_the_first_of_each_client() {
    let (server, plan) = with_tls(plan(LoadProtocol::HandshakeOnly, 3, count(30)), Resume::Tickets);
    let tally = run_against(Echo, Some(server), plan).tally;
    assert_eq!((tally.answered, tally.failures.total()), (30, 0));
    assert_eq!((tally.handshakes.full, tally.handshakes.resumed), (3, 27));
}

#[test]
fn a_mix_of_handshakes_is_resumed_in_the_share_that_was_asked_for() {
    for (resume, expected) in [(Resume::HALF, (11, 10)), (Resume::Mix(900_000), (3, 18))] {
        let (server, plan) = with_tls(plan(LoadProtocol::HandshakeOnly, 1, count(21)), resume);
        let tally = run_against(Echo, Some(server), plan).tally;
        assert_eq!(tally.failures.total(), 0);
        assert_eq!((tally.handshakes.full, tally.handshakes.resumed), expected);
    }
}

#[test]
fn a_server_that_does_not_resume_is_an_error() {
    let (pki, clock_of_client) = (TestPki::new(), Clock::at(testing::NOW));
    let (_, mut plan) = with_tls(plan(LoadProtocol::HandshakeOnly, 1, count(4)), Resume::Tickets);
    let config = pki.client_config(Some(&pki.client), &clock_of_client);
    plan.tls.as_mut().expect("TLS").configs = vec![config];
    let clock = Arc::new(Hasty(testing::NOW.into()));
    let forgetful = PolicyOptions { reauthenticate_after: Duration::ZERO, clock, ..pki.mutual(&clock_of_client) };
    let policy = ServerPolicy::new(forgetful).expect("policy");
    let tally = run_against(Echo, Some(policy), plan).tally;
    // Only the first may be full: each client has a ticket for every later one.
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::NotResumed, 3)]);
    assert_eq!((tally.answered, tally.handshakes.full), (1, 4));
}

#[test]
fn a_connection_that_is_not_resumed_fails_once_and_serves_its_requests() {
    let (pki, clock_of_client) = (TestPki::new(), Clock::at(testing::NOW));
    let plan = Plan { requests_per_connection: Some(5), ..plan(LoadProtocol::Echo, 1, count(20)) };
    let (_, mut plan) = with_tls(plan, Resume::Tickets);
    plan.tls.as_mut().expect("TLS").configs = vec![pki.client_config(Some(&pki.client), &clock_of_client)];
    let clock = Arc::new(Hasty(testing::NOW.into()));
    let forgetful = PolicyOptions { reauthenticate_after: Duration::ZERO, clock, ..pki.mutual(&clock_of_client) };
    let policy = ServerPolicy::new(forgetful).expect("policy");
    let tally = run_against(Echo, Some(policy), plan).tally;
    assert_eq!((tally.answered, tally.handshakes.resumed), (20, 0));
    // All but the first; one more may be opened without use, just before the run ends.
    let failures: Vec<_> = tally.failures.nonzero().collect();
    assert!(
        [[(RequestFailure::NotResumed, 3)], [(RequestFailure::NotResumed, 4)]].iter().any(|it| failures == it),
        "{failures:?}"
    );
}

#[test]
fn idle_connections_answer_once_each() {
    let hold = Duration::from_millis(20);
    let found = run_against(Echo, None, Plan { once: true, hold, ..plan(LoadProtocol::Echo, 20, count(20)) });
    assert_eq!((found.tally.answered, found.connections), (20, (20, 20)));
}

#[test]
fn idle_connections_that_are_lost_have_failed_once_and_are_not_open() {
    // Time enough for a server on a busy machine to notice the silence.
    let plan = Plan { once: true, hold: Duration::from_secs(3), ..plan(LoadProtocol::Echo, 20, count(20)) };
    let found = run_watched(Echo, None, Some(Duration::from_millis(50)), plan, |_| {});
    assert_eq!(found.tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::Closed, 20)]);
    assert_eq!((found.tally.answered, found.tally.sent, found.connections), (0, 0, (20, 0)));
}

#[test]
fn a_stop_ends_the_hold_of_idle_connections() {
    let hour = Duration::from_hours(1);
    let plan = Plan { once: true, hold: hour, ..plan(LoadProtocol::Echo, 20, count(20)) };
    let stop = |progress: &RunProgress| {
        while progress.open.load(Ordering::Relaxed) < 20 {
            std::thread::yield_now();
        }
        progress.stop.store(true, Ordering::Relaxed);
    };
    let found = run_watched(Echo, None, None, plan, stop);
    assert!(found.held < hour && found.duration.is_zero(), "{found:?}");
    assert_eq!((found.tally.answered, found.tally.failures.total(), found.connections), (0, 0, (20, 20)));
}

#[test]
fn a_close_after_a_wrong_answer_is_no_second_failure() {
    let plan = Plan { pipeline: 1, ..plan(LoadProtocol::Echo, 2, count(10)) };
    let tally = run_against(Babbler, None, plan).tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::WrongBytes, 10)]);
    let idle = Plan { once: true, ..self::plan(LoadProtocol::Echo, 10, count(10)) };
    let tally = run_against(Babbler, None, idle).tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::WrongBytes, 10)]);
}

/// The refusal may be there before the first request, or come as if it were the answer to it.
#[test]
fn an_unasked_refusal_is_an_error_reply_with_its_text() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let idle = Plan { once: true, ..plan(LoadProtocol::Resp, 5, count(5)) };
    let idle = Plan { target: listener.local_addr().expect("address").into(), ..idle };
    let accept = || {
        let mut socket = listener.accept().expect("a client").0;
        socket.write_all(b"-ERR max number of clients reached\r\n").expect("written");
        socket
    };
    let tally = std::thread::scope(|scope| {
        scope.spawn(|| {
            let sockets: Vec<_> = (0..5).map(|_| accept()).collect();
            // Nothing is closed before the client has: a reset could overtake the words.
            for mut socket in sockets {
                let _ = socket.read_to_end(&mut Vec::new());
            }
        });
        run(idle).tally
    });
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::ErrorReply, 5)]);
    assert_eq!(tally.wordings.iter().collect::<Vec<_>>(), [("ERR max number of clients reached", 5)]);
}

#[test]
fn a_refused_connection_ends_the_run_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let found = run(Plan { target: port.into(), ..plan(LoadProtocol::Echo, 3, count(10)) });
    assert_eq!(found.tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::Refused, 3)]);
    assert_eq!(found.connections, (3, 0));
}

#[test]
fn a_rejected_certificate_is_the_reason_of_the_failure() {
    let (_, plan) = with_tls(plan(LoadProtocol::Echo, 1, count(10)), Resume::Full);
    let (stranger, _) = with_tls(self::plan(LoadProtocol::Echo, 1, count(10)), Resume::Full);
    let tally = run_against(Echo, Some(stranger), plan).tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::Certificate, 1)]);
    let (server, mut plan) = with_tls(self::plan(LoadProtocol::Echo, 1, count(10)), Resume::Full);
    plan.tls.as_mut().expect("TLS").server_name = ServerName::try_from("elsewhere.test").expect("name");
    let tally = run_against(Echo, Some(server), plan).tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::CertificateName, 1)]);
}
