//! One simulation: servers and their clients, and the choice of who moves next.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::net::sim::{NetFault, Network, SimNet, SimRandom};
use latchkey::internals::server::{Server, Status};
use latchkey::internals::tls::Channel;

use crate::client::Client;
use crate::disk::SimulatedDisk;
use crate::numbered_service::complete_due;
use crate::plan::{Outage, Plan, Scarcity};
use crate::report::Report;
use crate::service::{Books, SimulatedService};
use crate::topology;
use crate::trust::{self, Change};

/// When faults end.
const CALM: Duration = Duration::from_secs(30);

/// Time limit for everything to end after that: the longest pause of a client, a disk that hangs, and the longest
/// timeouts.
const PATIENCE: Duration = Duration::from_mins(15);

/// Maximum number of turns in a row, at one moment, in which nothing moves and the poll does not sleep.
const BUSY_TURNS: u32 = 200;

/// Tolerance of a deadline: the duration of turns.
const PUNCTUAL: Duration = Duration::from_secs(1);

/// Maximum number of steps in a simulation.
const STEPS: u64 = 5_000_000;

/// Number of turns after which a reload has reached every connection.
const REVIEW_TURNS: u32 = 8;

/// A violated promise.
#[derive(Debug)]
pub(crate) struct StorageError {
    seed: u64,
    step: u64,
    time: Duration,
    what: String,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, time, what } = self;
        write!(f, "SEED={seed} step {step}, {time:?} after the start: {what}")
    }
}

/// One of the production loops, on its own host.
pub(crate) struct Loop {
    pub(crate) net: SimNet,
    pub(crate) server: Server<SimNet, SimulatedService>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) stopped: bool,
    busy: u32,
    turns_since_reload: u32,
}

impl Loop {
    pub(crate) fn new(net: SimNet, server: Server<SimNet, SimulatedService>) -> io::Result<Self> {
        let addresses = server.addresses()?;
        Ok(Self::of(net, server, addresses))
    }

    pub(crate) fn of(net: SimNet, server: Server<SimNet, SimulatedService>, addresses: Vec<SocketAddr>) -> Self {
        Self { net, server, addresses, stopped: false, busy: 0, turns_since_reload: 0 }
    }

    /// Whether the reload has reached all its connections.
    fn has_reviewed(&self) -> bool {
        let is_idle = self.turns_since_reload > 0 && !self.net.is_awake();
        self.stopped || is_idle || self.turns_since_reload >= REVIEW_TURNS
    }
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: SimRandom,
    pub(crate) network: Network,
    client_net: SimNet,
    /// The loops of the server that clients connect to, and the server behind it, if it is a wrapper.
    pub(crate) loops: Vec<Loop>,
    pub(crate) books: Rc<RefCell<Books>>,
    pub(crate) vault: Option<SimulatedDisk>,
    pub(crate) clients: Vec<Client>,
    credentials: trust::Credentials,
    pub(crate) begun: Instant,
    pub(crate) calm_since: Option<Instant>,
    pub(crate) stop_sent: Option<Instant>,
    pub(crate) reloaded: bool,
    /// The reload has reached every connection.
    reviewed: bool,
    /// The wrapped server has died.
    pub(crate) died: bool,
    /// What refused clients are sent, by listener and reason.
    pub(crate) words: Vec<Vec<(Disconnect, Vec<u8>)>>,
    pub(crate) report: Report,
}

/// Runs the simulation of `seed` to its end.
pub(crate) fn run(seed: u64) -> Result<Report, StorageError> {
    let mut world = World::new(seed).map_err(|what| StorageError { seed, step: 0, time: Duration::ZERO, what })?;
    let result = world.play().and_then(|()| world.check_end()).and_then(|()| world.check_disk());
    let time = world.network.now() - world.begun;
    result.map_err(|what| {
        let what = format!("{what}; connections ended by {:?}", world.reasons());
        StorageError { seed, step: world.report.steps, time, what }
    })?;
    world.complete_report();
    Ok(world.report)
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let mut random = SimRandom::new(seed);
        let plan = Plan::draw(seed, &mut random);
        let network = Network::new(random.bits(), plan.faults.clone());
        let books = Rc::new(RefCell::new(Books::default()));
        let mut credentials = trust::Credentials::new(plan.resumption);
        let mut vault = plan.durability.clone().map(SimulatedDisk::new);
        let mut loops = topology::loops(&plan, &network, &books, &mut credentials, vault.as_mut())?;
        let words = loops.last_mut().map(topology::words).unwrap_or_default();
        let begun = network.now();
        let mut clients = Vec::new();
        for script in plan.scripts.clone() {
            let welcome = plan.welcome(script.badge);
            clients.push(Client::new(script, welcome, begun));
        }
        Ok(Self {
            client_net: network.host(),
            plan,
            random,
            network,
            loops,
            books,
            vault,
            clients,
            credentials,
            begun,
            calm_since: None,
            stop_sent: None,
            reloaded: false,
            reviewed: false,
            died: false,
            words,
            report: Report::default(),
        })
    }

    fn play(&mut self) -> Result<(), String> {
        while self.report.steps < STEPS {
            self.report.steps += 1;
            self.keep_times()?;
            if self.move_somebody()? {
                continue;
            }
            let now = self.network.now();
            match self.next_time(now) {
                Some(next) => self.network.advance_to(next),
                None => return Ok(()),
            }
            self.loops.iter_mut().for_each(|each| each.busy = 0);
            self.check_stalls()?;
        }
        Err(format!("no end after {STEPS} steps"))
    }

    /// Events at set times.
    fn keep_times(&mut self) -> Result<(), String> {
        let now = self.network.now();
        let age = now - self.begun;
        if self.calm_since.is_none() && age >= CALM {
            self.calm_since = Some(now);
            self.network.calm();
            self.vault.iter_mut().for_each(SimulatedDisk::calm);
            for client in &mut self.clients {
                client.script.drip = None;
                client.script.sip = None;
            }
        }
        if let Some((at, change)) = self.plan.reload
            && !self.reloaded
            && age >= at
        {
            self.reload(change)?;
        }
        if self.stop_sent.is_none() && self.plan.drain_at.is_some_and(|at| age >= at) {
            self.stop_sent = Some(now);
            self.front().server.handle().stop();
            self.clients.iter_mut().for_each(Client::note_stop);
        }
        self.run_disk(now)?;
        self.relieve(now)?;
        if self.death().is_some_and(|at| age >= at) {
            self.died = true;
            self.loops.truncate(self.plan.loops);
        }
        if self.calm_since.is_some_and(|since| now - since > PATIENCE) {
            let waiting: Vec<_> = self.clients.iter().filter(|client| client.end.is_none()).collect();
            let conducts: Vec<_> = waiting.iter().map(|client| client.script.conduct).collect();
            let residues: Vec<_> = self.loops.iter().map(|each| each.server.occupancy()).collect();
            return Err(format!("still waiting long after the last fault: {conducts:?}, {residues:?}"));
        }
        Ok(())
    }

    fn front(&self) -> &Loop {
        self.loops.first().expect("there is one")
    }

    /// The loops of the server that clients connect to.
    pub(crate) fn fronts(&self) -> &[Loop] {
        self.loops.get(..self.plan.loops).unwrap_or(&self.loops)
    }

    /// Whether the loop `index` is one of these.
    pub(crate) fn is_front(&self, index: usize) -> bool {
        index < self.plan.loops
    }

    /// All loops of the server that has the loop `index`, which is `each`.
    pub(crate) fn loops_of<'a>(&'a self, index: usize, each: &'a Loop) -> &'a [Loop] {
        if self.is_front(index) { self.fronts() } else { std::slice::from_ref(each) }
    }

    /// Connections of the server that clients connect to: open or in a slot, accepted, and refused.
    fn counts(&self) -> (usize, u64, u64) {
        self.fronts().iter().fold((0, 0, 0), |(open, accepted, refused), each| {
            let metrics = each.server.metrics();
            let occupancy = each.server.occupancy();
            let own = each.server.connections() + occupancy.orphans + occupancy.arriving;
            (open + own, accepted + metrics.accepted, refused + metrics.refused)
        })
    }

    fn reload(&mut self, change: Change) -> Result<(), String> {
        self.reloaded = true;
        self.unban();
        let handle = self.front().server.handle();
        if change == Change::Refused {
            handle.reload_refused();
            return Ok(());
        }
        let security = trust::security(self.plan.door, Some(change))?;
        handle.reload(vec![security; self.front().addresses.len()]);
        Ok(())
    }

    /// When the wrapped server dies, if that is still to come.
    fn death(&self) -> Option<Duration> {
        match self.plan.wrap?.outage {
            Outage::Dies(at) if !self.died => Some(at),
            _ => None,
        }
    }

    /// Moves one of those that can move; returns `false` if none can.
    fn move_somebody(&mut self) -> Result<bool, String> {
        let now = self.network.now();
        let mut able: Vec<usize> = (0..self.clients.len())
            .filter(|index| self.clients.get(*index).is_some_and(|client| client.can_move(now)))
            .collect();
        let first_loop = self.clients.len();
        let worker = first_loop + self.loops.len();
        let awake = |each: &Loop| !each.stopped && each.net.is_awake();
        able.extend((first_loop..).zip(&self.loops).filter(|(_, each)| awake(each)).map(|(index, _)| index));
        if self.books.borrow().outside.iter().any(|pending| pending.due <= now) {
            able.push(worker);
        }
        let storage = worker + 1;
        if self.vault.as_ref().is_some_and(|vault| vault.is_due(now)) {
            able.push(storage);
        }
        let Some(chosen) = self.random.pick(&able).copied() else { return Ok(false) };
        if chosen < first_loop {
            self.step(chosen, now)?;
        } else if chosen < worker {
            self.turn(chosen - first_loop)?;
        } else if chosen == storage {
            self.vault.iter_mut().for_each(|vault| vault.step(now));
        } else {
            complete_due(&mut self.books.borrow_mut().outside, now);
        }
        Ok(true)
    }

    fn step(&mut self, index: usize, now: Instant) -> Result<(), String> {
        let addresses = self.loops.first().map(|front| front.addresses.clone()).unwrap_or_default();
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        let address = *addresses.get(client.script.listener).ok_or("no listener")?;
        let is_new = client.port.is_none();
        if is_new && self.plan.door.is_some() {
            // Not earlier: the hello made now uses the ticket that is there now.
            client.channel = Channel::new(self.credentials.session(&client.script)?);
        }
        client.step(&mut self.client_net, address, now, &mut self.random)?;
        let may_come = if self.reloaded { client.welcome.1 } else { client.welcome.0 };
        if is_new && !may_come {
            self.books.borrow_mut().banned.extend(client.port);
        }
        Ok(())
    }

    fn turn(&mut self, index: usize) -> Result<(), String> {
        let before = self.network.progress();
        let Some(each) = self.loops.get_mut(index) else { return Ok(()) };
        let late = each.server.overdue().filter(|late| *late > PUNCTUAL);
        if let Some(late) = late.filter(|_| !self.network.injected().contains_key(&NetFault::ClockJump)) {
            return Err(format!("a deadline passed {late:?} ago"));
        }
        let (open, accepted, refused) = self.counts();
        let Some(each) = self.loops.get_mut(index) else { return Ok(()) };
        match each.server.turn() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("the loop failed: {error}")),
            Ok(status) => each.stopped = status == Status::Stopped,
        }
        each.busy = if self.network.progress() == before { each.busy + 1 } else { 0 };
        if each.busy > BUSY_TURNS {
            return Err(format!("the loop spins: {:?}", each.server.occupancy()));
        }
        let (_, now_accepted, now_refused) = self.counts();
        let most = open + usize::try_from(now_accepted - accepted).unwrap_or(0);
        let is_scarce = matches!(self.plan.scarcity, Scarcity::Memory | Scarcity::PlacesPerAddress);
        let may_refuse = self.plan.limits.connections < most || is_scarce;
        if self.is_front(index) && now_refused > refused && !may_refuse {
            return Err(format!("a client was refused beside {most} others"));
        }
        self.report.turns += 1;
        self.check_turn(index)?;
        if self.is_front(index) && self.reloaded && !self.reviewed {
            self.loops.iter_mut().skip(index).take(1).for_each(|each| each.turns_since_reload += 1);
            if self.fronts().iter().all(Loop::has_reviewed) {
                self.reviewed = true;
                self.ban();
            }
        }
        Ok(())
    }

    /// The reload has reached every connection.
    fn ban(&mut self) {
        let out = self.clients.iter().filter(|client| !client.welcome.1);
        self.books.borrow_mut().banned.extend(out.filter_map(|client| client.port));
    }

    /// Clients waiting to be accepted are judged by the new policy.
    fn unban(&mut self) {
        let back = self.clients.iter().filter(|client| client.welcome.1);
        for port in back.filter_map(|client| client.port) {
            self.books.borrow_mut().banned.remove(&port);
        }
    }

    fn check_turn(&self, index: usize) -> Result<(), String> {
        if let Some(broken) = self.books.borrow_mut().broken.take() {
            return Err(broken);
        }
        if self.is_front(index) {
            self.check_drain_time()?;
        }
        let Some(each) = self.loops.get(index) else { return Ok(()) };
        let (memory, bound) = (each.server.largest_connection(), self.memory_bound());
        if memory > bound {
            return Err(format!("a connection holds {memory} bytes, {bound} are allowed"));
        }
        let loops = self.loops_of(index, each);
        let (counted, under_way) =
            (each.server.handshakes().0, loops.iter().map(|each| each.server.handshakes().1).sum());
        if counted > under_way {
            return Err(format!("{counted} handshakes count at their addresses, {under_way} are under way"));
        }
        let (memory, bound) = (each.server.client_memory(), self.plan.limits.client_memory);
        if memory > bound {
            return Err(format!("clients hold {memory} bytes, {bound} are allowed"));
        }
        Ok(())
    }

    /// No client is waited for indefinitely: neither one that reads nothing, nor one that never completes its request.
    fn check_stalls(&self) -> Result<(), String> {
        let limit = 2 * self.plan.limits.write_timeout + PUNCTUAL;
        if let Some(stall) = self.network.longest_stall().filter(|stall| *stall > limit && !self.jumped()) {
            return Err(format!("a client takes nothing, and is waited for since {stall:?}"));
        }
        // Behind a wrapper or a slow disk, a request may be late for another reason; within TLS, its beginning is not
        // visible.
        if self.plan.wrap.is_some() || self.vault.is_some() || self.plan.door.is_some() || self.jumped() {
            return Ok(());
        }
        let (now, limit) = (self.network.now(), self.plan.limits.request_timeout + Duration::from_secs(5));
        let late = self.clients.iter().filter_map(|client| client.request_age(now)).find(|age| *age > limit);
        late.map_or(Ok(()), |age| Err(format!("a request trickles in since {age:?}")))
    }

    /// A stopping server takes at most its drain timeout.
    fn check_drain_time(&self) -> Result<(), String> {
        let Some(since) = self.stop_sent.filter(|_| !self.jumped()) else { return Ok(()) };
        let (taken, allowed) = (self.network.now() - since, self.plan.limits.drain_timeout + Duration::from_secs(1));
        if taken > allowed { Err(format!("the drain takes {taken:?}")) } else { Ok(()) }
    }

    /// Whether the clock has jumped, so that any deadline may have passed.
    pub(crate) fn jumped(&self) -> bool {
        self.network.injected().contains_key(&NetFault::ClockJump)
    }

    /// Maximum memory of one connection: a vector may be twice as large as its content.
    fn memory_bound(&self) -> usize {
        const READ: usize = 64 << 10;
        let limits = &self.plan.limits;
        let replies = limits.output_bytes + self.plan.largest + READ;
        let input = self.plan.largest + 2 * READ;
        let (retained, unsent) = (READ, 3 * READ);
        2 * (replies + input + retained + unsent) + 64 * limits.replies
    }

    /// Reasons of closed connections, with their counts.
    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, u64> {
        let mut reasons = BTreeMap::new();
        for reason in Disconnect::ALL {
            let count = self.loops.iter().map(|each| each.server.metrics().disconnects(reason)).sum::<u64>();
            if count > 0 {
                reasons.insert(reason.name(), count);
            }
        }
        reasons
    }

    /// When the next waiting client or server may move.
    fn next_time(&self, now: Instant) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|client| client.next_time(now));
        let loops = self.loops.iter().filter(|each| !each.stopped).filter_map(|each| each.net.wakes_at());
        let books = self.books.borrow();
        let worker = books.outside.iter().map(|pending| pending.due);
        let stop = self.plan.drain_at.filter(|_| self.stop_sent.is_none());
        let reload = self.plan.reload.filter(|_| !self.reloaded).map(|(at, _)| at);
        let set = [stop, reload, self.death(), self.next_death()].into_iter().flatten().map(|at| self.begun + at);
        let storage = self.vault.as_ref().and_then(|vault| vault.next_time(now));
        let next =
            clients.chain(worker).chain(storage).chain(loops).chain(self.network.next_happening()).chain(set).min()?;
        Some(if self.calm_since.is_some() { next } else { next.min(self.begun + CALM) })
    }
}
