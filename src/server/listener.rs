//! Listeners: where connections are accepted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::links::UNSPECIFIED;
use super::loop_set::Arrival;
use super::peers::Peer;
use super::{RunState, Server, enqueue, queue_transmit};
use crate::access::Security;
use crate::connection::{Connection, PeerInfo, Service};
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::net::{AcceptError, Net, Subnet};

/// How long accepting pauses when the process is out of descriptors: no event reports that one is free again.
const PAUSE: Duration = Duration::from_millis(100);

/// The most connections still accepted from one listener when the server stops: as many as can wait in its queue, so
/// that new ones arriving all the time do not keep it open.
const LAST_CALL: usize = 65_535;

/// Tokens with the highest generation, which no peer has, belong to listeners.
const TOKENS: usize = (u32::MAX as usize) << 32;

/// One address to listen on.
#[derive(Clone)]
pub struct ListenerConfig {
    /// The address to bind; port 0 selects a free port.
    pub address: SocketAddr,
    /// TLS or plain, and the policy, until a [reload](super::Handle::reload).
    pub security: Security,
    /// Close a connection without a request for this long.
    pub idle_timeout: Option<Duration>,
    /// Balancers whose connections begin with a PROXY protocol header.
    pub balancers: Arc<[Subnet]>,
    /// Whether the listener is for operators: they have some places of their own ([`Limits::admin_connections`]), and
    /// do not count towards limits that clients reach together or by address. Limits on a single connection apply as
    /// for a client; its memory is not part of [`Limits::client_memory`].
    pub for_operators: bool,
}

impl ListenerConfig {
    /// A listener for clients, without idle timeout and balancers.
    #[must_use]
    pub fn new(address: SocketAddr, security: Security) -> Self {
        Self { address, security, idle_timeout: None, balancers: Arc::default(), for_operators: false }
    }
}

/// A listener's address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// The listener's index, in the order in which listeners were given.
    pub listener: usize,
    /// Its address.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub error: io::Error,
}

/// Bound sockets. Clients may connect from now on; they are accepted when a [`Server`] has its first turn.
pub struct Bound<N: Net>(Vec<(N::Listener, SocketAddr)>);

impl<N: Net> Bound<N> {
    /// Binds `addresses`, all or none. Accepted streams inherit options from their listener, so the limits are needed
    /// here.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub fn new(
        net: &mut N,
        limits: &Limits,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Self, BindError> {
        net.set_keepalive(limits.keepalive);
        let sockets = addresses.into_iter().enumerate().map(|(index, address)| {
            let failed = |error| BindError { listener: index, address, error };
            let socket = net.listen(address, TOKENS + index).map_err(failed)?;
            let bound = net.local_address(&socket).map_err(failed)?;
            Ok((socket, bound))
        });
        Ok(Self(sockets.collect::<Result<_, _>>()?))
    }

    /// The bound addresses, in order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(_, bound)| *bound)
    }
}

/// All listeners of a server.
pub(super) struct Listeners<N: Net> {
    all: Vec<Listener<N>>,
}

struct Listener<N: Net> {
    /// `None` when it is closed.
    socket: Option<N::Listener>,
    /// Its name in the log.
    label: String,
    /// How many more connections are accepted before it closes.
    calls: usize,
    bound: SocketAddr,
    idle_timeout: Option<Duration>,
    balancers: Arc<[Subnet]>,
    for_operators: bool,
    /// Connections may be waiting: the queue has not been found empty since the last event.
    ready: bool,
    /// No accepting before this instant. Each listener pauses alone, so that clients who find no descriptor do not
    /// exclude operators, for whom some are reserved.
    paused_until: Option<Instant>,
    /// The pause has been logged, and nothing was accepted since.
    said_so: bool,
}

impl<N: Net> Listener<N> {
    /// How long accepting is still paused.
    fn until_resumed(&self, now: Instant) -> Option<Duration> {
        self.paused_until.filter(|until| *until > now).map(|until| until - now)
    }
}

impl<N: Net> Listeners<N> {
    /// The sockets in the order of their `configs`; none on a loop that does not accept.
    pub(super) fn new(sockets: Option<Bound<N>>, configs: Vec<ListenerConfig>) -> Self {
        let mut sockets = sockets.map(|sockets| sockets.0.into_iter());
        let mut all = Vec::with_capacity(configs.len());
        for config in configs {
            let (socket, bound) = match sockets.as_mut().and_then(Iterator::next) {
                Some((socket, bound)) => (Some(socket), bound),
                None => (None, config.address),
            };
            let ListenerConfig { security, idle_timeout, balancers, for_operators, .. } = config;
            all.push(Listener {
                socket,
                label: format!("{}://{bound}", security.scheme()),
                calls: usize::MAX,
                bound,
                idle_timeout,
                balancers,
                for_operators,
                ready: true,
                paused_until: None,
                said_so: false,
            });
        }
        Self { all }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|listener| listener.bound).collect()
    }

    /// The name of the listener `index` in the log.
    pub(super) fn label(&self, index: usize) -> &str {
        self.all.get(index).map_or("", |listener| listener.label.as_str())
    }

    /// Whether `token` is a listener's; if so, it is marked as having connections waiting.
    pub(super) fn note_event(&mut self, token: usize) -> bool {
        let Some(index) = token.checked_sub(TOKENS) else { return false };
        if let Some(listener) = self.all.get_mut(index) {
            listener.ready = true;
        }
        true
    }

    pub(super) fn are_ready(&self, now: Instant) -> bool {
        self.open().any(|listener| listener.ready && listener.until_resumed(now).is_none())
    }

    fn open(&self) -> impl Iterator<Item = &Listener<N>> {
        self.all.iter().filter(|listener| listener.socket.is_some())
    }

    /// Whether no more connections are accepted.
    pub(super) fn are_closed(&self) -> bool {
        self.open().next().is_none()
    }

    /// When the first paused listener resumes.
    pub(super) fn until_resumed(&self, now: Instant) -> Option<Duration> {
        self.open().filter_map(|listener| listener.until_resumed(now)).min()
    }

    /// Pauses accepting, except for operators.
    #[cfg(test)]
    pub(super) fn pause_clients(&mut self, until: Instant) {
        for listener in self.all.iter_mut().filter(|listener| !listener.for_operators) {
            listener.paused_until = Some(until);
        }
    }

    /// A descriptor is free again: ends the pauses.
    pub(super) fn resume(&mut self) {
        for listener in &mut self.all {
            listener.paused_until = None;
        }
    }

    /// Clients in the queue may have sent requests already, and closing a listener resets them: each listener is closed
    /// when its queue has been found empty.
    pub(super) fn last_call(&mut self) {
        for listener in &mut self.all {
            listener.ready = true;
            listener.calls = LAST_CALL;
        }
    }

    /// Closes listeners whose queue has been accepted.
    fn close_called(&mut self) {
        let called = self.all.iter_mut().filter(|listener| !listener.ready || listener.calls == 0);
        called.for_each(|listener| listener.socket = None);
    }

    pub(super) fn close(&mut self) {
        self.all.iter_mut().for_each(|listener| listener.socket = None);
    }
}

impl<N: Net, S: Service> Server<N, S> {
    /// Accepts waiting connections, a bounded number from each listener, and takes those accepted for this loop.
    pub(super) fn accept(&mut self) {
        self.take_arrivals();
        for index in 0..self.listeners.all.len() {
            for _ in 0..self.context.env.limits.accepts_per_turn {
                if !self.accept_one(index) {
                    break;
                }
            }
        }
        if self.state != RunState::Running {
            self.listeners.close_called();
        }
    }

    /// Accepts one connection; `false` if this listener has no more for now.
    fn accept_one(&mut self, index: usize) -> bool {
        let now = self.context.env.now.instant;
        let listener = self.listeners.all.get_mut(index);
        let listener = listener.filter(|listener| listener.ready && listener.until_resumed(now).is_none());
        let Some(listener) = listener.filter(|listener| listener.calls > 0) else { return false };
        let Some(socket) = listener.socket.as_ref() else { return false };
        match self.net.accept(socket) {
            Ok((socket, address)) => {
                listener.calls -= 1;
                self.context.env.metrics.accepted += 1;
                listener.said_so = false;
                self.assign(index, socket, address);
                true
            }
            Err(AcceptError::Lost) => true,
            Err(AcceptError::Empty) => {
                listener.ready = false;
                false
            }
            Err(error @ (AcceptError::Exhausted(_) | AcceptError::Failed(_))) => {
                self.context.env.metrics.accept_pauses += 1;
                listener.paused_until = Some(now + PAUSE);
                if !std::mem::replace(&mut listener.said_so, true) {
                    let listener = self.listeners.label(index);
                    tracing::warn!(listener, %error, "accepting pauses until connections close");
                }
                false
            }
        }
    }

    /// Whether connections of `listener` are TLS, and whether they are operators'.
    pub(super) fn kind_of(&self, listener: usize) -> Option<(bool, bool)> {
        let security = self.context.env.security.get(listener)?;
        Some((security.is_tls(), self.listeners.all.get(listener)?.for_operators))
    }

    /// Opens a connection on a new socket, or refuses it.
    pub(super) fn welcome(&mut self, Arrival { listener, mut socket, address, refusal }: Arrival<N::Socket>) {
        let Some(session) = self.context.env.security.get(listener).map(Security::session) else { return };
        let Some(Listener { idle_timeout, balancers, for_operators, .. }) = self.listeners.all.get(listener) else {
            return;
        };
        let is_announced = balancers.iter().any(|balancer| balancer.contains(address.ip()));
        let (is_operator, idle_timeout) = (*for_operators, *idle_timeout);
        if is_operator {
            self.make_room_to_wait();
            self.allow_client_place(session.is_tls());
        }
        let id = self.peers.next_id();
        if let Err(error) = self.net.register(&mut socket, id.token()) {
            tracing::warn!(%error, "a socket cannot be watched");
            return self.context.env.metrics.disconnected(Disconnect::Io);
        }
        let local = self.local_address(listener, &socket);
        let info = PeerInfo { is_operator, ..PeerInfo::new(id, listener, address, local) };
        let connection = if is_announced {
            Connection::announced(session, info, idle_timeout, refusal, self.context.env.now.instant)
        } else {
            Connection::new(session, info, idle_timeout, refusal, &mut self.context)
        };
        if is_operator {
            self.operators.push(id);
        }
        self.add(Peer::new(socket, connection));
        self.settle_operator(id);
        if let Some(peer) = self.peers.get_mut(id) {
            queue_transmit(peer, &mut self.to_transmit);
            if self.state != RunState::Running {
                // Its requests are answered; if it has sent none, it is not waited for.
                peer.connection.note_event(true, false, false);
                enqueue(peer, &mut self.ready, &mut self.handshake_queue);
            }
        }
        self.apply_effects();
    }

    /// The local address of a client's connection; a system call only if the listener's own address does not determine
    /// it.
    fn local_address(&self, listener: usize, socket: &N::Socket) -> SocketAddr {
        let bound = self.listeners.all.get(listener).map(|listener| listener.bound);
        match bound.filter(|bound| !bound.ip().is_unspecified()) {
            Some(bound) => bound,
            None => self.net.local_address_of(socket).unwrap_or_else(|_| bound.unwrap_or(UNSPECIFIED)),
        }
    }
}
