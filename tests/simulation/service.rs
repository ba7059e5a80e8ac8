//! The service of a simulation with an observer: one type for the loop, whichever service a seed has drawn.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use latchkey::internals::connection::{Environment, Exchange, Loss, PeerInfo, Served, Service, SessionState, Tick};
use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::services::{Builtin, BuiltinSession, Splice, Untried};

use crate::numbered_service::{NumberedService, Pending};

/// What is observed of services.
#[derive(Default)]
pub(crate) struct Books {
    /// Deferred replies completed from outside the service.
    pub(crate) outside: Vec<Pending>,
    /// Bytes of replies owed to each client of the numbered service.
    pub(crate) owed: BTreeMap<SocketAddr, usize>,
    /// Why dialed connections failed, with their counts.
    pub(crate) losses: BTreeMap<&'static str, u64>,
    /// Connections opened and not yet closed.
    pub(crate) open: usize,
    /// Clients that must not be served.
    pub(crate) banned: BTreeSet<SocketAddr>,
    /// The store has lost changes, and reported it.
    pub(crate) lost: bool,
    /// Requests that had to wait for the disk.
    pub(crate) congested: u64,
    /// The first promise seen violated.
    pub(crate) broken: Option<String>,
}

/// A service and its observer.
pub(crate) struct SimulatedService {
    kind: Kind,
    books: Rc<RefCell<Books>>,
    /// Connected clients of all loops, by address.
    guests: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
    /// Maximum numbers of clients, in all and from one address.
    room: (usize, usize),
    /// Clients connect to it directly, not through a wrapper.
    is_front: bool,
}

pub(crate) enum Kind {
    NumberedService(NumberedService),
    Builtin(Box<Builtin>),
    Splice(Splice),
}

/// The state of one connection with any of the services.
pub(crate) enum Visit {
    NumberedService(u64),
    Builtin(Box<BuiltinSession>),
    Splice(Untried),
}

impl SimulatedService {
    pub(crate) fn new(kind: Kind, books: Rc<RefCell<Books>>, room: (usize, usize), is_front: bool) -> Self {
        Self { kind, books, guests: Rc::default(), room, is_front }
    }

    /// The same on one of several loops, which have `clients` together.
    pub(crate) fn beside(self, clients: &Rc<RefCell<BTreeMap<IpAddr, usize>>>) -> Self {
        Self { guests: Rc::clone(clients), ..self }
    }

    /// The built-in services, if they are served.
    pub(crate) fn builtin(&mut self) -> Option<&mut Builtin> {
        match &mut self.kind {
            Kind::Builtin(builtin) => Some(builtin),
            Kind::NumberedService(_) | Kind::Splice(_) => None,
        }
    }

    fn enter(&mut self, peer: &PeerInfo) {
        self.books.borrow_mut().open += 1;
        if peer.is_dialed() {
            return;
        }
        let mut guests = self.guests.borrow_mut();
        *guests.entry(peer.address.ip()).or_default() += 1;
        let (all, most) = (guests.values().sum::<usize>(), guests.values().max().copied().unwrap_or(0));
        if all > self.room.0 || most > self.room.1 {
            self.broken(format!("{all} clients are served, {most} of one address; {:?} are allowed", self.room));
        }
    }

    fn leave(&mut self, peer: &PeerInfo) {
        self.books.borrow_mut().open -= 1;
        if !peer.is_dialed()
            && let Some(count) = self.guests.borrow_mut().get_mut(&peer.address.ip())
        {
            *count -= 1;
        }
    }

    fn broken(&self, what: String) {
        self.books.borrow_mut().broken.get_or_insert(what);
    }
}

impl Service for SimulatedService {
    type Session = Visit;

    fn admits(&self, client: &PeerInfo) -> bool {
        match &self.kind {
            Kind::NumberedService(desk) => desk.admits(client),
            Kind::Builtin(builtin) => builtin.admits(client),
            Kind::Splice(splice) => splice.admits(client),
        }
    }

    fn open(&mut self, exchange: &mut Exchange<'_>) -> Visit {
        self.enter(exchange.peer);
        match &mut self.kind {
            Kind::NumberedService(desk) => Visit::NumberedService(desk.open(exchange)),
            Kind::Builtin(builtin) => Visit::Builtin(Box::new(builtin.open(exchange))),
            Kind::Splice(splice) => Visit::Splice(splice.open(exchange)),
        }
    }

    fn serve(&mut self, visit: &mut Visit, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        if self.is_front && self.books.borrow().banned.contains(&exchange.peer.address) {
            self.broken(format!("{} is served and must not be", exchange.peer.address));
        }
        match (&mut self.kind, visit) {
            (Kind::NumberedService(desk), Visit::NumberedService(index)) => desk.serve(index, input, exchange),
            (Kind::Builtin(builtin), Visit::Builtin(session)) => builtin.serve(session, input, exchange),
            (Kind::Splice(splice), Visit::Splice(untried)) => splice.serve(untried, input, exchange),
            _ => Served::Close(Disconnect::Io),
        }
    }

    fn end_of_input(&mut self, visit: &mut Visit, rest: &[u8], exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        match (&mut self.kind, visit) {
            (Kind::NumberedService(desk), Visit::NumberedService(index)) => desk.end_of_input(index, rest, exchange),
            (Kind::Builtin(builtin), Visit::Builtin(session)) => builtin.end_of_input(session, rest, exchange),
            (Kind::Splice(splice), Visit::Splice(untried)) => splice.end_of_input(untried, rest, exchange),
            _ => Some(Disconnect::Io),
        }
    }

    fn inspect(&self, visit: &Visit) -> SessionState {
        match (&self.kind, visit) {
            (Kind::Builtin(builtin), Visit::Builtin(session)) => builtin.inspect(session),
            _ => SessionState::default(),
        }
    }

    fn unreachable(&mut self, visit: &mut Visit, loss: &Loss, exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        *self.books.borrow_mut().losses.entry(loss.reason.name()).or_default() += 1;
        match (&mut self.kind, visit) {
            (Kind::Splice(splice), Visit::Splice(untried)) => splice.unreachable(untried, loss, exchange),
            _ => Some(Disconnect::Upstream),
        }
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::NumberedService(desk) => desk.refuse(listener, reason, reply),
            Kind::Builtin(builtin) => builtin.refuse(listener, reason, reply),
            Kind::Splice(splice) => splice.refuse(listener, reason, reply),
        }
    }

    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        if let Kind::Builtin(builtin) = &mut self.kind {
            builtin.retract(listener, reply, out);
        }
    }

    fn close(&mut self, visit: Visit, peer: &PeerInfo) {
        self.leave(peer);
        match (&mut self.kind, visit) {
            (Kind::NumberedService(desk), Visit::NumberedService(index)) => desk.close(index, peer),
            (Kind::Builtin(builtin), Visit::Builtin(session)) => {
                Service::close(&mut **builtin, *session, peer);
            }
            (Kind::Splice(splice), Visit::Splice(untried)) => splice.close(untried, peer),
            _ => {}
        }
    }

    fn tick(&mut self, env: &mut Environment) -> Tick {
        match &mut self.kind {
            Kind::NumberedService(desk) => desk.tick(env),
            Kind::Builtin(builtin) => {
                let tick = builtin.tick(env);
                let mut books = self.books.borrow_mut();
                // Writes are refused before it is known what is lost, and the server may die in between.
                books.lost |= builtin.store_mut().refuses_writes().is_some();
                books.congested += u64::from(builtin.store_mut().is_congested());
                tick
            }
            Kind::Splice(splice) => splice.tick(env),
        }
    }
}
