//! The loop of one thread of a run: opens connections, sends what is due, takes the answers, keeps the time.

mod account;
mod finding;
mod life;
mod link;
mod pressure;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{LoopBuffers, SentRequest};
use super::plan::{LoadProtocol, Plan, RunProgress};
use super::schedule::{Arrivals, Schedule, StopAfter, ThreadShare};
use super::tally::Tally;
use super::workload::Workload;
use crate::connection::PeerId;
use crate::net::{Event, Net};
use crate::timer::Deadlines;
pub use finding::Finding;
use finding::Held;
use link::{RunnerLink, Virtual};
use pressure::Pressure;
use stages::{MEETING, Stage};

/// Handshakes that one thread has in progress while it opens its connections: enough to keep any server busy, and few
/// enough for the listen queue of a modest one.
const OPENING_AT_ONCE: usize = 256;
/// How often timeouts are looked for.
const PATROL: Duration = Duration::from_millis(100);
const CHURNING_PATROL: Duration = Duration::from_millis(10);
/// How long a virtual client waits after its connection could not be made, or has failed before it answered anything: a
/// server that turns clients away is not stormed. The wait is no latency of a closed loop.
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
    progress: Arc<RunProgress>,
    share: ThreadShare,
    clients: Vec<Virtual<N::Socket>>,
    /// The virtual client that opens its first connection next, and when.
    next_to_open: usize,
    openings: Option<Arrivals>,
    /// Connections that are being made.
    connecting: usize,
    /// Virtual clients whose first connection is neither made nor failed.
    untried: usize,
    /// Virtual clients with something to read or a connection made.
    ready: VecDeque<usize>,
    /// Virtual clients that may take a request.
    free: VecDeque<usize>,
    /// Virtual clients that were given requests in this turn.
    touched: Vec<usize>,
    retries: Deadlines<usize>,
    stage: Stage,
    began: Instant,
    /// When the schedule begins, for all threads; all its times count from here.
    origin: Option<Instant>,
    arrivals: Option<Arrivals>,
    /// Requests still to be made in a closed loop that ends by their number.
    quota: u64,
    outstanding: u64,
    workload: Workload,
    tally: Tally,
    pressure: Pressure,
    held: Held,
    buffers: LoopBuffers,
    events: Vec<Event>,
    next_patrol: Instant,
    /// When something was last heard of the server, or nothing was waited for.
    alive_at: Instant,
    now: Instant,
}

impl<N: Net> Runner<N> {
    /// The thread with `share` of `plan`.
    pub fn new(net: N, plan: Arc<Plan>, progress: Arc<RunProgress>, share: ThreadShare) -> Self {
        if let Some(tls) = &plan.tls {
            tls.prepare();
        }
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
                has_been_tried: false,
                has_been_open: false,
                is_queued: false,
                free_since: Duration::ZERO,
                waits_since: None,
                has_paused: false,
                given: 0,
                connects_late: false,
                is_retrying: false,
            })
            .collect();
        let quota = match plan.schedule.end {
            StopAfter::After(_) => u64::MAX,
            StopAfter::Count(count) => share.part(count),
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
            untried: clients.len(),
            clients,
            ready: VecDeque::new(),
            free: VecDeque::new(),
            touched: Vec::new(),
            retries: Deadlines::default(),
            stage: Stage::Opening,
            began: now,
            origin: None,
            arrivals: None,
            quota,
            outstanding: 0,
            workload,
            tally: Tally::default(),
            pressure: Pressure::default(),
            held: Held::default(),
            buffers: LoopBuffers::default(),
            events: Vec::new(),
            next_patrol: now + PATROL,
            alive_at: now,
            now,
            plan,
        };
        if runner.plan.protocol == LoadProtocol::HandshakeOnly {
            // Connections are made as they fall due.
            runner.untried = 0;
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

    /// Time since the schedule began; zero before.
    fn at(&self, instant: Instant) -> Duration {
        self.origin.map_or(Duration::ZERO, |origin| instant.saturating_duration_since(origin))
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.net.poll(&mut events, Some(Duration::ZERO))?;
        let timeout = self.poll_timeout();
        if events.is_empty() && self.ready.is_empty() {
            // Only a wait that begins with nothing to do is idle time; a busy loop never comes here.
            let before = self.net.now().instant;
            if !timeout.is_zero() {
                self.net.poll(&mut events, Some(timeout))?;
            }
            let after = self.net.now().instant;
            let slept = after.saturating_duration_since(before);
            let spun = if timeout.is_zero() { before.saturating_duration_since(self.now) } else { Duration::ZERO };
            let is_asking = match self.stage {
                Stage::Running => true,
                // The last of a number of requests are waited for.
                Stage::Draining { .. } => matches!(self.plan.schedule.end, StopAfter::Count(_)),
                _ => false,
            };
            let at = self.at(after);
            self.pressure.woke(at, timeout, slept);
            if is_asking && self.plan.schedule.measures(at) {
                self.pressure.idle += slept + spun;
                self.pressure.waits = self.pressure.waits.saturating_add(u32::from(!timeout.is_zero()));
                let overslept = slept.saturating_sub(timeout);
                self.pressure.overslept += if overslept > LATE { overslept } else { Duration::ZERO };
            }
        }
        self.now = self.net.now().instant;
        for event in events.drain(..) {
            self.note_event(event);
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
    fn poll_timeout(&self) -> Duration {
        let until = |instant: Instant| instant.saturating_duration_since(self.now);
        let mut timeout = until(self.next_patrol).min(self.patrol_period());
        match self.stage {
            Stage::Opening => {
                let due = self.openings.as_ref().and_then(Arrivals::next_due).map(|due| until(self.began + due));
                let can_open = self.next_to_open < self.clients.len() && self.connecting < OPENING_AT_ONCE;
                timeout = if can_open { timeout.min(due.unwrap_or_default()) } else { timeout };
            }
            Stage::Gathering => timeout = timeout.min(MEETING),
            Stage::Holding { until: end } => timeout = timeout.min(until(end)),
            Stage::Starting => timeout = timeout.min(self.progress.held.at().map_or(MEETING, until)),
            Stage::Running => {
                let origin = self.origin.unwrap_or(self.now);
                let due = self.arrivals.as_ref().and_then(Arrivals::next_due).map(|due| until(origin + due));
                let over = self.plan.schedule.over_at().map(|over| until(origin + over));
                let due = due.filter(|_| !self.free.is_empty()).map(|due| due.saturating_sub(LEAD));
                timeout = [due, over].into_iter().flatten().fold(timeout, Duration::min);
                if self.arrivals.is_none() && !self.free.is_empty() {
                    timeout = Duration::ZERO;
                }
            }
            Stage::Draining { .. } | Stage::Done => {}
        }
        let timeout = self.retries.until_next(self.now).map_or(timeout, |retry| retry.min(timeout));
        if timeout < COARSE {
            return timeout;
        }
        Duration::from_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
    }

    fn note_event(&mut self, event: Event) {
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
        let due = self.arrivals.as_ref().and_then(Arrivals::next_due);
        self.pressure.look(self.at(self.now), due);
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
        let due = self.arrivals.as_ref().and_then(Arrivals::next_due);
        self.pressure.looked(self.at(self.now), due, !self.free.is_empty());
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
            let waited = self.clients.get_mut(index).and_then(|client| {
                client.has_paused = false;
                client.waits_since.take()
            });
            // Of a wait that began in the warm-up, the measured part counts.
            let warmup = self.plan.schedule.warmup.min(at);
            self.give(index, waited.map_or(at, |since| since.max(warmup)), at);
        }
    }

    /// Gives one request to a client that has room for it.
    fn give(&mut self, index: usize, intended: Duration, at: Duration) {
        let measured = self.plan.schedule.measures(intended);
        let request = SentRequest { operation: self.workload.next_operation(), intended, sent: at, measured };
        let Some(client) = self.clients.get_mut(index) else { return };
        if measured {
            self.quota = self.quota.saturating_sub(1);
            self.tally.sent += 1;
            self.tally.due += u64::from(self.arrivals.is_some());
            // In a closed loop only an outage makes a request late.
            let is_late = self.arrivals.is_some() && at.saturating_sub(intended) > LATE;
            self.pressure.behind += u64::from(is_late);
            let is_own = client.free_since <= intended || self.pressure.is_own(intended);
            self.pressure.late += u64::from(is_late && is_own);
        }
        self.outstanding += 1;
        client.given += 1;
        match client.link.as_mut() {
            Some(link) => {
                link.given += 1;
                if link.given == 1 {
                    link.asked = Some(self.now);
                }
                link.connection.request(request, &self.plan.template);
                self.touched.push(index);
            }
            None if self.plan.protocol == LoadProtocol::HandshakeOnly => self.open(index, Some(request)),
            None => self.open_for(index, request),
        }
    }

    /// How many requests a client can take now.
    fn room(&self, index: usize) -> usize {
        let Some(client) = self.clients.get(index) else { return 0 };
        let room = match &client.link {
            Some(link) if self.plan.protocol != LoadProtocol::HandshakeOnly => link.room(&self.plan, self.now),
            None if self.plan.protocol == LoadProtocol::HandshakeOnly
                || client.connects_late && !client.is_retrying =>
            {
                1
            }
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
            let spent = |link: &mut Box<RunnerLink<N::Socket>>| link.is_spent(&self.plan, self.now);
            if let Some(link) = self.clients.get_mut(index).and_then(|client| client.link.take_if(spent)) {
                self.overdue(index, link);
            }
        }
        None
    }
}
