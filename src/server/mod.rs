//! The loop: one thread, one poller, one service, many connections.

mod admission;
mod effects;
mod handle;
mod held;
mod listener;
mod peers;
mod reload;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use handle::Handle;
pub use listener::ListenerConfig;

pub use crate::access::Security;
use crate::connection::{Completion, Connection, Effects, Mailbox, PeerId, Phase, Scratch, Service, Transmitted, Turn};
use crate::limits::Limits;
use crate::metrics::{Disconnect, Metrics};
use crate::net::{Event, Net};
use crate::timer::{Deadlines, Now};
use admission::Admission;
use listener::Listeners;
use peers::{Peer, Peers};
use reload::Reload;

/// Serves one [`Service`] on any number of listeners.
///
/// Everything happens in [`turn`](Self::turn), which is the table of contents of the program. Events only mark what is
/// ready; work is done at the loop's own pace, bounded for each peer, so that no client can hold up its neighbours.
pub struct Server<N: Net, S: Service> {
    net: N,
    service: S,
    listeners: Listeners<N>,
    peers: Peers<N::Socket, S>,
    /// Established peers with work, first come, first served.
    ready: VecDeque<PeerId>,
    /// Peers with handshake bytes to work on.
    admission: Admission,
    /// Peers that were worked on in this turn and may have something to send.
    touched: Vec<PeerId>,
    deadlines: Deadlines<PeerId>,
    events: Vec<Event>,
    scratch: Scratch,
    mailbox: Mailbox,
    completions: mpsc::Receiver<Completion>,
    /// Peers whose replies wait until what they tell of is durable.
    held: Vec<PeerId>,
    /// What connections want done to others; empty between their turns.
    effects: Effects,
    metrics: Metrics,
    limits: Limits,
    reload: Reload,
    handle: Handle,
    stage: Stage,
    /// How soon the service wants its next tick.
    tick_in: Option<Duration>,
    now: Now,
}

/// Whether the server takes new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Stopping: clients finish what they have sent, until the deadline.
    Draining {
        deadline: Instant,
    },
}

/// Whether another turn is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call [`Server::turn`] again.
    Running,
    /// The server was asked to stop, and its last connection is closed.
    Stopped,
}

/// What a server remembers, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// Open connections.
    pub connections: usize,
    /// Names of connections on queues of work, those included that have gone since.
    pub queued: usize,
    /// Entries among the deadlines, stale ones included.
    pub deadlines: usize,
}

impl<N: Net, S: Service> Server<N, S> {
    /// Binds the listeners. Nothing is accepted before the first turn.
    ///
    /// # Errors
    ///
    /// The index of the listener whose address cannot be bound, and why.
    pub fn new(
        mut net: N,
        service: S,
        listeners: Vec<ListenerConfig>,
        limits: Limits,
    ) -> Result<Self, (usize, io::Error)> {
        let security = listeners.iter().map(|listener| listener.security.clone()).collect();
        let listeners = Listeners::bind(&mut net, listeners)?;
        let wake = net.waker();
        let (mailbox, completions) = Mailbox::new(wake.clone());
        let (orders, received) = mpsc::channel();
        let now = net.now();
        Ok(Self {
            net,
            service,
            listeners,
            peers: Peers::default(),
            ready: VecDeque::new(),
            admission: Admission::default(),
            touched: Vec::new(),
            deadlines: Deadlines::default(),
            events: Vec::new(),
            scratch: Scratch::default(),
            mailbox,
            completions,
            held: Vec::new(),
            effects: Effects::default(),
            metrics: Metrics::default(),
            limits,
            reload: Reload::new(security, received),
            handle: Handle::new(wake, orders),
            stage: Stage::Running,
            tick_in: Some(Duration::ZERO),
            now,
        })
    }

    /// The addresses that were really bound, in the order of the listeners.
    pub fn addresses(&self) -> io::Result<Vec<std::net::SocketAddr>> {
        Ok(self.listeners.addresses())
    }

    /// The way to stop this server from another thread or a signal handler.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// The service, to set it up before the first turn and to close it behind the last.
    pub fn service_mut(&mut self) -> &mut S {
        &mut self.service
    }

    /// Open connections from clients, those still shaking hands included.
    pub fn connections(&self) -> usize {
        self.peers.accepted()
    }

    /// What the server still remembers. Everything is zero when no connection is open and every deadline has passed.
    pub fn residue(&self) -> Residue {
        Residue {
            connections: self.peers.len(),
            queued: self.ready.len() + self.admission.len() + self.touched.len(),
            deadlines: self.deadlines.len(),
        }
    }

    /// The most memory that any one connection holds, in bytes, outside the TLS library. It visits every connection.
    pub fn largest_connection(&self) -> usize {
        self.peers.iter().map(|peer| peer.connection.memory()).max().unwrap_or(0)
    }

    /// Serves until [`Handle::stop`] has been called and all connections are closed.
    ///
    /// # Errors
    ///
    /// The poller's, which no client can cause.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn()? == Status::Running {}
        Ok(())
    }

    /// One turn of the loop. Each phase must come before the next:
    ///
    /// - *wait*: events set readiness bits, nothing more, so that all that follows can be bounded and ordered;
    /// - *reload* before everything else: a turn's handshakes are judged by one policy;
    /// - *accept* before *receive*: what waits longest is the backlog, and taking a socket costs next to nothing;
    /// - *receive*: everything ready is executed before anything is sent, established clients before handshakes;
    /// - *settle* before *transmit*: what was changed is handed to the disk as one group; deferred replies that are
    ///   complete, and held ones that are true by now, leave in the same write as the others;
    /// - *transmit*: each touched socket is written once, whatever number of replies it is owed;
    /// - *expire* last: a slot that was freed is not reused while an event of this turn may still name it.
    pub fn turn(&mut self) -> io::Result<Status> {
        self.wait()?;
        self.reload();
        self.accept();
        self.receive();
        self.settle();
        self.transmit();
        self.expire();
        Ok(self.status())
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.net.poll(&mut events, self.patience())?;
        self.now = self.net.now();
        for event in events.drain(..) {
            if !self.listeners.notice(event.token) {
                self.notice(event);
            }
        }
        self.events = events;
        Ok(())
    }

    /// How long the loop may sleep: not at all while work is left.
    fn patience(&self) -> Option<Duration> {
        let left_over = !self.ready.is_empty() || !self.admission.is_empty() || !self.touched.is_empty();
        let left_over = left_over || self.reload.is_under_way();
        if left_over || self.listeners.are_ready(self.now.instant) {
            return Some(Duration::ZERO);
        }
        let now = self.now.instant;
        let drain = match self.stage {
            Stage::Running => None,
            Stage::Draining { deadline } => Some(deadline.saturating_duration_since(now)),
        };
        let resume = self.listeners.until_resumed(now);
        [self.deadlines.until_next(now), self.tick_in, drain, resume].into_iter().flatten().min()
    }

    fn notice(&mut self, event: Event) {
        let id = PeerId::from_token(event.token);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.connection.notice(event.readable, event.writable, event.read_closed);
            enqueue(peer, &mut self.ready, &mut self.admission);
        }
    }

    fn receive(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            self.receive_from(id);
        }
        let slice_end = self.now.instant + self.limits.handshake_slice;
        while let Some(id) = self.admission.pop() {
            self.receive_from(id);
            if self.net.now().instant >= slice_end {
                break;
            }
        }
    }

    fn receive_from(&mut self, id: PeerId) {
        self.measure_room(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.queued = false;
        let is_late = peer.connection.deadline(&self.limits).is_some_and(|deadline| deadline <= self.now.instant);
        if peer.connection.phase() == Phase::Handshaking && is_late {
            // Past its deadline: dropped before it costs any more crypto.
            peer.connection.expire(self.now.instant, &self.limits, &mut self.scratch);
        } else {
            let mut turn = Turn {
                service: &mut self.service,
                scratch: &mut self.scratch,
                metrics: &mut self.metrics,
                limits: &self.limits,
                mailbox: &self.mailbox,
                effects: &mut self.effects,
                security: &self.reload.security,
                now: self.now,
            };
            peer.connection.receive(&mut peer.socket, &mut turn);
            if self.stage != Stage::Running && peer.connection.is_at_rest() {
                peer.connection.end(Disconnect::Shutdown, self.now.instant, &mut self.scratch);
            }
        }
        touch(peer, &mut self.touched);
        self.apply_effects();
    }

    fn settle(&mut self) {
        self.tick_in = self.service.tick(self.now);
        while let Ok(completion) = self.completions.try_recv() {
            if let Some(peer) = self.peers.get_mut(completion.peer) {
                peer.connection.complete(completion.sequence, completion.reply, &mut self.scratch);
                touch(peer, &mut self.touched);
            }
        }
        self.settle_held();
    }

    fn transmit(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.touched = false;
            let mut turn = Turn {
                service: &mut self.service,
                scratch: &mut self.scratch,
                metrics: &mut self.metrics,
                limits: &self.limits,
                mailbox: &self.mailbox,
                effects: &mut self.effects,
                security: &self.reload.security,
                now: self.now,
            };
            if peer.connection.transmit(&mut peer.socket, &mut turn) == Transmitted::ShutdownWrite {
                // Fails only when the peer is gone, which the next read will tell.
                let _ = self.net.shutdown_write(&peer.socket);
            }
            self.file(id);
            self.relieve(id);
        }
        self.touched = touched;
    }

    /// After work on a peer: it is closed, or queued for more, or armed for its deadline, or simply idle.
    fn file(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connection.phase() == Phase::Closed {
            return self.peers.doom(id);
        }
        if peer.connection.wants_turn(&self.limits) {
            enqueue(peer, &mut self.ready, &mut self.admission);
        }
        if let Some(deadline) = peer.connection.deadline(&self.limits)
            && peer.armed.is_none_or(|armed| deadline < armed)
        {
            peer.armed = Some(deadline);
            self.deadlines.insert(deadline, id);
        }
    }

    fn expire(&mut self) {
        while let Some(id) = self.deadlines.pop_due(self.now.instant) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if peer.armed.is_some_and(|armed| armed <= self.now.instant) {
                peer.armed = None;
                peer.connection.expire(self.now.instant, &self.limits, &mut self.scratch);
                self.file(id);
            }
        }
        self.stop_if_asked();
        while let Some(mut peer) = self.peers.bury() {
            let was_opened = peer.connection.was_opened();
            peer.connection.retire(&mut self.service);
            let reason = log_end(&peer);
            if !peer.connection.info().is_dialed() {
                self.metrics.disconnected(reason);
            }
            if let Some(link) = peer.connection.info().link {
                self.unlink(link, was_opened);
            }
            self.apply_effects();
        }
        let Self { admission, peers, .. } = self;
        admission.prune(peers.len(), |id| peers.get(id).is_some());
    }

    fn stop_if_asked(&mut self) {
        let overdue = match self.stage {
            Stage::Running if self.handle.is_stopping() => {
                self.begin_drain();
                false
            }
            Stage::Running => false,
            Stage::Draining { deadline } => deadline <= self.now.instant,
        };
        if overdue {
            for id in self.peers.ids() {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.connection.close(Disconnect::Shutdown, &mut self.scratch);
                }
                self.peers.doom(id);
            }
        }
    }

    /// Stops accepting and gives every client a last look at its socket: what has arrived is still served.
    fn begin_drain(&mut self) {
        tracing::info!(connections = self.peers.len(), "stopping: no new connections, finishing what was received");
        self.stage = Stage::Draining { deadline: self.now.instant + self.limits.drain_timeout };
        self.listeners.close();
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.connection.notice(true, false, false);
                enqueue(peer, &mut self.ready, &mut self.admission);
            }
        }
    }

    fn status(&self) -> Status {
        let done = self.stage != Stage::Running && self.peers.len() == 0;
        if done { Status::Stopped } else { Status::Running }
    }
}

/// Puts a peer on the queue of its kind, once.
fn enqueue<K, S: Service>(peer: &mut Peer<K, S>, ready: &mut VecDeque<PeerId>, admission: &mut Admission) {
    if std::mem::replace(&mut peer.queued, true) {
        return;
    }
    let connection = &peer.connection;
    if connection.phase() == Phase::Handshaking {
        admission.push(connection.id(), connection.is_half_shaken());
    } else {
        ready.push_back(connection.id());
    }
}

/// Notes that a peer may have something to send in this turn, once.
fn touch<K, S: Service>(peer: &mut Peer<K, S>, touched: &mut Vec<PeerId>) {
    if !std::mem::replace(&mut peer.touched, true) {
        touched.push(peer.connection.id());
    }
}

/// The one line that a connection's end is worth.
fn log_end<K, S: Service>(peer: &Peer<K, S>) -> Disconnect {
    let connection: &Connection<S> = &peer.connection;
    let reason = connection.reason().unwrap_or(Disconnect::PeerClosed);
    let info = connection.info();
    tracing::info!(
        peer = %info.address,
        id = %info.id,
        listener = info.listener,
        dialed = info.is_dialed(),
        reason = reason.name(),
        detail = connection.detail(),
        "connection closed"
    );
    reason
}

#[cfg(test)]
mod tests;
