//! The services that come with the program, over one store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::Echo;
use super::admin::Admin;
use super::http::{self, HttpSession};
use super::resp::{Resp, RespOptions, RespSession};
use super::xmlrpc::{XmlRpc, XmlRpcOptions};
use crate::access::Reach;
use crate::connection::{CommitStatus, Exchange, PeerInfo, Served, Service};
use crate::disk::StorageError;
use crate::metrics::Disconnect;
use crate::store::{self, Store, StoreOptions};
use crate::timer::Now;

/// The protocols that come with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Every byte comes back.
    Echo,
    /// Key/value by XML-RPC over HTTP/1.1.
    XmlRpc,
    /// Key/value by the Redis protocol.
    Resp,
    /// Counters and health over HTTP/1.1, for operators.
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

    /// What it is called in the TLS handshake (RFC 7301), the best first; empty where the registry has no name for it.
    #[must_use]
    pub fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::XmlRpc | Self::Admin => &["http/1.1", "http/1.0"],
            Self::Echo | Self::Resp => &[],
        }
    }
}

/// How the built-in services behave.
#[derive(Clone, Debug)]
pub struct BuiltinOptions {
    /// What each listener speaks, in the order in which listeners are given to the server.
    pub listeners: Vec<Protocol>,
    /// The store that XML-RPC and RESP share.
    pub store: StoreOptions,
    /// XML-RPC's manners.
    pub xmlrpc: XmlRpcOptions,
    /// RESP's bounds.
    pub resp: RespOptions,
}

/// All built-in services: echo, and XML-RPC and RESP over the same keys.
pub struct Builtin {
    listeners: Vec<Protocol>,
    store: Store,
    echo: Echo,
    xmlrpc: XmlRpc,
    resp: Resp,
    admin: Admin,
    /// It has been said that the store's changes are lost.
    is_lost: bool,
}

/// What the framing of one connection remembers, by protocol.
pub enum BuiltinSession {
    /// Echo remembers nothing.
    Echo,
    /// Where an HTTP request's parts begin.
    XmlRpc(HttpSession),
    /// Where a command's parts begin, and what the client has set up.
    Resp(RespSession),
    /// Where an HTTP request's parts begin.
    Admin(HttpSession),
}

impl Builtin {
    /// Services with an empty store, from `now` on.
    #[must_use]
    pub fn new(options: BuiltinOptions, now: Now) -> Self {
        let protocols = options.listeners.iter().map(|protocol| protocol.name()).collect();
        Self {
            listeners: options.listeners,
            store: Store::new(options.store),
            echo: Echo,
            xmlrpc: XmlRpc::new(options.xmlrpc),
            resp: Resp::new(options.resp, now),
            admin: Admin::new(protocols, now),
            is_lost: false,
        }
    }

    /// The store, to load it before anything is served.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Shows among the counters how many lines of the log were dropped.
    pub fn watch_log(&mut self, dropped: Arc<AtomicU64>) {
        self.admin.watch_log(dropped);
    }

    /// Makes everything durable and lets go of the data directory.
    ///
    /// # Errors
    ///
    /// Changes were not kept, now or earlier.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.store.close()
    }

    /// What can be asked for by this name, in any case and over any protocol: what a rule may grant.
    #[must_use]
    pub fn reach(name: &str) -> Option<Reach> {
        let method = XmlRpc::is_method(name).then_some(Reach::Keys);
        method.or_else(|| Resp::reach(name)).or_else(|| Admin::reach(name))
    }

    fn protocol(&self, listener: usize) -> Protocol {
        self.listeners.get(listener).copied().unwrap_or(Protocol::Echo)
    }
}

impl Service for Builtin {
    type Session = BuiltinSession;

    fn open(&mut self, peer: &PeerInfo, now: Now) -> BuiltinSession {
        match self.protocol(peer.listener) {
            Protocol::Echo => BuiltinSession::Echo,
            Protocol::XmlRpc => BuiltinSession::XmlRpc(HttpSession::default()),
            Protocol::Resp => BuiltinSession::Resp(self.resp.open(peer, now)),
            Protocol::Admin => BuiltinSession::Admin(HttpSession::default()),
        }
    }

    fn serve(&mut self, session: &mut BuiltinSession, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let served = match session {
            BuiltinSession::Echo => return self.echo.serve(&mut (), input, exchange),
            BuiltinSession::XmlRpc(session) => self.xmlrpc.serve(session, &mut self.store, input, exchange),
            BuiltinSession::Resp(session) => self.resp.serve(session, &mut self.store, input, exchange),
            BuiltinSession::Admin(session) => return self.admin.serve(session, &self.store, input, exchange),
        };
        if let Some(group) = self.store.take_dependency() {
            exchange.hold(group);
        }
        served
    }

    fn end_of_input(
        &mut self,
        session: &mut BuiltinSession,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        match session {
            BuiltinSession::Echo => self.echo.end_of_input(&mut (), rest, exchange),
            BuiltinSession::XmlRpc(_) | BuiltinSession::Admin(_) => self.xmlrpc.end_of_input(rest, exchange),
            BuiltinSession::Resp(_) => self.resp.end_of_input(rest, exchange),
        }
    }

    fn is_in_head(&self, session: &BuiltinSession) -> bool {
        match session {
            BuiltinSession::XmlRpc(session) | BuiltinSession::Admin(session) => session.is_in_head(),
            BuiltinSession::Echo | BuiltinSession::Resp(_) => false,
        }
    }

    fn session_memory(&self, session: &BuiltinSession) -> usize {
        match session {
            BuiltinSession::Echo => 0,
            BuiltinSession::XmlRpc(session) | BuiltinSession::Admin(session) => session.memory(),
            BuiltinSession::Resp(session) => session.memory(),
        }
    }

    fn set_client_memory(&mut self, bytes: usize) {
        self.store.set_client_memory(bytes);
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        match self.protocol(listener) {
            Protocol::Echo => self.echo.refuse(listener, reason, reply),
            Protocol::XmlRpc | Protocol::Admin => http::refuse(reason, reply),
            Protocol::Resp => self.resp.refuse(reason, reply),
        }
    }

    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        match self.protocol(listener) {
            Protocol::Echo | Protocol::Admin => {}
            Protocol::XmlRpc => self.xmlrpc.retract(reply, out),
            Protocol::Resp => Resp::retract(out),
        }
    }

    fn close(&mut self, session: BuiltinSession, peer: &PeerInfo) {
        match session {
            BuiltinSession::Resp(session) => self.resp.close(session, peer, &mut self.store),
            BuiltinSession::XmlRpc(_) => XmlRpc::close(peer.id, &mut self.store),
            BuiltinSession::Echo | BuiltinSession::Admin(_) => {}
        }
    }

    fn commit(&mut self, now: Now) -> CommitStatus {
        if !self.store.is_durable() {
            return CommitStatus::NotUsed;
        }
        match self.store.commit(now) {
            store::GroupStatus::Unchanged => CommitStatus::Unchanged,
            store::GroupStatus::Durable(group) => CommitStatus::Durable(group),
            store::GroupStatus::Recovered => {
                tracing::info!("there is room in the data directory: writes are taken again");
                CommitStatus::Unchanged
            }
            store::GroupStatus::Lost(failure) => {
                let end = if matches!(failure, StorageError::Full(_)) { ", until there is room" } else { "" };
                tracing::error!("writes are refused from now on{end}; reads are served: {failure}");
                CommitStatus::Aborted
            }
            store::GroupStatus::Fatal(failure) => {
                // It is told again each turn, for those who have looked at what is lost since.
                if !std::mem::replace(&mut self.is_lost, true) {
                    tracing::error!("stopping: it is unknown what is on disk: {failure}");
                }
                CommitStatus::Fatal
            }
        }
    }

    fn tick(&mut self, now: Now) -> Option<Duration> {
        let (lists, scans, store) = (self.resp.tick(now), self.store.scan_tick(now), self.store.tick(now));
        // What housekeeping has done and seen is told by no reply, and must not be taken for what the next one tells.
        let _ = self.store.take_dependency();
        [lists, scans, store].into_iter().flatten().min()
    }

    fn wants_commit_in(&self, now: Now) -> Option<Duration> {
        self.store.wants_commit_in(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::disk::sim::Disk;
    use crate::disk::{DataFiles, LockStep, StorageOptions};
    use crate::store::{CommitLimits, Eviction, Expiry, Kind};

    #[test]
    fn a_connection_costs_little_beside_the_librarys_session() {
        let own = size_of::<Connection<Builtin>>() - size_of::<crate::tls::Session>();
        assert!(own <= 512, "{own}");
    }

    #[test]
    fn no_reply_tells_of_what_housekeeping_did() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Now { instant: std::time::Instant::now(), unix_ms: 5 };
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
        service.store.attach(storage, CommitLimits::default());
        for key in 0..1000 {
            service.store.set(format!("key:{key}").as_bytes(), Kind::Bytes, &[0; 500], Expiry::Never, now).unwrap();
        }
        assert!(service.store.take_dependency().is_some());
        service.set_client_memory(1_900_000);
        let _ = service.tick(now);
        assert!(service.store.len() < 1000, "some had to go");
        assert_eq!(service.store.take_dependency(), None);
    }
}
