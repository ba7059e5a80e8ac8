//! The loop: one thread, one poller, one service, many connections.

mod arrivals;
mod commit;
mod handle;
mod handshake_queue;
mod links;
mod listener;
mod loop_set;
mod memory;
mod memory_account;
mod occupancy;
mod operators;
mod peers;
mod reload;
mod servers;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use handle::Handle;
pub use listener::{BindError, Bound, ListenerConfig};
pub use occupancy::Occupancy;
pub use servers::Servers;

pub use crate::access::Security;
use crate::connection::{Completion, Connection, Context, Link, Loss, PeerId, Phase, Service, Transmitted};
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::net::{Event, Net};
use crate::timer::{Deadlines, after};
use handshake_queue::HandshakeQueue;
use listener::Listeners;
use loop_set::{LoopMember, LoopSet};
use memory_account::MemoryAccount;
use peers::{Peer, Peers};
use reload::Reload;
use waiting::Waiting;

/// Serves one [`Service`] on any number of listeners.
///
/// Everything happens in [`turn`](Self::turn), which is the table of contents of the program. Events only mark what is
/// ready; work is done at the loop's own pace, bounded for each peer, so that no client can delay the others.
pub struct Server<N: Net, S: Service> {
    net: N,
    context: Context<S>,
    listeners: Listeners<N>,
    peers: Peers<N::Socket, S>,
    /// Peers of `--admin` listeners, the oldest first; some may have ended.
    operators: Vec<PeerId>,
    /// Established peers with work, in order of arrival.
    ready: VecDeque<PeerId>,
    /// Peers with handshake bytes to work on.
    handshake_queue: HandshakeQueue,
    /// Peers that were worked on in this turn and may have something to send.
    to_transmit: Vec<PeerId>,
    deadlines: Deadlines<PeerId>,
    memory_account: MemoryAccount,
    events: Vec<Event>,
    completions: mpsc::Receiver<Completion>,
    /// Peers whose replies wait until their changes are durable.
    held: Vec<PeerId>,
    /// Peers whose backends have no room for another connection yet.
    waiting: Waiting,
    reload: Reload,
    /// This loop's part in the set of loops that serve together.
    membership: LoopMember<N::Socket>,
    state: RunState,
    /// When the service wants its next tick.
    tick_in: Option<Duration>,
}

/// Whether the server accepts new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunState {
    Running,
    /// Stopping: requests that clients have sent are served, until the deadline.
    Draining {
        deadline: Instant,
    },
}

/// Whether another turn is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call [`Server::turn`] again.
    Running,
    /// The server was asked to stop, and its last connection has closed.
    Stopped,
}

/// Memory of closed connections that one turn frees. What a service must undo for a session (watched keys) takes time in
/// proportion: 16,384 keys are 2 MB and half a millisecond.
const REAP_BYTES: usize = 4 << 20;

impl<N: Net, S: Service> Server<N, S> {
    /// Binds the listeners. Nothing is accepted before the first turn.
    ///
    /// # Errors
    ///
    /// The first listener whose address cannot be bound.
    pub fn new(mut net: N, service: S, listeners: Vec<ListenerConfig>, limits: Limits) -> Result<Self, BindError> {
        let sockets = Bound::new(&mut net, &limits, listeners.iter().map(|listener| listener.address))?;
        Ok(Self::on(sockets, net, service, listeners, limits))
    }

    /// A server on sockets that were bound earlier, one for each of `listeners`, in the same order. The caller can so
    /// check that the addresses are free before it makes other resources.
    pub(crate) fn on(sockets: Bound<N>, net: N, service: S, listeners: Vec<ListenerConfig>, limits: Limits) -> Self {
        let (membership, _) = LoopSet::of_loops(net.waker(), Vec::new(), &security_of(&listeners), net.now().instant);
        Self::in_set(membership, Some(sockets), net, service, listeners, limits)
    }

    /// A server of a set of loops. The first one has the sockets.
    fn in_set(
        membership: LoopMember<N::Socket>,
        sockets: Option<Bound<N>>,
        mut net: N,
        service: S,
        listeners: Vec<ListenerConfig>,
        limits: Limits,
    ) -> Self {
        net.set_keepalive(limits.keepalive);
        let (mut context, completions) = Context::new(service, limits, security_of(&listeners), net.waker(), net.now());
        context.env.addresses = membership.addresses();
        context.env.published = membership.published();
        Self {
            net,
            context,
            listeners: Listeners::new(sockets, listeners),
            peers: Peers::new(membership.index(), membership.loops()),
            operators: Vec::new(),
            ready: VecDeque::new(),
            handshake_queue: HandshakeQueue::default(),
            to_transmit: Vec::new(),
            deadlines: Deadlines::default(),
            memory_account: MemoryAccount::default(),
            events: Vec::new(),
            completions,
            held: Vec::new(),
            waiting: Waiting::default(),
            reload: Reload::default(),
            membership,
            state: RunState::Running,
            tick_in: Some(Duration::ZERO),
        }
    }

    /// The bound addresses, in the order of the listeners.
    pub fn addresses(&self) -> io::Result<Vec<std::net::SocketAddr>> {
        Ok(self.listeners.addresses())
    }

    /// A handle to stop this server from another thread or a signal handler.
    pub fn handle(&self) -> Handle {
        Handle::new(self.membership.set().clone())
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.context.env.metrics
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.context.service
    }

    /// The service, to set it up before the first turn and to close it after the last.
    pub fn service_mut(&mut self) -> &mut S {
        &mut self.context.service
    }

    /// Open connections from clients and operators, including those in the handshake.
    pub fn connections(&self) -> usize {
        self.peers.accepted()
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
    /// - *wait*: events set readiness bits, nothing more, so that all further work can be bounded and ordered;
    /// - *reload* before everything else: all handshakes of a turn are verified by one policy;
    /// - *accept* before *receive*: the backlog has waited longest, and accepting costs next to nothing;
    /// - *receive*: all requests of established clients are executed before anything is sent;
    /// - *commit* before *transmit*: changes are submitted to the disk as one group; completed deferred replies, and
    ///   held ones that are durable by now, leave in the same write as the others;
    /// - *transmit*: each socket is written once, however many replies it is owed;
    /// - *handshake* after it: no reply waits for another client's key exchange. Flights, and requests right after the
    ///   last flight, are sent in the next turn, committed like all others;
    /// - *expire* last: a freed slot is not reused while an event of this turn may still name it.
    pub fn turn(&mut self) -> io::Result<Status> {
        self.wait()?;
        self.reload();
        self.accept();
        self.receive();
        self.commit();
        self.transmit();
        self.handshake();
        self.expire();
        let status = self.status();
        if status == Status::Stopped {
            // Other loops may drain for long after this one: it must not look as if its turn did not end.
            self.membership.end_turn();
        }
        Ok(status)
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let timeout = self.poll_timeout();
        self.membership.end_turn();
        self.net.poll(&mut events, timeout)?;
        self.context.env.now = self.net.now();
        self.membership.begin_turn();
        for event in events.drain(..) {
            if !self.listeners.note_event(event.token) {
                self.note_event(event);
            }
        }
        self.events = events;
        Ok(())
    }

    /// How long the loop may sleep: not at all while work is left.
    fn poll_timeout(&self) -> Option<Duration> {
        let left_over = !self.ready.is_empty() || !self.handshake_queue.is_empty() || !self.to_transmit.is_empty();
        let left_over = left_over || self.reload.is_under_way() || self.peers.has_closed();
        let left_over = left_over || self.membership.arriving() > 0;
        if left_over || self.listeners.are_ready(self.context.env.now.instant) {
            return Some(Duration::ZERO);
        }
        let now = self.context.env.now.instant;
        let drain = match self.state {
            RunState::Running => None,
            RunState::Draining { deadline } => Some(deadline.saturating_duration_since(now)),
        };
        let resume = self.listeners.until_resumed(now);
        let dial = self.waiting.until_next(now);
        let publication = self.membership.until_publication(now);
        [self.deadlines.until_next(now), self.tick_in, drain, resume, dial, publication].into_iter().flatten().min()
    }

    fn note_event(&mut self, event: Event) {
        let id = PeerId::from_token(event.token);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.connection.note_event(event.readable, event.writable, event.read_closed);
            if event.urgent {
                peer.connection.notice_urgent();
            }
            enqueue(peer, &mut self.ready, &mut self.handshake_queue);
        }
    }

    fn receive(&mut self) {
        for _ in 0..self.ready.len().min(self.context.env.limits.peers_per_turn) {
            let Some(id) = self.ready.pop_front() else { break };
            self.receive_from(id);
            // Replies are sent before more is received, so that one turn does not hold the replies of all peers.
            if self.is_over_memory() {
                break;
            }
        }
    }

    fn handshake(&mut self) {
        if self.handshake_queue.is_empty() {
            return;
        }
        let slice_end = after(self.net.now().instant, self.context.env.limits.handshake_slice);
        while let Some(id) = self.handshake_queue.pop() {
            self.receive_from(id);
            if self.net.now().instant >= slice_end {
                break;
            }
        }
    }

    fn receive_from(&mut self, id: PeerId) {
        self.measure_link_room(id);
        self.prepare_operator(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.queued = false;
        let is_late = peer
            .connection
            .deadline(&self.context.env.limits)
            .is_some_and(|deadline| deadline <= self.context.env.now.instant);
        if peer.connection.phase() == Phase::Connecting {
            peer.connection.note_connecting(self.net.is_connected(&peer.socket), &mut self.context);
        }
        let was_handshaking = peer.connection.phase() == Phase::Handshaking;
        if was_handshaking && is_late {
            // Past its deadline: closed before it costs more cryptography.
            peer.connection.expire(&mut self.context);
        } else {
            peer.connection.receive(&mut peer.socket, &mut self.context);
            if self.state != RunState::Running && (peer.connection.is_at_rest() || peer.connection.is_silent()) {
                peer.connection.end(Disconnect::Shutdown, self.context.env.now.instant, &mut self.context.env.scratch);
            }
        }
        queue_transmit(peer, &mut self.to_transmit);
        self.settle_operator(id);
        if was_handshaking {
            self.count_certificates(id);
        }
        self.weigh(id);
        self.apply_effects();
    }

    fn commit(&mut self) {
        let Context { service, env } = &mut self.context;
        env.client_memory = self.memory_account.total().saturating_add(self.membership.others_memory());
        let tick = service.tick(env);
        self.tick_in = tick.again_in;
        while let Ok(completion) = self.completions.try_recv() {
            if let Some(peer) = self.peers.get_mut(completion.peer) {
                peer.connection.complete(completion.sequence, completion.reply, &mut self.context.env.scratch);
                queue_transmit(peer, &mut self.to_transmit);
            }
        }
        self.answer_held(tick.commits);
    }

    fn transmit(&mut self) {
        let mut batch = std::mem::take(&mut self.to_transmit);
        for id in batch.drain(..) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.to_transmit = false;
            if peer.connection.transmit(&mut peer.socket, &mut self.context) == Transmitted::ShutdownWrite {
                // This fails only if the peer is gone, which the next read reports.
                let _ = self.net.shutdown_write(&peer.socket);
            }
            if peer.connection.wants_delivery() {
                // If the system does not report the delivery, the accepted bytes must do.
                let delivery = self.net.delivery(&peer.socket).unwrap_or_default();
                peer.connection.note_delivery(delivery, &self.context.env.limits, self.context.env.now.instant);
            }
            self.reschedule(id);
            self.resume_sender(id);
        }
        // Peers touched meanwhile are on the list already, so it must not be lost.
        batch.append(&mut self.to_transmit);
        self.to_transmit = batch;
    }

    /// After work on a peer: closes it, queues it for more, or arms its deadline.
    fn reschedule(&mut self, id: PeerId) {
        self.weigh(id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connection.phase() == Phase::Closed {
            return self.peers.mark_closed(id);
        }
        self.memory_account.place(id, &mut peer.memory_share);
        if peer.connection.wants_turn(&self.context.env.limits) {
            enqueue(peer, &mut self.ready, &mut self.handshake_queue);
        }
        if let Some(deadline) = peer.connection.deadline(&self.context.env.limits)
            && peer.deadline_entries.set(deadline)
        {
            self.deadlines.insert(deadline, id);
        }
    }

    fn expire(&mut self) {
        for _ in 0..self.context.env.limits.peers_per_turn {
            let Some(id) = self.deadlines.pop_due(self.context.env.now.instant) else { break };
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if peer.deadline_entries.fire(self.context.env.now.instant) {
                self.query_delivery_before_expiry(id);
                let Some(peer) = self.peers.get_mut(id) else { continue };
                peer.connection.expire(&mut self.context);
                // It may be finished with nothing left to write, which no event reports.
                queue_transmit(peer, &mut self.to_transmit);
                self.reschedule(id);
            }
        }
        self.dial_again();
        self.keep_memory_limit();
        self.stop_if_asked();
        self.reap();
        let Self { handshake_queue, peers, .. } = self;
        handshake_queue.prune(peers.len(), |id| peers.get(id).is_some());
        self.publish();
    }

    /// Publishes what other loops need to know of this one.
    fn publish(&mut self) {
        let clients = self.own_clients();
        let Context { env, .. } = &self.context;
        self.membership.publish(clients, &self.memory_account, &env.metrics, env.now.instant);
    }

    /// A peer past its deadline may still be reading what its socket holds, or, on a link, its own bytes may still be
    /// read from the socket at the other end. That is progress, and it is queried before the deadline closes the peer.
    fn query_delivery_before_expiry(&mut self, id: PeerId) {
        let (limits, now) = (&self.context.env.limits, self.context.env.now.instant);
        let Some(peer) = self.peers.get(id).filter(|peer| peer.connection.wants_delivery_before_expiry(limits, now))
        else {
            return;
        };
        // A lingering connection is independent of its link.
        let link = peer.connection.info().link.filter(|_| peer.connection.phase() != Phase::Lingering);
        let partner = link.map(Link::peer);
        let both = [Some(id), partner].into_iter().flatten();
        let mut is_moving = false;
        for id in both.clone() {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let delivery = self.net.delivery(&peer.socket).unwrap_or_default();
            is_moving |= peer.connection.note_delivery(delivery, limits, now);
        }
        for id in both.filter(|_| is_moving) {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.connection.keep_waiting(now);
            }
        }
    }

    /// Frees the slots of closed peers, and informs their links.
    fn reap(&mut self) {
        let mut freed = 0;
        for _ in 0..self.context.env.limits.peers_per_turn {
            let Some(mut peer) = self.peers.reap() else { break };
            freed += peer.connection.memory() + peer.connection.certificate_memory();
            self.listeners.resume();
            self.forget_memory(&mut peer);
            let was_opened = peer.connection.was_opened();
            if peer.connection.must_reset() {
                // This fails only if the peer is gone.
                let _ = self.net.reset_when_dropped(&peer.socket);
            }
            peer.connection.retire(&mut self.context);
            let reason = log_end(&peer, was_opened, self.listeners.label(peer.connection.info().listener));
            if !peer.connection.info().is_dialed() {
                self.context.env.metrics.disconnected(reason);
            }
            if let Some(link) = peer.connection.info().link {
                let loss = Loss { reason, detail: peer.connection.detail().into() };
                self.unlink(link, was_opened, &loss);
            }
            self.apply_effects();
            if freed > REAP_BYTES {
                break;
            }
        }
    }

    fn stop_if_asked(&mut self) {
        let overdue = match self.state {
            RunState::Running if self.membership.set().is_stopping() => {
                self.begin_drain();
                false
            }
            RunState::Running => false,
            RunState::Draining { deadline } => deadline <= self.context.env.now.instant,
        };
        if overdue {
            self.listeners.close();
            for id in self.peers.ids() {
                let peer = self.peers.get_mut(id);
                if let Some(peer) = peer.filter(|peer| peer.connection.phase() != Phase::Closed) {
                    peer.connection.close(Disconnect::Shutdown, &mut self.context.env.scratch);
                    self.peers.mark_closed(id);
                }
            }
        }
        if self.state != RunState::Running && self.listeners.are_closed() {
            self.membership.end_accepting();
        }
    }

    /// Stops accepting after the connections that wait already, and reads every client's socket once more: what has
    /// arrived is still served.
    fn begin_drain(&mut self) {
        let connections = self.membership.clients_of_all(self.peers.len());
        if self.membership.index() == 0 {
            tracing::info!(connections, "stopping: no new connections, finishing what was received");
        }
        self.state =
            RunState::Draining { deadline: after(self.context.env.now.instant, self.context.env.limits.drain_timeout) };
        self.listeners.last_call();
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.connection.note_event(true, false, false);
                enqueue(peer, &mut self.ready, &mut self.handshake_queue);
            }
        }
    }

    fn status(&self) -> Status {
        let is_empty = self.peers.len() == 0 && self.listeners.are_closed() && self.membership.has_last_arrival();
        let is_done = self.state != RunState::Running && is_empty;
        if is_done || self.membership.set().is_abandoned() { Status::Stopped } else { Status::Running }
    }
}

fn security_of(listeners: &[ListenerConfig]) -> Vec<Security> {
    listeners.iter().map(|listener| listener.security.clone()).collect()
}

/// Adds a peer to the queue of its kind, once.
fn enqueue<K, S: Service>(peer: &mut Peer<K, S>, ready: &mut VecDeque<PeerId>, handshake_queue: &mut HandshakeQueue) {
    if std::mem::replace(&mut peer.queued, true) {
        return;
    }
    let connection = &peer.connection;
    if connection.phase() == Phase::Handshaking {
        handshake_queue.push(connection.id(), connection.awaits_finished());
    } else {
        ready.push_back(connection.id());
    }
}

/// Notes that a peer may have something to send in this turn, once.
fn queue_transmit<K, S: Service>(peer: &mut Peer<K, S>, to_transmit: &mut Vec<PeerId>) {
    if !std::mem::replace(&mut peer.to_transmit, true) {
        to_transmit.push(peer.connection.id());
    }
}

/// Logs a connection's end in one line. `was_opened` is from before it was retired, which clears it.
fn log_end<K, S: Service>(peer: &Peer<K, S>, was_opened: bool, listener: &str) -> Disconnect {
    let connection: &Connection<S> = &peer.connection;
    let reason = connection.reason().unwrap_or(Disconnect::PeerClosed);
    let info = connection.info();
    let (id, name) = (info.id, reason.name());
    // `None` keeps an empty field out of the line.
    let detail = Some(connection.detail()).filter(|detail| !detail.is_empty());
    let side = if info.is_dialed() { "backend" } else { "client" };
    // A backend connection that ends because its client left, or because the server stops, has not failed to connect.
    let is_own = !matches!(reason, Disconnect::Upstream | Disconnect::Shutdown | Disconnect::Memory);
    if info.is_dialed() && !was_opened && is_own {
        tracing::warn!(peer = %info.address, %id, listener, side, reason = name, detail, "cannot connect");
    } else {
        tracing::info!(peer = %info.address, %id, listener, side, reason = name, detail, "connection closed");
    }
    reason
}

#[cfg(test)]
mod tests;
