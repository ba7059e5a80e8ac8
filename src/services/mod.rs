//! What is served: each built-in service is an ordinary [`Service`].

mod echo;

pub use echo::Echo;

use crate::connection::{Exchange, PeerInfo, Service};
use crate::metrics::Disconnect;
use crate::timer::Now;

/// The protocols that come with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Every byte comes back.
    Echo,
    /// Key/value by XML-RPC over HTTP/1.1.
    XmlRpc,
}

impl Protocol {
    /// Its name on the command line and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::XmlRpc => "xmlrpc",
        }
    }

    /// What it is called in the TLS handshake (RFC 7301); empty where the registry has no name for it.
    #[must_use]
    pub fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Echo => &[],
            Self::XmlRpc => &["http/1.1"],
        }
    }
}

/// All built-in services, over one store.
pub struct Builtin {
    /// What each listener speaks, by its index.
    listeners: Vec<Protocol>,
    echo: Echo,
}

/// What the framing of one connection remembers, by protocol.
pub enum Session {
    /// Echo remembers nothing.
    Echo,
}

impl Builtin {
    /// Serves `listeners`, in the order in which they are given to the server.
    #[must_use]
    pub fn new(listeners: Vec<Protocol>) -> Self {
        Self { listeners, echo: Echo }
    }
}

impl Service for Builtin {
    type Session = Session;

    fn open(&mut self, peer: &PeerInfo, now: Now) -> Session {
        let _ = (peer, now, &self.listeners);
        Session::Echo
    }

    fn serve(&mut self, session: &mut Session, input: &[u8], exchange: &mut Exchange<'_>) -> Result<usize, Disconnect> {
        match session {
            Session::Echo => self.echo.serve(&mut (), input, exchange),
        }
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        self.echo.refuse(listener, reason, reply);
    }
}
