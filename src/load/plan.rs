//! The plan of a run: everything that its threads share and none of them changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::barrier::ThreadBarrier;
use super::codec::{ProtocolCodec, RequestTemplate};
use super::schedule::Schedule;
use super::workload::Mix;
use crate::net::Address;
use crate::protocol::resp::ReplyScanner;
use crate::tls::{Channel, Incoming, Outgoing, Session};

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// The protocol of each connection.
    pub protocol: LoadProtocol,
    /// The server's address.
    pub target: Address,
    /// How connections are encrypted; `None` for plain ones.
    pub tls: Option<TlsPlan>,
    /// Virtual clients, each with at most one connection, over all threads.
    pub connections: u64,
    /// The time over which opening them is spread.
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
    /// When requests (or, with [`LoadProtocol::HandshakeOnly`], connections) are due.
    pub schedule: Schedule,
    /// Operations, keys and values.
    pub mix: Mix,
    /// The bytes of requests.
    pub template: RequestTemplate,
    /// How long a connection may take to be made, and a reply to come.
    pub timeout: Duration,
    /// Local addresses to connect from, in turn; the system chooses when there is none.
    pub sources: Vec<IpAddr>,
}

impl Plan {
    /// Whether operations are done on keys of the server.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self.protocol, LoadProtocol::Resp | LoadProtocol::XmlRpc) && self.template.call.is_none()
    }
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadProtocol {
    /// Bytes that come back.
    Echo,
    /// GET and SET of Redis's protocol.
    Resp,
    /// The methods `get` and `set` over HTTP.
    XmlRpc,
    /// Nothing: the handshake is the request, and a new connection is made for each.
    HandshakeOnly,
}

impl LoadProtocol {
    /// The decoder of a new connection.
    #[must_use]
    pub fn codec(self) -> ProtocolCodec {
        match self {
            Self::Echo => ProtocolCodec::Echo,
            Self::Resp => ProtocolCodec::Resp(ReplyScanner::default()),
            Self::XmlRpc => ProtocolCodec::XmlRpc(Box::default()),
            Self::HandshakeOnly => ProtocolCodec::HandshakeOnly,
        }
    }
}

/// How connections are encrypted.
#[derive(Debug)]
pub struct TlsPlan {
    /// One configuration for each client identity; virtual clients take them in turn. Not empty.
    pub configs: Vec<Arc<ClientConfig>>,
    /// The name that is sent (SNI) and checked.
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
    /// Each virtual client's first, and all but so many in [`MIX`] after it.
    Mix(u64),
}

/// The denominator of the share of resumed handshakes.
pub const MIX: u64 = 1_000_000;

impl Resume {
    /// Every second one is resumed.
    pub const HALF: Self = Self::Mix(MIX / 2);

    /// A mix with so many percent resumed; `None` if that would be none or all.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to a million"
    )]
    pub fn mix(percent: f64) -> Option<Self> {
        let share = (percent / 100.0 * MIX as f64).round();
        (share >= 1.0 && share < MIX as f64).then_some(Self::Mix(share as u64))
    }

    /// Whether handshake `number` of virtual client `index`, the first being number 0, is one that resumes or, as the
    /// first, makes it possible. Of a mix, each client resumes its share as evenly as possible, but not all clients at the
    /// same time.
    fn remembers(self, index: u64, number: u64) -> bool {
        match self {
            Self::Full => false,
            Self::Tickets => true,
            Self::Mix(share) => {
                // Steps of the golden ratio never fall into step with a share.
                let phase = index.wrapping_mul(618_034) % MIX;
                let before = |number: u64| number.wrapping_mul(share).wrapping_add(phase) / MIX;
                number.checked_sub(1).is_none_or(|previous| before(number) > before(previous))
            }
        }
    }
}

impl std::fmt::Display for Resume {
    #[expect(clippy::cast_precision_loss, reason = "0 to a million")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Tickets => f.write_str("tickets"),
            Self::Mix(share) => write!(f, "mix:{}%", *share as f64 * 100.0 / MIX as f64),
        }
    }
}

/// One virtual client's sessions: its own memory of tickets, as if it were alone on its machine.
#[derive(Debug)]
pub struct Sessions {
    forgetful: Arc<ClientConfig>,
    remembering: Option<Arc<ClientConfig>>,
    server_name: ServerName<'static>,
    resume: Resume,
    /// Which of the virtual clients it is.
    index: u64,
    made: u64,
    /// Whether one of them has been made that remembers.
    has_remembered: bool,
}

/// A new session and its goal.
#[derive(Debug)]
pub struct NewSession {
    /// The client's end.
    pub session: Session,
    /// The handshake that is expected.
    pub goal: SessionGoal,
}

/// The handshake that a session is expected to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionGoal {
    /// A full handshake; no ticket is awaited.
    Full,
    /// A full handshake and a ticket.
    EarnTicket,
    /// A resumed handshake and the next ticket.
    Resume,
}

impl SessionGoal {
    /// Whether the connection stays until a ticket has come.
    #[must_use]
    pub fn wants_ticket(self) -> bool {
        self != Self::Full
    }
}

impl TlsPlan {
    /// Does the work of a thread's first handshake that later ones are spared: seeding its generator of random numbers and
    /// filling the tables of the key exchange. In a measured handshake it would count as the server's.
    pub fn prepare(&self) {
        if let Some(config) = self.configs.first()
            && let Ok(session) = Session::client(Arc::clone(config), self.server_name.clone())
        {
            let mut channel = Channel::new(session);
            let _ = channel.receive(&mut Incoming::default(), &mut Outgoing::default(), &mut |_| {});
        }
    }

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
            index,
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
        let remembering = self.remembering.as_ref().filter(|_| self.resume.remembers(self.index, number));
        let config = remembering.unwrap_or(&self.forgetful);
        Ok(NewSession {
            session: Session::client(Arc::clone(config), self.server_name.clone())?,
            goal: match remembering {
                None => SessionGoal::Full,
                Some(_) if self.has_remembered => SessionGoal::Resume,
                Some(_) => SessionGoal::EarnTicket,
            },
        })
    }

    /// A session with that `goal` has finished its handshake.
    pub fn opened(&mut self, goal: SessionGoal) {
        self.has_remembered |= goal.wants_ticket();
    }
}

/// The progress of a run, the flag that stops it, and the barriers of its threads.
#[derive(Default)]
pub struct RunProgress {
    /// Requests answered, the warm-up included.
    pub answered: AtomicU64,
    /// Failures, the warm-up included.
    pub failed: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// Connections made, over the whole run.
    pub made: AtomicU64,
    /// Passed when all connections of all threads are made, or have failed.
    pub connected: ThreadBarrier,
    /// Passed when the hold is over: the origin of the schedule.
    pub held: ThreadBarrier,
    /// Called once, by the last thread that arrives at [`held`](Self::held): all connections are open, and no request was
    /// sent yet.
    pub before_asking: Option<Box<dyn Fn() + Send + Sync>>,
    /// Ends the run early once it is set.
    pub stop: Arc<AtomicBool>,
}

impl RunProgress {
    /// Whether the run is to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_resumes_its_share_of_each_client_and_not_of_all_at_once() {
        for (percent, of_thousand) in [(0.1, 1u64), (25.0, 250), (50.0, 500), (90.0, 900), (99.9, 999)] {
            let resume = Resume::mix(percent).expect("a share");
            let numbers = |index: u64| (1..=1000).filter(move |number| resume.remembers(index, *number));
            for index in 0..100 {
                let count = numbers(index).count() as u64;
                assert!(resume.remembers(index, 0) && count.abs_diff(of_thousand) <= 1, "{percent}: {count}");
            }
            for number in [1, 2, 3, 500, 999] {
                let together = (0..1000).filter(|index| resume.remembers(*index, number)).count() as u64;
                assert!(together.abs_diff(of_thousand) <= 30, "{percent}: {together} at {number}");
            }
        }
        assert_eq!([0.0, 0.00001, 100.0, 101.0, -1.0, f64::NAN].map(Resume::mix), [None; 6]);
        assert_eq!(Resume::mix(99.5).expect("a share").to_string(), "mix:99.5%");
        assert_eq!(Resume::mix(50.0), Some(Resume::HALF));
    }
}
