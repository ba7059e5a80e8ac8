//! The loop of one thread of a run: opens connections, sends what is due, takes the answers, keeps the time.

mod finding;
mod life;
mod link;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{Lent, Request};
use super::dialect::Answer;
use super::outcome::Failure;
use super::plan::{Language, Plan, Progress};
use super::schedule::{Arrivals, End, Schedule, Share};
use super::tally::Tally;
use super::workload::Workload;
use crate::connection::PeerId;
use crate::net::{Event, Net};
use crate::timer::Deadlines;
pub use finding::Finding;
use finding::{Held, Pressure};
use link::{Link, Virtual};

/// Handshakes that one thread has in progress while it opens its connections: enough to keep any server busy, and few
/// enough for the listen queue of a modest one.
const OPENING_AT_ONCE: usize = 256;
/// How often timeouts are looked for.
const PATROL: Duration = Duration::from_millis(100);
const CHURNING_PATROL: Duration = Duration::from_millis(10);
/// How long a virtual client waits after its connection has failed.
const RETRY: Duration = Duration::from_millis(100);
/// So long before a request is due the thread is awake, since a kernel takes tens of microseconds to wake one.
const LEAD: Duration = Duration::from_micros(60);
/// Waits from this on are cut to whole milliseconds.
const COARSE: Duration = Duration::from_millis(2);
/// How long a ticket, or the server's own end of a connection, is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// A request that is sent later than this after it was due is late.
const LATE: Duration = Duration::from_millis(1);

/// One thread of a run.
pub struct Runner<N: Net> {
    net: N,
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    share: Share,
    clients: Vec<Virtual<N::Socket>>,
    /// The virtual client that opens its first connection next, and when.
    next_to_open: usize,
    openings: Option<Arrivals>,
    /// Connections that are being made.
    connecting: usize,
    /// Virtual clients whose first connection is neither made nor failed.
    unsettled: usize,
    /// Virtual clients with something to read or a connection made.
    ready: VecDeque<usize>,
    /// Virtual clients that may take a request.
    free: VecDeque<usize>,
    /// Virtual clients that were given requests in this turn.
    touched: Vec<usize>,
    retries: Deadlines<usize>,
    stage: Stage,
    began: Instant,
    /// When the schedule began; all its times count from here.
    origin: Instant,
    arrivals: Option<Arrivals>,
    /// Requests still to be made in a closed loop that ends by their number.
    quota: u64,
    outstanding: u64,
    workload: Workload,
    tally: Tally,
    pressure: Pressure,
    held: Held,
    lent: Lent,
    events: Vec<Event>,
    next_patrol: Instant,
    /// When something last went well.
    alive_at: Instant,
    now: Instant,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Connections are being made.
    Opening,
    /// They are held in silence.
    Holding { until: Instant },
    /// Requests are made.
    Running,
    /// No more are made; answers are awaited.
    Draining { until: Instant },
    /// All is over.
    Done,
}

impl<N: Net> Runner<N> {
    /// The thread with `share` of `plan`.
    pub fn new(net: N, plan: Arc<Plan>, progress: Arc<Progress>, share: Share) -> Self {
        let now = net.now().instant;
        let count = share.part(plan.connections);
        let clients: Vec<_> = (0..count)
            .map(|index| Virtual {
                sessions: plan
                    .tls
                    .as_ref()
                    .and_then(|tls| tls.sessions(index * u64::from(share.of) + u64::from(share.index))),
                link: None,
                generation: 0,
                is_settled: false,
                has_been_open: false,
                is_queued: false,
                free_since: Duration::ZERO,
                waits_since: None,
                given: 0,
                connects_late: false,
                is_retrying: false,
            })
            .collect();
        let quota = match plan.schedule.end {
            End::After(_) => u64::MAX,
            End::Count(count) => share.part(count),
        };
        let workload = Workload::new(&plan.mix, share.index, share.of);
        let openings = Schedule::spread(plan.connections, plan.connect_over).arrivals(share, 0);
        let mut runner = Self {
            net,
            progress,
            share,
            next_to_open: 0,
            openings,
            connecting: 0,
            unsettled: clients.len(),
            clients,
            ready: VecDeque::new(),
            free: VecDeque::new(),
            touched: Vec::new(),
            retries: Deadlines::default(),
            stage: Stage::Opening,
            began: now,
            origin: now,
            arrivals: None,
            quota,
            outstanding: 0,
            workload,
            tally: Tally::default(),
            pressure: Pressure::default(),
            held: Held::default(),
            lent: Lent::default(),
            events: Vec::new(),
            next_patrol: now + PATROL,
            alive_at: now,
            now,
            plan,
        };
        if runner.plan.language == Language::Silent {
            // Connections are made as they fall due.
            runner.unsettled = 0;
            runner.next_to_open = runner.clients.len();
        }
        runner
    }

    /// Runs to the end.
    ///
    /// # Errors
    ///
    /// The poller's.
    pub fn run(mut self) -> io::Result<Finding> {
        while self.turn()? {}
        Ok(self.finding())
    }

    /// One turn of the loop; false when the run is over.
    pub fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        self.open_due();
        self.receive();
        self.advance();
        self.dispatch();
        self.transmit();
        self.patrol();
        Ok(self.stage != Stage::Done)
    }

    /// Time since the schedule began.
    fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.net.poll(&mut events, Some(Duration::ZERO))?;
        let patience = self.patience();
        if events.is_empty() && self.ready.is_empty() {
            // Only a wait that begins with nothing to do is idle time; a busy loop never comes here.
            let before = self.net.now().instant;
            if !patience.is_zero() {
                self.net.poll(&mut events, Some(patience))?;
            }
            let after = self.net.now().instant;
            let spun = if patience.is_zero() { before.saturating_duration_since(self.now) } else { Duration::ZERO };
            let is_asking = match self.stage {
                Stage::Running => true,
                // The last of a number of requests are waited for.
                Stage::Draining { .. } => matches!(self.plan.schedule.end, End::Count(_)),
                _ => false,
            };
            if is_asking && self.plan.schedule.measures(self.at(after)) {
                self.pressure.idle += after.saturating_duration_since(before) + spun;
            }
        }
        self.now = self.net.now().instant;
        for event in events.drain(..) {
            self.notice(event);
        }
        self.events = events;
        Ok(())
    }

    /// From one look for connections that have waited too long to the next.
    fn patrol_period(&self) -> Duration {
        // One that is replaced late is one too few for the requests that are due.
        if self.plan.lifetime.is_some() { CHURNING_PATROL } else { PATROL }
    }

    /// How long nothing is due, in whole milliseconds but for the last: a wait of those costs a system call less, and
    /// nobody needs it to end to the microsecond.
    fn patience(&self) -> Duration {
        let until = |instant: Instant| instant.saturating_duration_since(self.now);
        let mut patience = until(self.next_patrol).min(self.patrol_period());
        match self.stage {
            Stage::Opening => {
                let due = self.openings.as_ref().and_then(Arrivals::next_due).map(|due| until(self.began + due));
                let can_open = self.next_to_open < self.clients.len() && self.connecting < OPENING_AT_ONCE;
                patience = if can_open { patience.min(due.unwrap_or_default()) } else { patience };
            }
            Stage::Holding { until: end } => patience = patience.min(until(end)),
            Stage::Running => {
                let due = self.arrivals.as_ref().and_then(Arrivals::next_due).map(|due| until(self.origin + due));
                let over = self.plan.schedule.over_at().map(|over| until(self.origin + over));
                let due = due.filter(|_| !self.free.is_empty()).map(|due| due.saturating_sub(LEAD));
                patience = [due, over].into_iter().flatten().fold(patience, Duration::min);
                if self.arrivals.is_none() && !self.free.is_empty() {
                    patience = Duration::ZERO;
                }
            }
            Stage::Draining { .. } | Stage::Done => {}
        }
        let patience = self.retries.until_next(self.now).map_or(patience, |retry| retry.min(patience));
        if patience < COARSE {
            return patience;
        }
        Duration::from_millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
    }

    fn notice(&mut self, event: Event) {
        let id = PeerId::from_token(event.token);
        let index = id.key as usize;
        let Some(client) = self.clients.get_mut(index).filter(|client| client.generation == id.generation) else {
            return;
        };
        let Some(link) = client.link.as_mut() else { return };
        link.readable |= event.readable;
        link.writable |= event.writable;
        link.read_closed |= event.read_closed;
        link.urgent |= event.urgent;
        self.ready.push_back(index);
    }

    fn receive(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            self.work(index);
        }
    }

    /// Moves from stage to stage.
    fn advance(&mut self) {
        match self.stage {
            Stage::Opening if self.unsettled == 0 || self.opens_while_it_asks() => {
                self.held.since = Some(self.now);
                self.stage = if self.tally.connections == 0 && self.plan.language != Language::Silent {
                    Stage::Done
                } else {
                    Stage::Holding { until: self.now + self.plan.hold }
                };
                self.advance();
            }
            Stage::Holding { until } if until <= self.now => self.start(),
            Stage::Running if self.progress.is_stopping() || self.is_over() => self.stop(),
            Stage::Draining { until } if self.outstanding == 0 || until <= self.now => self.finish(),
            Stage::Opening | Stage::Holding { .. } if self.progress.is_stopping() => {
                self.end_hold();
                self.stage = Stage::Done;
            }
            _ => {}
        }
    }

    /// Whether requests begin before all connections are made: a server that takes one connection at a time, as Python's
    /// does, shakes hands with the second when the first has been served.
    fn opens_while_it_asks(&self) -> bool {
        let all_begun = self.next_to_open == self.clients.len();
        self.plan.language == Language::XmlRpc && !self.plan.once && all_begun && self.tally.connections > 0
    }

    fn end_hold(&mut self) {
        let is_open = |client: &&Virtual<N::Socket>| client.link.as_ref().is_some_and(|link| link.opened.is_some());
        self.held.time = self.held.since.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since));
        self.held.open = self.clients.iter().filter(is_open).count().try_into().unwrap_or(u64::MAX);
    }

    fn start(&mut self) {
        self.end_hold();
        if self.plan.once {
            // Those that were lost are not waited for.
            self.quota = self.held.open;
        }
        self.stage = Stage::Running;
        self.origin = self.now;
        self.alive_at = self.now;
        self.arrivals = self.plan.schedule.arrivals(self.share, self.plan.mix.seed);
        self.progress.running.fetch_add(1, Ordering::Relaxed);
        (0..self.clients.len()).for_each(|index| self.offer(index));
    }

    fn is_over(&self) -> bool {
        if let Some(over) = self.plan.schedule.over_at() {
            return self.at(self.now) >= over;
        }
        // A number of requests can be asked of a server that never answers again.
        let is_dead = self.now.saturating_duration_since(self.alive_at) > self.plan.timeout;
        let is_done = self.arrivals.as_ref().map_or(self.quota == 0, |arrivals| arrivals.next_due().is_none());
        is_dead || is_done
    }

    /// Makes no more requests. What was due and found nobody free has waited in vain, and counts so.
    fn stop(&mut self) {
        // The last turn may have taken long: what fell due in it is not lost for that.
        if !self.progress.is_stopping() {
            self.dispatch();
        }
        let at = self.at(self.now);
        self.pressure.ended = self.plan.schedule.over_at().map_or(at, |over| over.min(at));
        while let Some(intended) = self.arrivals.as_ref().and_then(Arrivals::next_due).filter(|due| *due <= at) {
            self.arrivals.as_mut().map(Iterator::next);
            if self.plan.schedule.measures(intended) {
                self.tally.due += 1;
                let since_measured = at.saturating_sub(self.plan.schedule.warmup);
                self.tally.recorder.unanswered(since_measured, at.saturating_sub(intended));
            }
        }
        for since in self.clients.iter_mut().filter_map(|client| client.waits_since.take()) {
            let since_measured = at.saturating_sub(self.plan.schedule.warmup);
            self.tally.recorder.unanswered(since_measured, at.saturating_sub(since).min(since_measured));
        }
        self.stage = Stage::Draining { until: self.now + self.plan.timeout };
        self.advance();
    }

    /// Gives what is due to who is free.
    fn dispatch(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        if self.arrivals.is_none() {
            for _ in 0..self.free.len() {
                let Some(index) = self.take_free() else { break };
                let at = self.at(self.now);
                self.refill(index, at);
            }
            return;
        }
        self.forget_warmup();
        while let Some(intended) = self.arrivals.as_ref().and_then(Arrivals::next_due) {
            let at = self.at(self.now);
            if intended > at {
                break;
            }
            let Some(index) = self.take_free() else { break };
            self.arrivals.as_mut().map(Iterator::next);
            self.give(index, intended, at);
            self.offer(index);
        }
    }

    /// Once measuring has begun, what the warm-up was too slow to send is no longer sent: behind such a queue, nothing
    /// of the measured part would ever have its turn.
    fn forget_warmup(&mut self) {
        let warmup = self.plan.schedule.warmup;
        if self.at(self.now) < warmup {
            return;
        }
        while self.arrivals.as_ref().and_then(Arrivals::next_due).is_some_and(|due| due < warmup) {
            self.arrivals.as_mut().map(Iterator::next);
        }
    }

    /// In a closed loop, gives a client as many requests as it has room for.
    fn refill(&mut self, index: usize, at: Duration) {
        let may_go_on =
            |runner: &Self| runner.stage == Stage::Running && runner.arrivals.is_none() && !runner.is_over();
        while may_go_on(self) && self.room(index) > 0 {
            let waited = self.clients.get_mut(index).and_then(|client| client.waits_since.take());
            // Of a wait that began in the warm-up, the measured part counts.
            let warmup = self.plan.schedule.warmup.min(at);
            self.give(index, waited.map_or(at, |since| since.max(warmup)), at);
        }
    }

    /// Gives one request to a client that has room for it.
    fn give(&mut self, index: usize, intended: Duration, at: Duration) {
        let measured = self.plan.schedule.measures(intended);
        let request = Request { operation: self.workload.next_operation(), intended, sent: at, measured };
        let Some(client) = self.clients.get_mut(index) else { return };
        if measured {
            self.quota = self.quota.saturating_sub(1);
            self.tally.sent += 1;
            self.tally.due += u64::from(self.arrivals.is_some());
            // In a closed loop only an outage makes a request late.
            let is_late = self.arrivals.is_some() && at.saturating_sub(intended) > LATE;
            self.pressure.behind += u64::from(is_late);
            self.pressure.late += u64::from(is_late && client.free_since <= intended);
        }
        self.outstanding += 1;
        client.given += 1;
        match client.link.as_mut() {
            Some(link) => {
                link.given += 1;
                if link.given == 1 {
                    link.asked = Some(self.now);
                }
                link.client.request(request, &self.plan.phrases);
                self.touched.push(index);
            }
            None if self.plan.language == Language::Silent => self.open(index, Some(request)),
            None => self.open_for(index, request),
        }
    }

    /// How many requests a client can take now.
    fn room(&self, index: usize) -> usize {
        let Some(client) = self.clients.get(index) else { return 0 };
        let room = match &client.link {
            Some(link) if self.plan.language != Language::Silent => link.room(&self.plan, self.now),
            None if self.plan.language == Language::Silent || client.connects_late && !client.is_retrying => 1,
            _ => 0,
        };
        if self.plan.once { room.min(usize::from(client.given == 0)) } else { room }
    }

    /// Puts a client with room on the queue of free ones, once.
    fn offer(&mut self, index: usize) {
        if self.room(index) > 0
            && let Some(client) = self.clients.get_mut(index)
            && !std::mem::replace(&mut client.is_queued, true)
        {
            self.free.push_back(index);
        }
    }

    fn take_free(&mut self) -> Option<usize> {
        while let Some(index) = self.free.pop_front() {
            if let Some(client) = self.clients.get_mut(index) {
                client.is_queued = false;
            }
            if self.room(index) > 0 {
                return Some(index);
            }
            // Its connection may have become too old while it stood here.
            let spent = |link: &mut Box<Link<N::Socket>>| link.is_spent(&self.plan, self.now);
            if let Some(link) = self.clients.get_mut(index).and_then(|client| client.link.take_if(spent)) {
                self.overdue(index, link);
            }
        }
        None
    }

    /// Counts what was just decoded; whether the last of it was as it should be, if there was any.
    fn count_answers(&mut self, index: usize, now: Instant) -> Option<bool> {
        let at = self.at(now);
        let mut answers = std::mem::take(&mut self.lent.answers);
        let mut is_well = None;
        for (request, answer) in answers.drain(..) {
            is_well = Some(matches!(answer, Answer::Good | Answer::Missing));
            self.count(request, &answer, at);
        }
        self.lent.answers = answers;
        if let Some(client) = self.clients.get_mut(index) {
            client.free_since = at;
        }
        is_well
    }

    fn count(&mut self, request: Request, answer: &Answer, at: Duration) {
        self.outstanding = self.outstanding.saturating_sub(1);
        match answer {
            Answer::Bad(failure) => return self.fail(*failure, Some(request), at),
            Answer::Refused(words) => {
                if self.counts(request, at) {
                    self.tally.wordings.add(words, 1);
                }
                return self.fail(Failure::ErrorReply, Some(request), at);
            }
            Answer::Good | Answer::Missing => {}
        }
        self.alive_at = self.now;
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
        let since_measured = at.saturating_sub(self.plan.schedule.warmup);
        let latency = at.saturating_sub(request.intended);
        let is_in_time = match self.plan.schedule.end {
            End::Count(_) => request.measured,
            End::After(_) => {
                self.plan.schedule.measures(at) && (self.stage == Stage::Running || at <= self.pressure.ended)
            }
        };
        self.tally.in_time += u64::from(is_in_time);
        if request.measured {
            self.tally.recorder.answered(since_measured, latency, at.saturating_sub(request.sent));
            self.tally.answered += 1;
            self.tally.misses += u64::from(*answer == Answer::Missing);
        } else if self.arrivals.is_none() && self.counts(request, at) {
            // In a closed loop nothing else was due meanwhile, and a server that stood still would look fast.
            self.tally.recorder.unanswered(since_measured, latency);
        }
    }

    /// Whether what became of a request at `at` belongs to the measured part: it was due there, or it is of the warm-up
    /// and has kept its client waiting for longer since than before.
    fn counts(&self, request: Request, at: Duration) -> bool {
        let warmup = self.plan.schedule.warmup;
        let (before, since) = (warmup.saturating_sub(request.intended), at.saturating_sub(warmup));
        request.measured || request.intended < warmup && since > before
    }

    /// Whether a failure of a connection without a request counts. One that cannot be made spoils the run whenever it happens.
    fn counts_lost(&self, at: Duration) -> bool {
        self.stage != Stage::Running || at >= self.plan.schedule.warmup
    }

    /// Counts a failure: of `request`, or of a connection that carried none.
    fn fail(&mut self, failure: Failure, request: Option<Request>, at: Duration) {
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
        let warmup = self.plan.schedule.warmup;
        let counts = match request {
            Some(request) => self.counts(request, at),
            None => self.counts_lost(at),
        };
        if counts {
            self.tally.failures.add(failure, 1);
            self.tally.recorder.failed(at.saturating_sub(warmup));
        }
    }
}
