//! The loop of one thread of a run.
//!
//! A turn is [`Runner::turn`]: wait for events, open connections that are due, receive, move to the next stage of the run,
//! send what is due, look for connections that have waited too long. The differences between runs are in two
//! values, so that the loop has no modes:
//!
//! - the `Pacer` knows when the next request is due, what counts as late and when the schedule is over: by the clock in an
//!   open loop, by answers in a closed one;
//! - the `Driver` knows what a virtual client does once it is connected and when its connection is done: it carries
//!   requests, or is a handshake, or is held in silence.
//!
//! ```text
//! pacer     driver     when, and what                    Runner's methods, by the step of a turn:
//! clients   link       a virtual client's state,         open      connect, connect again
//! opening              its connection's state            receive   read, count, end, replace
//! account   own_time   what is counted: of the server,   advance   from stage to stage
//!                      and of this thread's own time     send      give what is due, write
//! stage     finding    where the run is, what it found   patrol    timeouts, the end
//! ```
//!
//! The modules on the left import only each other and lower rooms; those on the right are `impl Runner` and import them.

mod account;
mod advance;
mod clients;
mod driver;
mod finding;
mod link;
mod open;
mod opening;
mod own_time;
mod pacer;
mod patrol;
mod receive;
mod send;
mod stage;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::LoopBuffers;
use super::outcome::OwnShare;
use super::plan::{Plan, RunProgress};
use super::schedule::ThreadShare;
use super::workload::Workload;
use crate::connection::PeerId;
use crate::net::{Event, Net};
use account::Account;
use clients::{Clients, Reached, Virtual};
use driver::Driver;
pub use finding::Finding;
use opening::Opening;
use own_time::OwnTime;
use pacer::Pacer;
use stage::{Hold, Stage, Stages};

/// Waits from this on are cut to whole milliseconds.
const COARSE: Duration = Duration::from_millis(2);
/// How often a thread that waits for the others looks whether they have come.
const BARRIER_POLL: Duration = Duration::from_millis(1);

/// One thread of a run.
pub struct Runner<N: Net> {
    net: N,
    plan: Arc<Plan>,
    pacer: Pacer,
    driver: Driver,
    workload: Workload,
    clients: Clients<N::Socket>,
    stages: Stages,
    account: Account,
    own_time: OwnTime,
    buffers: LoopBuffers,
    events: Vec<Event>,
    next_patrol: Instant,
    now: Instant,
}

impl<N: Net> Runner<N> {
    /// The thread with `share` of `plan`.
    pub fn new(net: N, plan: Arc<Plan>, progress: Arc<RunProgress>, share: ThreadShare) -> Self {
        if let Some(tls) = &plan.tls {
            tls.prepare();
        }
        let now = net.now().instant;
        let driver = Driver::new(&plan);
        let client = |index: u64| {
            let number = index * u64::from(share.of) + u64::from(share.index);
            Virtual::new(plan.tls.as_ref().and_then(|tls| tls.sessions(number)), !driver.connects_ahead())
        };
        let clients: Vec<_> = (0..share.part(plan.connections)).map(client).collect();
        let ahead = if driver.connects_ahead() { clients.len() } else { 0 };
        let opening = Opening::new(&plan, share, ahead, now);
        Self {
            net,
            pacer: Pacer::new(plan.schedule, share, plan.mix.seed),
            driver,
            workload: Workload::new(&plan.mix, share.index, share.of),
            clients: Clients::new(clients, opening),
            account: Account::new(&plan, Arc::clone(&progress), now),
            stages: Stages { stage: Stage::Opening, hold: Hold::default(), progress, threads: share.of },
            own_time: OwnTime::default(),
            buffers: LoopBuffers::default(),
            events: Vec::new(),
            next_patrol: now + driver.patrol_period(),
            now,
            plan,
        }
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
        self.send_due();
        self.transmit();
        self.patrol();
        Ok(self.stages.stage != Stage::Done)
    }

    /// Waits until an event comes or something is due, and notes the events.
    fn wait(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.net.poll(&mut events, Some(Duration::ZERO))?;
        if events.is_empty() && self.clients.ready.is_empty() {
            self.sleep(&mut events)?;
        }
        self.now = self.net.now().instant;
        let is_measured = self.pacer.measures_time(self.pacer.at(self.now));
        self.own_time.begin_turn(self.now, is_measured, || self.net.processor());
        for event in events.drain(..) {
            self.note_event(event);
        }
        self.events = events;
        Ok(())
    }

    /// Waits with nothing to do, and counts that as idle time. A busy loop never comes here.
    fn sleep(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = self.poll_timeout();
        let before = self.net.now().instant;
        if !timeout.is_zero() {
            self.net.poll(events, Some(timeout))?;
        }
        let after = self.net.now().instant;
        let slept = after.saturating_duration_since(before);
        let spent = if timeout.is_zero() { before.saturating_duration_since(self.now) } else { Duration::ZERO };
        let at = self.pacer.at(after);
        self.own_time.end_sleep(at, timeout, slept, spent, self.pacer.measures_time(at));
        Ok(())
    }

    /// How long nothing is due. All but short waits are cut to whole milliseconds: such a wait costs a system call less,
    /// and its end need not be exact.
    fn poll_timeout(&self) -> Duration {
        let until = |instant: Instant| instant.saturating_duration_since(self.now);
        let of_stage = match self.stages.stage {
            Stage::Opening => self.clients.opening.time_to_next(self.now),
            Stage::Gathering => Some(BARRIER_POLL),
            Stage::Holding { until: end } => Some(until(end)),
            Stage::Starting => Some(self.stages.progress.held.at().map_or(BARRIER_POLL, until)),
            Stage::Sending => self.pacer.time_to_next(self.now, self.clients.free_len() > 0),
            Stage::Draining { .. } | Stage::Done => None,
        };
        let patrol = until(self.next_patrol).min(self.driver.patrol_period());
        let timeout =
            [of_stage, self.clients.time_to_retry(self.now)].into_iter().flatten().fold(patrol, Duration::min);
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
        let Some(link) = client.link_mut() else { return };
        link.hints.readable |= event.readable;
        link.hints.writable |= event.writable;
        link.hints.read_closed |= event.read_closed;
        link.hints.urgent |= event.urgent;
        self.clients.ready.push_back(index);
    }

    /// The result; the run should be over.
    pub fn finding(self) -> Finding {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let connected = self.clients.iter().filter(|client| client.reached == Reached::Connected).count();
        let began_after = self.pacer.origin().map(|at| at.saturating_duration_since(self.clients.opening.began));
        let duration = self.pacer.duration();
        // One request on each idle connection is no load, and a run of no length shows nothing.
        let shows_something = self.driver.replaces_lost() && !duration.is_zero();
        Finding {
            own: if shows_something { self.own_time.share(duration, &self.account.tally) } else { OwnShare::default() },
            duration,
            sending: self.pacer.sending(),
            held: self.stages.hold.time,
            origin: self.pacer.origin(),
            began_after: began_after.unwrap_or_default() + self.pacer.warmup(),
            connections: self.driver.connections(count(self.clients.len()), count(connected), self.stages.hold.open),
            tally: self.account.tally,
        }
    }
}
