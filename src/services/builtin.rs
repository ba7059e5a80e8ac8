//! The built-in services, over one store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::Echo;
use super::admin::Admin;
use super::http::HttpSession;
use super::key_value::{KeyValue, StoreProtocol};
use super::resp::{Resp, RespOptions, RespSession};
use super::xmlrpc::{XmlRpc, XmlRpcOptions};
use crate::access::Reach;
use crate::connection::{Exchange, PeerInfo, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::store::{Store, StoreOptions};
use crate::timer::Now;

/// The built-in protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Every byte is sent back.
    Echo,
    /// Key/value by XML-RPC over HTTP/1.1.
    XmlRpc,
    /// Key/value by the Redis protocol.
    Resp,
    /// Metrics and health over HTTP/1.1, for operators.
    Admin,
}

impl Protocol {
    /// Its name on the command line and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::XmlRpc => "xmlrpc",
            Self::Resp => "resp",
            Self::Admin => "admin",
        }
    }

    /// Its ALPN protocol names (RFC 7301), in order of preference; empty if the registry has none.
    #[must_use]
    pub fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::XmlRpc | Self::Admin => &["http/1.1", "http/1.0"],
            Self::Echo | Self::Resp => &[],
        }
    }
}

/// Options of the built-in services.
#[derive(Clone, Debug)]
pub struct BuiltinOptions {
    /// The protocol of each listener, in the order in which listeners are given to the server.
    pub listeners: Vec<Protocol>,
    /// The store that XML-RPC and RESP share.
    pub store: StoreOptions,
    /// Options of XML-RPC.
    pub xmlrpc: XmlRpcOptions,
    /// Options of RESP.
    pub resp: RespOptions,
}

/// All built-in services: echo, and XML-RPC and RESP over the same keys.
pub type Builtin = KeyValue<Protocols>;

/// The protocols of [`Builtin`], by listener.
pub struct Protocols {
    listeners: Vec<Protocol>,
    echo: Echo,
    xmlrpc: XmlRpc,
    resp: Resp,
    admin: Admin,
}

/// The framing state of one connection, by protocol.
pub enum BuiltinSession {
    /// Echo has no state.
    Echo(()),
    /// The positions in an HTTP request.
    XmlRpc(HttpSession),
    /// The positions in a command, and the client's settings.
    Resp(RespSession),
    /// The positions in an HTTP request.
    Admin(HttpSession),
}

/// Calls a method of the session's protocol.
macro_rules! of_session {
    ($protocols:ident, $session:expr, |$protocol:ident, $state:pat_param| $call:expr) => {
        match $session {
            BuiltinSession::Echo($state) => {
                let $protocol = &mut $protocols.echo;
                $call
            }
            BuiltinSession::XmlRpc($state) => {
                let $protocol = &mut $protocols.xmlrpc;
                $call
            }
            BuiltinSession::Resp($state) => {
                let $protocol = &mut $protocols.resp;
                $call
            }
            BuiltinSession::Admin($state) => {
                let $protocol = &mut $protocols.admin;
                $call
            }
        }
    };
}

/// Calls a method of the listener's protocol.
macro_rules! of_listener {
    ($protocols:ident, $listener:expr, |$protocol:ident| $call:expr) => {
        match $protocols.protocol($listener) {
            Protocol::Echo => {
                let $protocol = &mut $protocols.echo;
                $call
            }
            Protocol::XmlRpc => {
                let $protocol = &mut $protocols.xmlrpc;
                $call
            }
            Protocol::Resp => {
                let $protocol = &mut $protocols.resp;
                $call
            }
            Protocol::Admin => {
                let $protocol = &mut $protocols.admin;
                $call
            }
        }
    };
}

impl Builtin {
    /// Services with an empty store, created at `now`.
    #[must_use]
    #[doc(hidden)]
    pub fn new(options: BuiltinOptions, now: Now) -> Self {
        let names = options.listeners.iter().map(|protocol| protocol.name()).collect();
        let protocols = Protocols {
            listeners: options.listeners,
            echo: Echo,
            xmlrpc: XmlRpc::new(options.xmlrpc),
            resp: Resp::new(options.resp, now),
            admin: Admin::new(names, now),
        };
        Self::over(Store::new(options.store), protocols)
    }

    /// Adds the count of dropped log lines to the metrics.
    pub(crate) fn watch_log(&mut self, dropped: Arc<AtomicU64>) {
        self.protocol_mut().admin.watch_log(dropped);
    }

    /// What `name`, in upper or lower case, acts on over any protocol, if a rule may grant it.
    #[must_use]
    pub(crate) fn reach(name: &str) -> Option<Reach> {
        let method = XmlRpc::is_method(name).then_some(Reach::Keys);
        method.or_else(|| Resp::reach(name)).or_else(|| Admin::reach(name))
    }
}

impl Protocols {
    fn protocol(&self, listener: usize) -> Protocol {
        self.listeners.get(listener).copied().unwrap_or(Protocol::Echo)
    }
}

impl StoreProtocol for Protocols {
    type Session = BuiltinSession;

    fn open(&mut self, exchange: &mut Exchange<'_>) -> BuiltinSession {
        match self.protocol(exchange.peer.listener) {
            Protocol::Echo => BuiltinSession::Echo(()),
            Protocol::XmlRpc => BuiltinSession::XmlRpc(self.xmlrpc.open(exchange)),
            Protocol::Resp => BuiltinSession::Resp(self.resp.open(exchange)),
            Protocol::Admin => BuiltinSession::Admin(self.admin.open(exchange)),
        }
    }

    fn serve(
        &mut self,
        session: &mut BuiltinSession,
        store: &mut Store,
        input: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Served {
        of_session!(self, session, |protocol, state| StoreProtocol::serve(protocol, state, store, input, exchange))
    }

    fn end_of_input(
        &mut self,
        session: &mut BuiltinSession,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        of_session!(self, session, |protocol, state| StoreProtocol::end_of_input(protocol, state, rest, exchange))
    }

    fn inspect(&self, session: &BuiltinSession) -> SessionState {
        match session {
            BuiltinSession::Echo(()) => SessionState::default(),
            BuiltinSession::XmlRpc(session) => self.xmlrpc.inspect(session),
            BuiltinSession::Resp(session) => self.resp.inspect(session),
            BuiltinSession::Admin(session) => self.admin.inspect(session),
        }
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        of_listener!(self, listener, |protocol| StoreProtocol::refuse(protocol, listener, reason, reply));
    }

    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        of_listener!(self, listener, |protocol| StoreProtocol::retract(protocol, listener, reply, out));
    }

    fn close(&mut self, session: BuiltinSession, store: &mut Store, peer: &PeerInfo) {
        of_session!(self, session, |protocol, state| StoreProtocol::close(protocol, state, store, peer));
    }

    fn tick(&mut self, store: &mut Store, now: Now) -> Option<Duration> {
        self.resp.tick(store, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, Context, Service};
    use crate::disk::sim::Disk;
    use crate::disk::{DataFiles, LockStep, StorageOptions};
    use crate::limits::Limits;
    use crate::store::{CommitLimits, Eviction, Expiry, Kind};

    #[test]
    fn a_connection_costs_little_memory_besides_the_tls_session() {
        let own = size_of::<Connection<Builtin>>() - size_of::<crate::tls::Session>();
        assert!(own <= 512, "{own}");
    }

    #[test]
    fn replies_do_not_wait_for_changes_by_housekeeping() {
        let now = crate::testing::now(5);
        let options = BuiltinOptions {
            listeners: vec![Protocol::Resp],
            store: StoreOptions { max_memory: Some(2 << 20), eviction: Eviction::AllKeys, ..StoreOptions::default() },
            xmlrpc: XmlRpcOptions::default(),
            resp: RespOptions::default(),
        };
        let mut service = Builtin::new(options, now);
        let data_files = DataFiles::new(Disk::default().folder()).unwrap();
        let (storage, _thread) =
            LockStep::start(data_files, StorageOptions::default(), std::sync::Arc::new(|| {}), now.instant);
        service.store_mut().attach(storage, CommitLimits::default());
        for key in 0..1000 {
            service
                .store_mut()
                .set(format!("key:{key}").as_bytes(), Kind::Bytes, &[0; 500], Expiry::Never, now)
                .unwrap();
        }
        assert!(service.store_mut().view().finish().is_some());
        let (mut context, _) = Context::new((), Limits::default(), Vec::new(), Arc::new(|| {}), now);
        context.env.client_memory = 1_900_000;
        let _ = service.tick(&mut context.env);
        assert!(service.store_mut().len() < 1000, "some had to go");
        assert_eq!(service.store_mut().view().finish(), None);
    }
}
