//! One simulation: a server, its clients, and who moves next.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use latchkey::metrics::Disconnect;
use latchkey::net::sim::{Fault, Network, Random, SimNet};
use latchkey::server::{ListenerConfig, Residue, Server, Status};

use crate::client::{Client, End};
use crate::desk::{Books, Desk, complete_due};
use crate::plan::{self, Plan};
use crate::script::{Conduct, answer};

/// When faults end.
const CALM: Duration = Duration::from_secs(30);

/// How long after that everything may take to end: the longest deafness and the longest timeouts.
const PATIENCE: Duration = Duration::from_mins(8);

/// Turns in a row, at one moment, in which nothing moves and the poll does not sleep.
const BUSY_TURNS: u32 = 200;

/// Steps of one simulation, at most.
const STEPS: u64 = 5_000_000;

/// What a simulation found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) steps: u64,
    pub(crate) turns: u64,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) conducts: BTreeMap<Conduct, u64>,
    pub(crate) drained: bool,
    pub(crate) tls: bool,
    pub(crate) refused: u64,
}

/// A broken promise.
#[derive(Debug)]
pub(crate) struct Failure {
    seed: u64,
    step: u64,
    time: Duration,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, time, what } = self;
        write!(f, "SEED={seed} step {step}, {time:?} after the start: {what}")
    }
}

struct World {
    plan: Plan,
    random: Random,
    network: Network,
    server_net: SimNet,
    client_net: SimNet,
    server: Server<SimNet, Desk>,
    address: SocketAddr,
    books: Rc<RefCell<Books>>,
    clients: Vec<Client>,
    begun: Instant,
    calm_since: Option<Instant>,
    stop_sent: Option<Instant>,
    reloaded: bool,
    stopped: bool,
    busy: u32,
    report: Report,
}

/// Runs the simulation of `seed` to its end.
pub(crate) fn run(seed: u64) -> Result<Report, Failure> {
    let mut world = World::new(seed).map_err(|what| Failure { seed, step: 0, time: Duration::ZERO, what })?;
    let result = world.play();
    let time = world.network.now() - world.begun;
    result.map_err(|what| {
        let what = format!("{what}; connections ended by {:?}", world.reasons());
        Failure { seed, step: world.report.steps, time, what }
    })?;
    world.report.trace = world.network.trace();
    world.report.faults = world.network.injected();
    Ok(world.report)
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let plan = Plan::draw(seed, &mut random);
        let network = Network::new(random.bits(), plan.faults.clone());
        let (server_net, client_net) = (network.host(), network.host());
        let books = Rc::new(RefCell::new(Books::default()));
        let listener = ListenerConfig {
            address: SocketAddr::from(([10, 0, 0, 2], 0)),
            security: plan::security(plan.tls)?,
            idle_timeout: Some(plan.idle_timeout),
            balancers: [].into(),
        };
        let desk = Desk::new(plan.echo, Rc::clone(&books));
        let server = Server::new(server_net.clone(), desk, vec![listener], plan.limits.clone())
            .map_err(|(_, error)| error.to_string())?;
        let address = *server.addresses().map_err(|error| error.to_string())?.first().ok_or("no listener")?;
        let begun = network.now();
        let mut report = Report { tls: plan.tls, ..Report::default() };
        let mut clients = Vec::new();
        for script in plan.scripts.clone() {
            *report.conducts.entry(script.conduct).or_default() += 1;
            clients.push(Client::new(script, plan::client_session(plan.tls, &mut random)?, begun));
        }
        Ok(Self {
            plan,
            random,
            network,
            server_net,
            client_net,
            server,
            address,
            books,
            clients,
            begun,
            calm_since: None,
            stop_sent: None,
            reloaded: false,
            stopped: false,
            busy: 0,
            report,
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
                None => return self.check_end(),
            }
            self.busy = 0;
        }
        Err(format!("no end after {STEPS} steps"))
    }

    /// What happens at set times, whoever moves.
    fn keep_times(&mut self) -> Result<(), String> {
        let now = self.network.now();
        let age = now - self.begun;
        if self.calm_since.is_none() && age >= CALM {
            self.calm_since = Some(now);
            self.network.calm();
            for client in &mut self.clients {
                client.script.drip = None;
            }
        }
        if !self.reloaded && !self.stopped && self.plan.reload_at.is_some_and(|at| age >= at) {
            self.reloaded = true;
            self.server.handle().reload(vec![plan::renewed_security(self.plan.tls)?]);
        }
        if self.stop_sent.is_none() && self.plan.drain_at.is_some_and(|at| age >= at) {
            self.stop_sent = Some(now);
            self.server.handle().stop();
            self.clients.iter_mut().for_each(Client::note_stop);
        }
        if self.calm_since.is_some_and(|since| now - since > PATIENCE) {
            let waiting: Vec<_> = self.clients.iter().filter(|client| client.end.is_none()).collect();
            let conducts: Vec<_> = waiting.iter().map(|client| client.script.conduct).collect();
            return Err(format!("still waiting long after the last fault: {conducts:?}, {:?}", self.server.residue()));
        }
        Ok(())
    }

    /// Picks one of those who can move; `false` when nobody can.
    fn move_somebody(&mut self) -> Result<bool, String> {
        let now = self.network.now();
        let mut able: Vec<usize> = (0..self.clients.len())
            .filter(|index| self.clients.get(*index).is_some_and(|client| client.can_move(now)))
            .collect();
        let (server, worker) = (self.clients.len(), self.clients.len() + 1);
        if !self.stopped && self.server_net.is_awake() {
            able.push(server);
        }
        if self.books.borrow().outside.iter().any(|pending| pending.due <= now) {
            able.push(worker);
        }
        let Some(chosen) = self.random.pick(&able).copied() else { return Ok(false) };
        if let Some(client) = self.clients.get_mut(chosen) {
            client.step(&mut self.client_net, self.address, now, &mut self.random)?;
        } else if chosen == server {
            self.turn()?;
        } else {
            complete_due(&mut self.books.borrow_mut().outside, now);
        }
        Ok(true)
    }

    fn turn(&mut self) -> Result<(), String> {
        let before = self.network.progress();
        match self.server.turn() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("the loop failed: {error}")),
            Ok(status) => self.stopped = status == Status::Stopped,
        }
        self.check_drain_time()?;
        self.report.turns += 1;
        self.busy = if self.network.progress() == before { self.busy + 1 } else { 0 };
        if self.busy > BUSY_TURNS {
            return Err(format!("the loop spins: {:?}", self.server.residue()));
        }
        let (memory, bound) = (self.server.largest_connection(), self.memory_bound());
        if memory > bound {
            return Err(format!("a connection holds {memory} bytes, {bound} are allowed"));
        }
        Ok(())
    }

    /// A server that is asked to stop has no more time than its drain timeout.
    fn check_drain_time(&self) -> Result<(), String> {
        let Some(since) = self.stop_sent.filter(|_| !self.jumped()) else { return Ok(()) };
        let (taken, allowed) = (self.network.now() - since, self.plan.limits.drain_timeout + Duration::from_secs(1));
        if taken > allowed { Err(format!("the drain takes {taken:?}")) } else { Ok(()) }
    }

    /// Whether the clock has jumped, so that any deadline may have passed.
    fn jumped(&self) -> bool {
        self.network.injected().contains_key(&Fault::ClockJump)
    }

    /// What one connection may hold: a vector may be twice as large as what is in it.
    fn memory_bound(&self) -> usize {
        const READ: usize = 64 << 10;
        let limits = &self.plan.limits;
        let replies = limits.output_bytes + self.plan.largest + READ;
        let input = self.plan.largest + 2 * READ;
        let (retained, unsent) = (READ, 3 * READ);
        2 * (replies + input + retained + unsent) + 64 * limits.replies
    }

    /// Why connections have ended, and how many.
    fn reasons(&self) -> Vec<(&'static str, u64)> {
        let counted = Disconnect::ALL.map(|reason| (reason.name(), self.server.metrics().disconnects(reason)));
        counted.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// When the next of those who wait may move.
    fn next_time(&self, now: Instant) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|client| client.next_time(now));
        let server = self.server_net.wakes_at().filter(|_| !self.stopped);
        let books = self.books.borrow();
        let worker = books.outside.iter().map(|pending| pending.due);
        let stop = self.plan.drain_at.filter(|_| self.stop_sent.is_none()).map(|at| self.begun + at);
        let reload = self.plan.reload_at.filter(|_| !self.reloaded && !self.stopped).map(|at| self.begun + at);
        let mut others =
            clients.chain(worker).chain(server).chain(self.network.next_happening()).chain(stop).chain(reload);
        let next = others.by_ref().min()?;
        Some(if self.calm_since.is_some() { next } else { next.min(self.begun + CALM) })
    }

    /// Nobody will ever move again: everything must be done.
    fn check_end(&mut self) -> Result<(), String> {
        for client in &self.clients {
            let Client { script, port, disturbed, .. } = client;
            let name = |what| format!("{:?} client {port:?}, disturbed {disturbed}: {what}", script.conduct);
            self.check_client(client).map_err(name)?;
        }
        self.check_timeouts()?;
        let residue = self.server.residue();
        let stopped = self.stopped || self.plan.drain_at.is_none();
        if residue != Residue::default() && !self.stopped || residue.connections > 0 {
            return Err(format!("left behind: {residue:?}"));
        }
        if !stopped {
            return Err("asked to stop, the server has not".into());
        }
        if self.reloaded && self.server.metrics().reloads != 1 {
            return Err("it was not reloaded".into());
        }
        let (open, ends) = (self.books.borrow().open, self.network.open_ends());
        if open > 0 || ends > 0 {
            return Err(format!("{open} sessions were not given back, {ends} sockets not dropped"));
        }
        self.report.drained = self.stopped;
        self.report.refused = self.server.metrics().refused;
        Ok(())
    }

    fn check_client(&self, client: &Client) -> Result<(), String> {
        let Some(end) = client.end else { return Err("was forgotten".into()) };
        let (received, expected) = (client.received.as_slice(), client.script.expected.as_slice());
        if self.plan.crowded && (client.was_refused(self.jumped()) || received.is_empty()) {
            return Ok(());
        }
        if !client.heard_only_what_it_is_owed(self.jumped()) {
            let same = received.iter().zip(expected).take_while(|(one, other)| one == other).count();
            return Err(format!("a wrong reply at byte {same} of {}", received.len()));
        }
        if !client.script.conduct.is_honest() || client.disturbed || self.jumped() {
            return Ok(());
        }
        if self.plan.drain_at.is_some() {
            return self.check_drained(client, end);
        }
        if received.len() < expected.len() {
            return Err(format!("{} of {} bytes of replies, then {end:?}", received.len(), expected.len()));
        }
        if end == End::Proper { Ok(()) } else { Err(format!("all replies, but then {end:?}")) }
    }

    /// Only who misbehaves meets a deadline: an event that was lost and made up for by a timeout is lost all the same.
    fn check_timeouts(&self) -> Result<(), String> {
        use Disconnect::{HandshakeTimeout, Idle, RequestTimeout, Stalled};
        let timeouts: u64 = [HandshakeTimeout, Idle, RequestTimeout, Stalled]
            .map(|reason| self.server.metrics().disconnects(reason))
            .iter()
            .sum();
        let may_wait = |client: &&Client| client.disturbed || !client.script.conduct.leaves(self.plan.echo);
        let excused = self.clients.iter().filter(may_wait).count() as u64;
        if timeouts > excused && !self.jumped() {
            return Err(format!("{timeouts} connections timed out, {excused} might"));
        }
        Ok(())
    }

    /// A server that stops answers what has arrived by then, and all that it has answered must arrive too.
    fn check_drained(&self, client: &Client, end: End) -> Result<(), String> {
        let in_time = self.plan.limits.drain_timeout > Duration::from_secs(50);
        let owed = client.port.and_then(|port| self.books.borrow().owed.get(&port).copied()).unwrap_or(0);
        let heard = client.script.asked.get(..client.heard_at_stop).unwrap_or(&client.script.asked);
        let answers = answer(self.plan.echo, heard).len();
        if in_time && !self.plan.tls && client.received.len() < answers {
            return Err(format!("{} of {answers} bytes of answers, then {end:?}", client.received.len()));
        }
        if in_time && client.received.len() < owed {
            return Err(format!("{} of {owed} bytes that were owed at the stop, then {end:?}", client.received.len()));
        }
        Ok(())
    }
}
