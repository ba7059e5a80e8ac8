//! TLS for an existing server: every byte is forwarded to it, and every byte of its replies is sent back.

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

/// Links each client's connection to a connection of its own to one backend, and forwards bytes between the two.
///
/// Back-pressure, half-close and the loss of one end are handled by the link, as for any service.
pub struct Splice {
    target: Target,
    security: UpstreamSecurity,
    /// Send the backend the client's address in a PROXY protocol header.
    announce: bool,
}

/// How connections to the backend are protected.
#[derive(Clone)]
pub enum UpstreamSecurity {
    /// Plain TCP: the backend is on this machine or in a trusted network.
    Plain,
    /// TLS, verified for this server name.
    Tls(Renewable<ClientConfig>, ServerName<'static>),
}

/// A value that another thread may replace for later connections. It is locked once for each of them.
#[derive(Debug)]
pub struct Renewable<T>(Arc<Mutex<Arc<T>>>);

impl<T> Renewable<T> {
    /// With this initial value.
    #[must_use]
    pub fn new(first: Arc<T>) -> Self {
        Self(Arc::new(Mutex::new(first)))
    }

    /// The current value.
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

/// The addresses that were not tried yet, for a client whose backend is being dialed. Empty for a connection to the
/// backend.
pub struct Untried(VecDeque<Address>);

impl Splice {
    /// The name that a rule must grant to a client, if there are rules.
    pub const CONNECT: &str = "connect";

    /// What `name`, in upper or lower case, acts on if a rule may grant it.
    #[must_use]
    pub fn reach(name: &str) -> Option<Reach> {
        name.eq_ignore_ascii_case(Self::CONNECT).then_some(Reach::Server)
    }

    /// Forwards everything to `target`; with `announce`, after a PROXY protocol header of version 2.
    #[must_use]
    pub fn new(target: Target, security: UpstreamSecurity, announce: bool) -> Self {
        Self { target, security, announce }
    }

    /// Dials the next address. If there is none, returns why the client's connection ends.
    fn dial(&mut self, untried: &mut Untried, exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        let Some(address) = untried.0.pop_front() else {
            self.target.refresh();
            exchange.explain("no address of the backend answers: is it running, and is --to right?");
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
        // The backend answers, but its answer is the problem: no other address would be better.
        if loss.is_of_tls() {
            exchange.explain(loss.detail.clone());
        }
        Some(reason)
    }
}

/// The PROXY header for a client's connection.
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
