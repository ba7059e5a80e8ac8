//! A server that stands still for a second, in virtual time: the loop's report is checked against arithmetic.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::super::*;
use crate::load::codec::RequestTemplate;
use crate::load::outcome::RequestFailure;
use crate::load::plan::LoadProtocol;
use crate::load::schedule::{Gaps, Pace, Ramp, Schedule, StopAfter};
use crate::load::workload::{Mix, ValueSizes, Values};
use crate::net::{AcceptError, Address, Delivery, Wake};
use crate::timer::Now;

/// What the server needs for a request.
const SERVICE: Duration = Duration::from_micros(100);

/// One plain connection to an echo server, and the time.
struct ServerModel {
    start: Instant,
    clock: Duration,
    stall: std::ops::Range<Duration>,
    /// Bytes of a request; without it, each write is one.
    request: usize,
    /// Each how many-th request, beginning with the last of the first so many, is answered falsely, and how long after
    /// the others.
    false_answers: Option<(usize, Duration)>,
    served: usize,
    /// The process is stopped then: time goes on, and no code runs.
    pause: std::ops::Range<Duration>,
    /// The server is gone then, and its connections with it.
    down: Option<std::ops::Range<Duration>>,
    /// No connection can be begun: every local port is taken.
    has_no_ports: bool,
    /// When the connection was made.
    opened: Duration,
    /// Whether it has been reported that the server is gone.
    is_gone: bool,
    /// Until when the server has work.
    busy_until: Duration,
    replies: VecDeque<(Duration, Vec<u8>)>,
    token: usize,
    /// Whether it is to be reported that the socket is connected.
    is_news: bool,
}

/// Both the net and its only socket.
#[derive(Clone)]
struct Shared(Rc<RefCell<ServerModel>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut model = self.0.borrow_mut();
        if model.down.as_ref().is_some_and(|down| model.opened < down.start && down.start <= model.clock) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if model.replies.front().is_none_or(|(at, _)| *at > model.clock) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (_, reply) = model.replies.pop_front().expect("just seen");
        buffer[..reply.len()].copy_from_slice(&reply);
        Ok(reply.len())
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut model = self.0.borrow_mut();
        for request in bytes.chunks(model.request) {
            let mut begin = model.busy_until.max(model.clock);
            if model.stall.contains(&begin) {
                begin = model.stall.end;
            }
            model.busy_until = begin + SERVICE;
            let (mut at, mut answer) = (model.busy_until, request.to_vec());
            model.served += 1;
            if let Some((_, late)) = model.false_answers.filter(|(each, _)| model.served.is_multiple_of(*each)) {
                at += late;
                model.busy_until = at;
                for byte in &mut answer {
                    *byte ^= 1;
                }
            }
            model.replies.push_back((at, answer));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Net for Shared {
    type Listener = ();
    type Socket = Self;

    fn listen(&mut self, _address: SocketAddr, _token: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_address(&self, (): &()) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_address_of(&self, _socket: &Self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn accept(&mut self, (): &()) -> Result<(Self, SocketAddr), AcceptError> {
        Err(AcceptError::Empty)
    }

    fn connect(&mut self, _address: &Address, _from: Option<IpAddr>) -> io::Result<Self> {
        if self.0.borrow().has_no_ports {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(self.clone())
    }

    fn is_connected(&self, _socket: &Self) -> io::Result<bool> {
        let mut model = self.0.borrow_mut();
        if model.down.as_ref().is_some_and(|down| down.contains(&model.clock)) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        model.opened = model.clock;
        Ok(true)
    }

    fn delivery(&self, _socket: &Self) -> io::Result<Delivery> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn register(&mut self, _socket: &mut Self, token: usize) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        model.token = token;
        model.is_news = true;
        Ok(())
    }

    fn reset_when_dropped(&mut self, _socket: &Self) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&mut self, _socket: &Self) -> io::Result<()> {
        Ok(())
    }

    /// Time passes here alone: up to the next reply, or for `timeout`, or for the moment that looking takes.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        let model = &mut *model;
        let event = Event { token: model.token, readable: false, writable: true, read_closed: false, urgent: false };
        if std::mem::take(&mut model.is_news) {
            events.push(event);
            return Ok(());
        }
        let mut end = model.clock + timeout.unwrap_or_default().max(Duration::from_micros(25));
        if model.pause.contains(&end) {
            end = model.pause.end;
            model.clock = end;
        }
        let next = model.replies.front().map_or(end, |(at, _)| end.min(*at));
        if let Some(down) = model.down.as_ref().filter(|down| down.start <= next && !model.is_gone) {
            model.clock = model.clock.max(down.start);
            model.is_gone = true;
            model.replies.clear();
            model.busy_until = Duration::ZERO;
            events.push(Event { readable: true, read_closed: true, ..event });
            return Ok(());
        }
        match model.replies.front() {
            Some((at, _)) if *at <= end => {
                model.clock = model.clock.max(*at);
                events.push(Event { readable: true, ..event });
            }
            _ => model.clock = end,
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let model = self.0.borrow();
        Now { instant: model.start + model.clock, unix_ms: 0 }
    }

    fn waker(&self) -> Wake {
        Arc::new(|| {})
    }
}

/// A net whose server stands still in the time `stall`.
#[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
fn net(stall: std::ops::Range<Duration>) -> Shared {
    let model = ServerModel {
        start: Instant::now(),
        clock: Duration::ZERO,
        stall,
        request: usize::MAX,
        false_answers: None,
        served: 0,
        pause: Duration::ZERO..Duration::ZERO,
        down: None,
        has_no_ports: false,
        opened: Duration::ZERO,
        is_gone: false,
        busy_until: Duration::ZERO,
        replies: VecDeque::new(),
        token: 0,
        is_news: false,
    };
    Shared(Rc::new(RefCell::new(model)))
}

#[test]
fn an_overloaded_server_gets_half_and_the_wait_of_the_rest_counts() {
    let seconds = Duration::from_secs;
    let pace = Pace::Open { rate: 20_000.0, gaps: Gaps::Constant };
    // The warm-up alone leaves as much behind as the server can do in a second: it must not stand in the way.
    let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: seconds(1), end: StopAfter::After(seconds(2)) };
    let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
    let net = net(Duration::ZERO..Duration::ZERO);
    let found = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run");
    assert_eq!(found.tally.due, 40_000);
    assert!(
        found.tally.sent.abs_diff(20_000) < 400 && found.tally.answered == found.tally.sent,
        "{}",
        found.tally.sent
    );
    // Request k is due after k * 0.05 ms and done after k * 0.1 ms: those that are sent wait from nothing to a second,
    // those that are not, from a second to nothing.
    let latency = found.tally.recorder.latency();
    assert_eq!(latency.len(), 40_000);
    assert!(latency.value_at_quantile(0.5).abs_diff(500_000) < 20_000, "{}", latency.value_at_quantile(0.5));
    assert!(latency.max().abs_diff(1_000_000) < 20_000, "{}", latency.max());
}

#[test]
fn a_stall_that_begins_in_the_warmup_of_a_closed_loop_is_not_lost() {
    let run = |stall| {
        let [warmup, end] = [1, 2].map(Duration::from_secs);
        let schedule = Schedule { pace: Pace::Closed, ramp: Ramp::NONE, warmup, end: StopAfter::After(end) };
        let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
        Runner::new(net(stall), Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run")
    };
    let millis = Duration::from_millis;
    // The one request in flight was sent at 0.9 s and is answered at 2.5 s; those after it until 3 s.
    let tally = run(millis(900)..millis(2500)).tally;
    let latency = tally.recorder.latency();
    assert!(latency.max().abs_diff(1_600_000) < 2_000, "{}", latency.max());
    assert_eq!((latency.len(), tally.failures.total()), (tally.answered + 1, 0));
    // One that is never answered has failed, though it was sent before anything was measured.
    let tally = run(millis(900)..millis(100_000)).tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::Timeout, 1)]);
    assert!(tally.recorder.latency().max() > 2_000_000 && tally.answered == 0);
    // One that is over soon after is of the warm-up.
    let tally = run(millis(500)..millis(1100)).tally;
    assert!(tally.recorder.latency().max() < 1_000, "{}", tally.recorder.latency().max());
}

#[test]
fn answers_after_the_end_do_not_count_in_the_rate() {
    // A thousand requests are in flight, and the server does 10,000 a second: half of them are answered within 50 ms.
    let run = |end| {
        let schedule = Schedule { pace: Pace::Closed, ramp: Ramp::NONE, warmup: Duration::ZERO, end };
        let sizes = ValueSizes::Fixed(8);
        let template = RequestTemplate::new(Values::new(&sizes, 1), String::new());
        let plan = super::plan(LoadProtocol::Echo, 1, schedule);
        let plan = Plan { pipeline: 1000, template, mix: Mix { sizes, ..plan.mix.clone() }, ..plan };
        let net = net(Duration::ZERO..Duration::ZERO);
        net.0.borrow_mut().request = 8;
        Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run")
    };
    let found = run(StopAfter::After(Duration::from_millis(50)));
    assert_eq!(found.duration, Duration::from_millis(50));
    let [answered, in_time] = [found.tally.answered, found.tally.in_time];
    assert!(in_time < 600 && answered >= 1000, "{in_time} of {answered}");
    let found = run(StopAfter::Count(1000));
    assert_eq!((found.tally.answered, found.tally.in_time), (1000, 1000));
    assert!(found.duration >= Duration::from_millis(90) && found.own.busy < 0.9, "{found:?}");
}

#[test]
fn a_stall_shows_in_the_corrected_percentiles_and_hides_from_service_time() {
    let seconds = Duration::from_secs;
    let pace = Pace::Open { rate: 1000.0, gaps: Gaps::Constant };
    let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::After(seconds(10)) };
    let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
    let net = net(seconds(5)..seconds(6));
    let found = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run");
    assert_eq!((found.tally.due, found.tally.answered, found.tally.failures.total()), (10_000, 10_000, 0));

    // The k-th request due in the stall is sent when its forerunner is answered, k * 0.1 ms after the stall's end, and
    // so 1 s - k * 0.9 ms late. The last percentile of 10,000 requests is the 100 latest: it begins at 0.91 s.
    let latency = found.tally.recorder.latency();
    assert!(latency.value_at_quantile(0.99).abs_diff(910_000) < 2_000, "{}", latency.value_at_quantile(0.99));
    assert!(latency.max().abs_diff(1_000_100) < 2_000, "{}", latency.max());
    // Of the requests, only the one that was in flight saw the stall: nothing else measured from the send does.
    let service = found.tally.recorder.service();
    assert!(service.value_at_quantile(0.999) < 110, "{}", service.value_at_quantile(0.999));
    // A thousand requests were late by the server's fault, and none by the client's.
    assert!(found.own.behind && !found.own.late_sends && found.own.busy < 0.5, "{found:?}");
}

#[test]
fn silence_between_rare_requests_ends_no_run() {
    // One every ten seconds is silence for twice the timeout between any two of them.
    for gaps in [Gaps::Constant, Gaps::Poisson] {
        let pace = Pace::Open { rate: 0.1, gaps };
        let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::Count(60) };
        let plan =
            Plan { pipeline: 1, timeout: Duration::from_secs(5), ..super::plan(LoadProtocol::Echo, 1, schedule) };
        let net = net(Duration::ZERO..Duration::ZERO);
        let tally = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run").tally;
        assert_eq!((tally.sent, tally.answered), (60, 60), "{gaps:?}");
    }
}

#[test]
fn a_dead_server_ends_a_number_of_requests_early() {
    let timeout = Duration::from_secs(5);
    let open = Pace::Open { rate: 10.0, gaps: Gaps::Constant };
    for pace in [open, Pace::Closed] {
        let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::Count(1_000_000) };
        let plan = Plan { pipeline: 1, timeout, ..super::plan(LoadProtocol::Echo, 1, schedule) };
        let net = net(Duration::ZERO..Duration::from_hours(1000));
        let found = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run");
        assert!(found.tally.answered == 0 && found.duration < 10 * timeout, "{pace:?}: {:?}", found.duration);
    }
}

#[test]
fn answers_that_are_late_and_wrong_count_in_the_latency() {
    let late = Duration::from_secs(2);
    let schedule =
        Schedule { pace: Pace::Closed, ramp: Ramp::NONE, warmup: Duration::ZERO, end: StopAfter::Count(100) };
    let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
    let net = net(Duration::ZERO..Duration::ZERO);
    net.0.borrow_mut().false_answers = Some((20, late));
    let tally = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run").tally;
    assert_eq!(tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::WrongBytes, 5)]);
    let (latency, service) = (tally.recorder.latency(), tally.recorder.service());
    assert_eq!((latency.len(), service.len(), tally.answered), (100, 95, 95));
    // Five of a hundred: the 95th percentile is the slowest of the good ones.
    assert!(latency.value_at_quantile(0.95) < 300 && service.max() < 300, "{}", service.max());
    assert!(latency.value_at_quantile(0.96).abs_diff(2_000_100) < 2_000, "{}", latency.value_at_quantile(0.96));
}

#[test]
fn a_stopped_client_is_client_bound() {
    let seconds = Duration::from_secs;
    for pace in [Pace::Open { rate: 1000.0, gaps: Gaps::Poisson }, Pace::Closed] {
        let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: seconds(1), end: StopAfter::After(seconds(10)) };
        let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
        let net = net(Duration::ZERO..Duration::ZERO);
        net.0.borrow_mut().pause = seconds(5)..seconds(7);
        let found = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run");
        // Of ten seconds it was away for two.
        let own = found.own;
        assert!((0.18..0.22).contains(&own.starved) && (0.18..0.22).contains(&own.paused), "{pace:?}: {own:?}");
        assert_eq!(own.late_sends, pace != Pace::Closed, "{pace:?}");
        // One answer waited for the client's return.
        assert!(own.late_reads > 0.0 && own.late_reads < 0.001, "{pace:?}: {own:?}");
        assert!((1_800_000.0..=2_000_000.0).contains(&own.read_delay_us), "{pace:?}: {own:?}");
    }
}

/// A closed loop against a server that is gone in the time `down`.
fn against_a_restart(down: std::ops::Range<Duration>) -> Finding {
    let end = StopAfter::After(Duration::from_secs(5));
    let schedule = Schedule { pace: Pace::Closed, ramp: Ramp::NONE, warmup: Duration::ZERO, end };
    let plan = Plan { pipeline: 1, ..super::plan(LoadProtocol::Echo, 1, schedule) };
    let net = net(Duration::ZERO..Duration::ZERO);
    net.0.borrow_mut().down = Some(down);
    Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run")
}

#[test]
fn the_pause_before_a_client_connects_again_is_no_latency() {
    let millis = Duration::from_millis;
    // A reset alone takes no time, and a connection that has served is replaced at once.
    let found = against_a_restart(millis(1000)..millis(1000));
    assert_eq!(found.tally.failures.nonzero().collect::<Vec<_>>(), [(RequestFailure::Reset, 1)]);
    assert!(found.tally.recorder.latency().max() < 1000, "{}", found.tally.recorder.latency().max());
    // An outage counts from its begin, less one pause, since its end is seen that much later at most.
    let found = against_a_restart(millis(1000)..millis(2950));
    let max = found.tally.recorder.latency().max();
    assert!((1_850_000..=1_953_000).contains(&max), "{max}");
}

/// An error of the connect call itself fails the request before any event.
#[test]
fn a_connection_that_cannot_be_begun_is_retried_after_a_pause() {
    let end = StopAfter::After(Duration::from_secs(1));
    for pace in [Pace::Closed, Pace::Open { rate: 10_000.0, gaps: Gaps::Constant }] {
        for protocol in [LoadProtocol::HandshakeOnly, LoadProtocol::Echo] {
            let schedule = Schedule { pace, ramp: Ramp::NONE, warmup: Duration::ZERO, end };
            let net = net(Duration::ZERO..Duration::ZERO);
            net.0.borrow_mut().has_no_ports = true;
            let plan = super::plan(protocol, 3, schedule);
            let found = Runner::new(net, Arc::new(plan), Arc::default(), ThreadShare::WHOLE).run().expect("run");
            let failures: Vec<_> = found.tally.failures.nonzero().collect();
            // A client tries at most once in 100 ms; without any connection an echo has nothing to send.
            let most = if protocol == LoadProtocol::Echo { 3 } else { 33 };
            assert!(
                matches!(failures[..], [(RequestFailure::Ports, 3..)]) && found.tally.failures.total() <= most,
                "{protocol:?}, {pace:?}: {failures:?}"
            );
        }
    }
}
