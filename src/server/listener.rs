//! Where clients come in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::peers::Peer;
use super::{Server, touch};
use crate::connection::{Connection, PeerInfo, Service, Turn};
use crate::metrics::Disconnect;
use crate::net::{AcceptError, Net};
use crate::tls::Session;

/// How long accepting pauses when the process is out of descriptors: no event tells when one is free again.
const PAUSE: Duration = Duration::from_millis(100);

/// Tokens with the highest generation, which no peer has, name listeners.
const TOKENS: usize = (u32::MAX as usize) << 32;

/// One address to listen on.
#[derive(Clone)]
pub struct ListenerConfig {
    /// What to bind; port 0 picks a free one.
    pub address: SocketAddr,
    /// TLS or not.
    pub security: Security,
    /// Close a connection on which nothing was asked for so long.
    pub idle_timeout: Option<Duration>,
}

/// How a listener's connections are protected.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By TLS with this configuration.
    Tls(Arc<rustls::ServerConfig>),
}

impl Security {
    fn session(&self) -> Result<Session, rustls::Error> {
        match self {
            Self::Plain => Ok(Session::plain()),
            Self::Tls(config) => Session::server(Arc::clone(config)),
        }
    }
}

/// All listeners of a server.
pub(super) struct Listeners<N: Net> {
    all: Vec<Listener<N>>,
    /// No accepting before this instant.
    paused_until: Option<Instant>,
}

struct Listener<N: Net> {
    socket: N::Listener,
    config: ListenerConfig,
    /// Connections may be waiting: accepting has not met the end of the backlog since the last event.
    ready: bool,
}

impl<N: Net> Listeners<N> {
    pub(super) fn bind(net: &mut N, configs: Vec<ListenerConfig>) -> Result<Self, (usize, io::Error)> {
        let mut all = Vec::with_capacity(configs.len());
        for (index, config) in configs.into_iter().enumerate() {
            let socket = net.listen(config.address, TOKENS + index).map_err(|error| (index, error))?;
            all.push(Listener { socket, config, ready: true });
        }
        Ok(Self { all, paused_until: None })
    }

    pub(super) fn addresses(&self, net: &N) -> io::Result<Vec<SocketAddr>> {
        self.all.iter().map(|listener| net.local_address(&listener.socket)).collect()
    }

    /// Whether `token` names a listener, which then has connections waiting.
    pub(super) fn notice(&mut self, token: usize) -> bool {
        let Some(index) = token.checked_sub(TOKENS) else { return false };
        if let Some(listener) = self.all.get_mut(index) {
            listener.ready = true;
        }
        true
    }

    pub(super) fn are_ready(&self, now: Instant) -> bool {
        self.until_resumed(now).is_none() && self.all.iter().any(|listener| listener.ready)
    }

    /// How long accepting is still paused.
    pub(super) fn until_resumed(&self, now: Instant) -> Option<Duration> {
        self.paused_until.filter(|until| *until > now).map(|until| until - now)
    }

    pub(super) fn close(&mut self) {
        self.all.clear();
    }
}

impl<N: Net, S: Service> Server<N, S> {
    /// Takes waiting connections, a bounded number from each listener.
    pub(super) fn accept(&mut self) {
        if self.listeners.until_resumed(self.now.instant).is_some() {
            return;
        }
        for index in 0..self.listeners.all.len() {
            for _ in 0..self.limits.accepts_per_turn {
                if !self.accept_one(index) {
                    break;
                }
            }
        }
    }

    /// Takes one connection; `false` when this listener has no more for now.
    fn accept_one(&mut self, index: usize) -> bool {
        let Some(listener) = self.listeners.all.get_mut(index).filter(|listener| listener.ready) else { return false };
        match self.net.accept(&listener.socket) {
            Ok((socket, address)) => {
                self.metrics.accepted += 1;
                let (security, idle_timeout) = (listener.config.security.clone(), listener.config.idle_timeout);
                self.welcome(index, socket, address, &security, idle_timeout);
                true
            }
            Err(AcceptError::Lost) => true,
            Err(AcceptError::Empty) => {
                listener.ready = false;
                false
            }
            Err(error @ (AcceptError::Exhausted(_) | AcceptError::Failed(_))) => {
                self.metrics.accept_pauses += 1;
                self.listeners.paused_until = Some(self.now.instant + PAUSE);
                tracing::warn!(listener = index, %error, "accepting pauses for {} ms", PAUSE.as_millis());
                false
            }
        }
    }

    /// Opens a connection on a new socket, or turns it away.
    fn welcome(
        &mut self,
        listener: usize,
        mut socket: N::Socket,
        address: SocketAddr,
        security: &Security,
        idle_timeout: Option<Duration>,
    ) {
        let open = self.peers.len();
        let refusal = (open >= self.limits.connections).then_some(Disconnect::Refused);
        self.metrics.refused += u64::from(refusal.is_some());
        if open >= self.limits.connections + self.limits.refusals {
            // Not even a refusal can be afforded: dropping the socket is all that is left.
            return;
        }
        let id = self.peers.next_id();
        let session = match (security.session(), self.net.register(&mut socket, id.token())) {
            (Ok(session), Ok(())) => session,
            (Err(error), _) => return tracing::warn!(%error, "a TLS session cannot be made"),
            (_, Err(error)) => return tracing::warn!(%error, "a socket cannot be watched"),
        };
        let info = PeerInfo { id, listener, address, identity: None };
        let mut turn = Turn {
            service: &mut self.service,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            limits: &self.limits,
            mailbox: &self.mailbox,
            now: self.now,
        };
        let connection = Connection::new(session, info, idle_timeout, refusal, &mut turn);
        self.peers.insert(Peer::new(socket, connection));
        if let Some(peer) = self.peers.get_mut(id) {
            touch(peer, &mut self.touched);
        }
    }
}
