//! TLS for a server that exists already: every byte goes on to it, and its every byte comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use crate::access::{Class, Reach};
use crate::connection::{Dial, Exchange, Loss, PeerInfo, Served, Service};
use crate::disconnect::Disconnect;
use crate::net::{Address, Target};
use crate::protocol::proxy::{self, ClientCertificate, Endpoints};
use crate::tls;

/// Links each client's connection to one of its own to the same server, and forwards bytes between the two.
///
/// All that is hard about it (back-pressure, half-close, the loss of one end) is what a link does for any service.
pub struct Splice {
    target: Target,
    security: UpstreamSecurity,
    /// Tell the server who its client is, by a PROXY protocol header.
    announce: bool,
}

/// How connections to the server are protected.
#[derive(Clone)]
pub enum UpstreamSecurity {
    /// Not at all: the server is on this machine or behind a wall.
    Plain,
    /// By TLS, to a server of this name.
    Tls(Renewable<ClientConfig>, ServerName<'static>),
}

/// What another thread may replace for the connections to come. It is locked once for each of them.
#[derive(Debug)]
pub struct Renewable<T>(Arc<Mutex<Arc<T>>>);

impl<T> Renewable<T> {
    /// With this to begin with.
    #[must_use]
    pub fn new(first: Arc<T>) -> Self {
        Self(Arc::new(Mutex::new(first)))
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, use `next`.
    pub fn renew(&self, next: Arc<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl<T> Clone for Renewable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What is remembered of a client while its server is dialed: the addresses that were not tried yet. Empty for a
/// connection to the server.
pub struct Untried(VecDeque<Address>);

impl Splice {
    /// What a rule must grant, by name, to a client that is to be let in where there are rules.
    pub const CONNECT: &str = "connect";

    /// What `name`, in any case, is about if a rule may grant it.
    #[must_use]
    pub fn reach(name: &str) -> Option<Reach> {
        name.eq_ignore_ascii_case(Self::CONNECT).then_some(Reach::Server)
    }

    /// Forwards everything to `target`; with `announce`, behind a PROXY protocol header of version 2.
    #[must_use]
    pub fn new(target: Target, security: UpstreamSecurity, announce: bool) -> Self {
        Self { target, security, announce }
    }

    /// Dials the next address. Returns why the client's connection ends if there is none.
    fn dial(&mut self, untried: &mut Untried, exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        let Some(address) = untried.0.pop_front() else {
            self.target.refresh();
            exchange.explain("no address of the server answers: is it running, and does --to name it?");
            return Some(Disconnect::Upstream);
        };
        let session = match &self.security {
            UpstreamSecurity::Plain => Ok(tls::Session::plain()),
            UpstreamSecurity::Tls(config, name) => tls::Session::client(config.current(), name.clone()),
        };
        let Ok(session) = session else { return Some(Disconnect::Upstream) };
        let preface = if self.announce { header(exchange.peer) } else { Vec::new() };
        exchange.dial(Dial { address, session, preface });
        None
    }
}

impl Service for Splice {
    type Session = Untried;

    fn admits(&self, client: &PeerInfo) -> bool {
        client.access.allows(Class::Server, Self::CONNECT, None)
    }

    fn open(&mut self, exchange: &mut Exchange<'_>) -> Untried {
        if exchange.peer.is_dialed() {
            return Untried(VecDeque::new());
        }
        let mut untried = Untried(self.target.addresses().into());
        if let Some(reason) = self.dial(&mut untried, exchange) {
            exchange.disconnect(exchange.peer.id, reason);
        }
        untried
    }

    fn serve(&mut self, _: &mut Untried, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        Served::Used(exchange.forward(input))
    }

    fn unreachable(&mut self, untried: &mut Untried, loss: &Loss, exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        let reason = self.dial(untried, exchange)?;
        // It answers, and what it answers is the trouble.
        if loss.is_of_tls() {
            exchange.explain(loss.detail.clone());
        }
        Some(reason)
    }
}

/// What the server is told about its client.
fn header(client: &PeerInfo) -> Vec<u8> {
    let identity = client.identity.as_deref();
    let resumed = client.agreement.is_some_and(|agreement| agreement.kind == HandshakeKind::Resumed);
    let facts = client.agreement.map(|agreement| proxy::Tls {
        version: if agreement.version == ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" },
        certificate: match identity {
            None => ClientCertificate::None,
            Some(_) if resumed => ClientCertificate::Resumed,
            Some(_) => ClientCertificate::Shown,
        },
        common_name: identity.and_then(|identity| identity.common_name.as_deref()),
    });
    let mut header = Vec::new();
    proxy::encode(&Endpoints { source: client.address, destination: client.local }, facts.as_ref(), &mut header);
    header
}
