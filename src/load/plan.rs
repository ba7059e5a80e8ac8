//! A run, decided: everything that the threads of a run share and none of them changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::dialect::{Dialect, Phrases};
use super::schedule::Schedule;
use super::workload::Mix;
use crate::net::Address;
use crate::protocol::resp::ReplyScanner;
use crate::tls::Session;

/// What is run.
#[derive(Debug)]
pub struct Plan {
    /// What is said on each connection.
    pub language: Language,
    /// Where to.
    pub target: Address,
    /// How connections are encrypted; `None` for plain ones.
    pub tls: Option<TlsPlan>,
    /// Virtual clients, each with at most one connection, over all threads.
    pub connections: u64,
    /// How long opening them is spread over.
    pub connect_over: Duration,
    /// How long they are held open in silence before the schedule begins.
    pub hold: Duration,
    /// Requests in flight on one connection.
    pub pipeline: usize,
    /// Requests after which a connection is replaced by a new one.
    pub requests_per_connection: Option<u64>,
    /// How long a connection lives before it is replaced by a new one.
    pub lifetime: Option<Duration>,
    /// Whether each virtual client makes a single request.
    pub once: bool,
    /// When requests (or, with [`Language::Silent`], connections) are due.
    pub schedule: Schedule,
    /// What is asked.
    pub mix: Mix,
    /// How it is worded.
    pub phrases: Phrases,
    /// How long a connection may take to be made, and a reply to come.
    pub timeout: Duration,
    /// Local addresses to connect from, in turn; the system chooses when there is none.
    pub sources: Vec<IpAddr>,
}

/// What is said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Bytes that come back.
    Echo,
    /// GET and SET of Redis's protocol.
    Resp,
    /// The methods `get` and `set` over HTTP.
    XmlRpc,
    /// Nothing: the handshake is the request, and a new connection is made for each.
    Silent,
}

impl Language {
    /// The decoder of a new connection.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Echo => Dialect::Echo,
            Self::Resp => Dialect::Resp(ReplyScanner::default()),
            Self::XmlRpc => Dialect::XmlRpc(Box::default()),
            Self::Silent => Dialect::Silent,
        }
    }
}

/// How connections are encrypted.
#[derive(Debug)]
pub struct TlsPlan {
    /// One configuration for each client identity; virtual clients take them in turn. Not empty.
    pub configs: Vec<Arc<ClientConfig>>,
    /// The name that is asked for and checked.
    pub server_name: ServerName<'static>,
    /// Which handshakes are full.
    pub resume: Resume,
}

/// Which handshakes are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// All of them: no session is remembered.
    Full,
    /// Each virtual client's first.
    Tickets,
    /// Each virtual client's first and every second one after it.
    Mix,
}

/// One virtual client's sessions: its own memory of tickets, as if it were alone on its machine.
#[derive(Debug)]
pub struct Sessions {
    forgetful: Arc<ClientConfig>,
    remembering: Option<Arc<ClientConfig>>,
    server_name: ServerName<'static>,
    resume: Resume,
    made: u64,
    /// Whether one of them has been made that remembers.
    has_remembered: bool,
}

/// A new session, and what is expected of it.
#[derive(Debug)]
pub struct NewSession {
    /// The client's end.
    pub session: Session,
    /// Whether it must be resumed.
    pub resumes: bool,
    /// Whether a ticket must be waited for.
    pub wants_ticket: bool,
}

impl TlsPlan {
    /// The sessions of virtual client number `index`.
    #[must_use]
    pub fn sessions(&self, index: u64) -> Option<Sessions> {
        let count = u64::try_from(self.configs.len()).unwrap_or(1).max(1);
        let config = self.configs.get(usize::try_from(index % count).unwrap_or(0))?;
        let with = |resumption| {
            let mut config = ClientConfig::clone(config);
            config.resumption = resumption;
            Arc::new(config)
        };
        let remembering = (self.resume != Resume::Full).then(|| with(Resumption::in_memory_sessions(1)));
        let forgetful = Arc::clone(config);
        Some(Sessions {
            forgetful,
            remembering,
            server_name: self.server_name.clone(),
            resume: self.resume,
            made: 0,
            has_remembered: false,
        })
    }
}

impl Sessions {
    /// The next connection's session.
    pub fn next_session(&mut self) -> Result<NewSession, rustls::Error> {
        let number = self.made;
        self.made += 1;
        let remembering = match self.resume {
            Resume::Full => None,
            Resume::Tickets => self.remembering.as_ref(),
            Resume::Mix => self.remembering.as_ref().filter(|_| number.is_multiple_of(2)),
        };
        let config = remembering.unwrap_or(&self.forgetful);
        Ok(NewSession {
            session: Session::client(Arc::clone(config), self.server_name.clone())?,
            resumes: remembering.is_some() && self.has_remembered,
            wants_ticket: remembering.is_some(),
        })
    }

    /// The server has not resumed a session: its ticket is used up, so the next one is a first one again.
    pub fn forgotten(&mut self) {
        self.has_remembered = false;
    }

    /// A session has finished its handshake; `wants_ticket` is as it came with it.
    pub fn opened(&mut self, wants_ticket: bool) {
        self.has_remembered |= wants_ticket;
    }
}

/// How far a run is, for whoever watches it, and the way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests answered, the warm-up included.
    pub answered: AtomicU64,
    /// Failures, the warm-up included.
    pub failed: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// Threads that have begun with their requests.
    pub running: AtomicU64,
    /// Set, it ends the run early.
    pub stop: Arc<AtomicBool>,
}

impl Progress {
    /// Whether the run is to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
