//! The network as the test sees it, and as a loop sees it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::end::EndWatch;
use super::state::{Backlog, EventSource, Happening, Host, Sleep, State};
use super::{NetFault, NetFaults, SimListener, SimSocket};
use crate::net::{AcceptError, Address, Delivery, Event, Net, Wake};
use crate::timer::Now;

/// The simulated network of one test; clones are the same network.
#[derive(Clone)]
pub struct Network {
    state: Rc<RefCell<State>>,
}

impl Network {
    /// A network in which all random choices depend on `seed`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an instant can only be made from the real clock; it is read once")]
    pub fn new(seed: u64, faults: NetFaults) -> Self {
        Self { state: Rc::new(RefCell::new(State::new(seed, faults, Instant::now()))) }
    }

    /// A new host, with a poller of its own.
    #[must_use]
    pub fn host(&self) -> SimNet {
        let mut state = self.state.borrow_mut();
        state.hosts.push(Host::default());
        SimNet { host: state.hosts.len() - 1, state: Rc::clone(&self.state) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.state.borrow().now()
    }

    /// When the next thing under way arrives; `None` if nothing is under way.
    #[must_use]
    pub fn next_happening(&self) -> Option<Instant> {
        self.state.borrow().next_happening()
    }

    /// Moves the clock to `instant`, or further if a fault makes it jump, and delivers everything that is due. A time
    /// in the past only delivers.
    pub fn advance_to(&self, instant: Instant) {
        self.state.borrow_mut().advance_to(instant);
    }

    /// Ends all faults: from now on everything works, at the same speed as before.
    pub fn calm(&self) {
        self.state.borrow_mut().faults.calm();
    }

    /// From now on, injects `fault` with `probability` on each occasion.
    pub fn set(&self, fault: NetFault, probability: f64) {
        self.state.borrow_mut().faults.set(fault, probability);
    }

    /// From now on, packets to `address` are lost: a connection to it is never answered.
    pub fn swallow(&self, address: SocketAddr) {
        self.state.borrow_mut().swallowed.insert(address);
    }

    /// The longest time for which a socket could not be written to because its peer read nothing.
    #[must_use]
    pub fn longest_stall(&self) -> Option<Duration> {
        let state = self.state.borrow();
        let stuck = state.ends.iter().filter_map(|(_, end)| end.stuck_since.filter(|_| end.watch.is_some()));
        stuck.min().map(|since| state.now() - since)
    }

    /// How often each fault was injected.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<NetFault, u64> {
        self.state.borrow().injected.clone()
    }

    /// A hash of all events, by kind, socket and size. Equal for equal seeds.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.borrow().trace.hash()
    }

    /// How many operations have moved something: bytes, a connection, an end of stream, an event.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.state.borrow().progress
    }

    /// Ends of connections that are still held, or whose peer is.
    #[must_use]
    pub fn open_ends(&self) -> usize {
        self.state.borrow().ends.len()
    }
}

/// One host on a [`Network`]; clones are the same host.
#[derive(Clone)]
pub struct SimNet {
    state: Rc<RefCell<State>>,
    host: usize,
}

impl SimNet {
    /// Whether a poll would return now. This is true if no poll has failed with `WouldBlock`.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        let state = self.state.borrow();
        state.hosts.get(self.host).is_some_and(|host| match host.sleep {
            Sleep::Awake => true,
            Sleep::Until(until) => host.has_news() || until.is_some_and(|until| until <= state.now()),
        })
    }

    /// Until when the last poll wanted to sleep; `None` if it did not want to, or has no timeout.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        match self.state.borrow().hosts.get(self.host)?.sleep {
            Sleep::Awake => None,
            Sleep::Until(until) => until,
        }
    }
}

impl Host {
    fn has_news(&self) -> bool {
        !self.ready.is_empty() || self.woken.load(Ordering::Acquire)
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Socket = SimSocket;

    fn listen(&mut self, mut address: SocketAddr, token: usize) -> io::Result<SimListener> {
        let mut state = self.state.borrow_mut();
        if address.port() == 0 {
            address.set_port(state.new_port());
        }
        if state.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let watch = EndWatch { host: self.host, token, listed: false };
        state.listeners.insert(address, Backlog { watch, waiting: [].into() });
        Ok(SimListener { state: Rc::clone(&self.state), address })
    }

    fn local_address(&self, listener: &SimListener) -> io::Result<SocketAddr> {
        Ok(listener.address)
    }

    fn accept(&mut self, listener: &SimListener) -> Result<(SimSocket, SocketAddr), AcceptError> {
        let mut state = self.state.borrow_mut();
        state.spend();
        if state.listeners.get(&listener.address).is_none_or(|backlog| backlog.waiting.is_empty()) {
            return Err(AcceptError::Empty);
        }
        state.progress += 1;
        if state.strikes(NetFault::AcceptExhausted) {
            let errno = state.random.one_of([libc::EMFILE, libc::ENFILE]);
            return Err(AcceptError::Exhausted(io::Error::from_raw_os_error(errno)));
        }
        let waiting = state.listeners.get_mut(&listener.address).and_then(|backlog| backlog.waiting.pop_front());
        let Some((id, from)) = waiting else { return Err(AcceptError::Empty) };
        state.trace.note(&[4, id.serial]);
        if state.strikes(NetFault::AcceptLost) {
            state.abort(id);
            return Err(AcceptError::Lost);
        }
        drop(state);
        Ok((SimSocket { state: Rc::clone(&self.state), id }, from))
    }

    fn local_address_of(&self, socket: &SimSocket) -> io::Result<SocketAddr> {
        let mut state = self.state.borrow_mut();
        state.end(socket.id).map(|end| end.local).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn connect(&mut self, address: &Address, from: Option<IpAddr>) -> io::Result<SimSocket> {
        let Address::Tcp(address) = *address else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut state = self.state.borrow_mut();
        if state.strikes(NetFault::ConnectFailed) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        if state.strikes(NetFault::ConnectBusy) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let local = SocketAddr::new(from.unwrap_or(IpAddr::from([10, 0, 0, 1])), state.new_port());
        let id = state.add_end(local);
        let at = state.later();
        state.schedule(at, Happening::Arrival(address, id));
        drop(state);
        Ok(SimSocket { state: Rc::clone(&self.state), id })
    }

    fn is_connected(&self, socket: &SimSocket) -> io::Result<bool> {
        let mut state = self.state.borrow_mut();
        let end = state.end(socket.id).ok_or(io::ErrorKind::NotConnected)?;
        end.report_breakage().map_or(Ok(end.connected), |kind| Err(kind.into()))
    }

    fn delivery(&self, socket: &SimSocket) -> io::Result<Delivery> {
        let mut state = self.state.borrow_mut();
        let end = state.end(socket.id).ok_or(io::ErrorKind::NotConnected)?;
        let (peer, written) = (end.peer, end.written);
        let unread = peer.and_then(|peer| state.end(peer)).map_or(0, |end| end.pending());
        Ok(Delivery { taken: written.saturating_sub(unread as u64), is_pending: unread > 0 })
    }

    fn register(&mut self, socket: &mut SimSocket, token: usize) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let watch = EndWatch { host: self.host, token, listed: false };
        state.end(socket.id).ok_or(io::ErrorKind::NotFound)?.watch = Some(watch);
        state.edge(socket.id);
        Ok(())
    }

    fn shutdown_write(&mut self, socket: &SimSocket) -> io::Result<()> {
        socket.shutdown_write()
    }

    fn reset_when_dropped(&mut self, socket: &SimSocket) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.end(socket.id).ok_or(io::ErrorKind::NotConnected)?.resets = true;
        Ok(())
    }

    /// Never sleeps.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where a real poll would sleep: see [`SimNet::is_awake`]. The sleep
    /// continues through later calls, whatever `timeout` they give, until there is an event or its time is over.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.catch_up();
        let now = state.now();
        let Some(host) = state.hosts.get_mut(self.host) else { return Ok(()) };
        let news = host.has_news();
        if !news && timeout != Some(Duration::ZERO) {
            let until = match host.sleep {
                Sleep::Until(until) => until,
                Sleep::Awake => timeout.map(|timeout| now + timeout),
            };
            host.sleep = Sleep::Until(until);
            if until.is_none_or(|until| until > now) && !state.strikes(NetFault::EmptyPoll) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        state.wake_up(self.host, events);
        Ok(())
    }

    fn now(&self) -> Now {
        let state = self.state.borrow();
        Now { instant: state.now(), unix_ms: state.unix_ms }
    }

    fn waker(&self) -> Wake {
        let woken = self.state.borrow().hosts.get(self.host).map(|host| Arc::clone(&host.woken)).unwrap_or_default();
        Arc::new(move || woken.store(true, Ordering::Release))
    }
}

impl State {
    fn new_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
        self.next_port
    }

    /// Ends the poll of `index`, with the events there are.
    fn wake_up(&mut self, index: usize, events: &mut Vec<Event>) {
        let mut ready = VecDeque::new();
        if let Some(host) = self.hosts.get_mut(index) {
            host.sleep = Sleep::Awake;
            host.woken.store(false, Ordering::Release);
            std::mem::swap(&mut host.ready, &mut ready);
        }
        let before = events.len();
        for _ in 0..self.faults.events_per_poll {
            let Some(source) = ready.pop_front() else { break };
            events.extend(self.event(source));
        }
        if let Some(host) = self.hosts.get_mut(index) {
            host.ready = ready;
        }
        if self.strikes(NetFault::SpuriousEvent) {
            events.extend(self.spurious_event(index));
        }
        let fresh = events.get(before..).unwrap_or_default();
        self.progress += fresh.len() as u64;
        let bits = |event: &Event| {
            u64::from(event.readable)
                | u64::from(event.writable) << 1
                | u64::from(event.read_closed) << 2
                | u64::from(event.urgent) << 3
        };
        self.trace.note(&[5, fresh.len() as u64]);
        for event in fresh {
            self.trace.note(&[event.token as u64, bits(event)]);
        }
    }

    /// The current state of `source` as an event; `None` if there is nothing to report.
    fn event(&mut self, source: EventSource) -> Option<Event> {
        match source {
            EventSource::Listener(address) => {
                let backlog = self.listeners.get_mut(&address)?;
                backlog.watch.listed = false;
                let token = backlog.watch.token;
                (!backlog.waiting.is_empty()).then_some(Event {
                    token,
                    readable: true,
                    writable: false,
                    read_closed: false,
                    urgent: false,
                })
            }
            EventSource::SocketEnd(id) => {
                let writable = self.is_writable(id);
                let end = self.end(id)?;
                let (readable, read_closed) = (end.is_readable(), end.is_read_closed());
                let urgent = readable && end.mark.is_some();
                let watch = end.watch.as_mut()?;
                watch.listed = false;
                let event = Event { token: watch.token, readable, writable, read_closed, urgent };
                (readable || writable).then_some(event)
            }
        }
    }

    fn spurious_event(&mut self, index: usize) -> Option<Event> {
        let mut tokens: Vec<usize> = self.hosts.get(index)?.stale.iter().copied().collect();
        let watches = self.ends.iter().filter_map(|(_, end)| end.watch);
        let listeners = self.listeners.values().map(|backlog| backlog.watch);
        tokens.extend(watches.chain(listeners).filter(|watch| watch.host == index).map(|watch| watch.token));
        let token = *self.random.pick(&tokens)?;
        Some(Event { token, readable: true, writable: true, read_closed: false, urgent: false })
    }
}
