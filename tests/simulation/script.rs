//! What one client does, and what it may expect.

use std::time::Duration;

use latchkey::internals::net::sim::SimRandom;

use crate::expected_state::Keys;
use crate::protocol_model::{Conversation, ProtocolModel};
use crate::trust::Badge;

/// How long some clients stay after their last reply.
const STAY: Duration = Duration::from_secs(15);

/// One action of a client.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Sends requests.
    Send(Vec<u8>),
    /// Sends bytes outside of TLS.
    Raw(Vec<u8>),
    /// Waits.
    Think(Duration),
    /// Waits until this many bytes of replies have arrived.
    Await(usize),
    /// Reads nothing for a while.
    Deaf(Duration),
    /// Sends close_notify; nothing without TLS.
    Goodbye,
    /// Sends FIN.
    Fin,
    /// Drops its socket.
    Vanish,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Conduct {
    /// Waits for all replies, closes properly.
    Polite,
    /// Sends close_notify and FIN right after its requests, then reads all replies.
    HalfClose,
    /// The same without close_notify.
    NoNotify,
    /// Asks the server to close the connection, and sends more requests after that.
    Bye,
    /// Sends bytes that are not a request after its requests.
    Garbled,
    /// Requests a reply that the service drops.
    Abandoned,
    /// Requests a reply that never comes, then sends close_notify and FIN.
    Unanswered,
    /// Stops reading for some seconds.
    SlowReader,
    /// Reads all the time, but little at a time: its sockets are nearly full as long as there are faults.
    Sipper,
    /// Stops reading for longer than the server waits.
    Deaf,
    /// Never sends a byte, or stops for ever somewhere in the handshake or a request.
    Silent,
    /// Sends its bytes one at a time, too slowly, from the first or a later one on.
    Loris,
    /// Drops its socket in the middle.
    Vanishing,
    /// Sends bytes that are not a TLS record after its requests.
    Corrupting,
    /// Rejects the server's certificate.
    Distrustful,
    /// Speaks neither TLS nor the protocol.
    Noise,
}

impl Conduct {
    pub(crate) const ALL: [Self; 16] = [
        Self::Polite,
        Self::HalfClose,
        Self::NoNotify,
        Self::Bye,
        Self::Garbled,
        Self::Abandoned,
        Self::Unanswered,
        Self::SlowReader,
        Self::Sipper,
        Self::Deaf,
        Self::Silent,
        Self::Loris,
        Self::Vanishing,
        Self::Corrupting,
        Self::Distrustful,
        Self::Noise,
    ];

    /// Whether every reply must arrive, followed by a proper end of the stream. The client closes by itself, or gives
    /// the server a reason to close, without any deadline.
    pub(crate) fn is_honest(self) -> bool {
        use Conduct::{Bye, Garbled, HalfClose, NoNotify, Polite, Sipper, SlowReader};
        matches!(self, Polite | HalfClose | NoNotify | Bye | Garbled | SlowReader | Sipper)
    }
}

/// The script of one client.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) tongue: ProtocolModel,
    /// The address it connects from, and the listener it connects to.
    pub(crate) host: u8,
    pub(crate) listener: usize,
    pub(crate) badge: Badge,
    /// It uses TLS 1.2.
    pub(crate) is_old: bool,
    /// It splits its handshake messages, the hello included, into many records.
    pub(crate) has_small_records: bool,
    pub(crate) conduct: Conduct,
    pub(crate) start: Duration,
    pub(crate) actions: Vec<Action>,
    /// Its requests, and the model's replies.
    pub(crate) talk: Conversation,
    /// Bytes it ever writes to its socket.
    pub(crate) wire_limit: usize,
    /// Pause between single bytes, and the byte from which on they are single.
    pub(crate) drip: Option<(Duration, usize)>,
    /// Bytes per read, with pauses between reads.
    pub(crate) sip: Option<usize>,
}

/// The size of a script: the number of requests, and the size of the largest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Script {
    /// The script of a client with this name, using one of `tongues`, the protocols of the listeners.
    pub(crate) fn draw(random: &mut SimRandom, name: String, tongues: &[ProtocolModel], scale: Scale) -> Self {
        let listener = random.size(0, tongues.len().saturating_sub(1));
        let tongue = tongues.get(listener).copied().unwrap_or(ProtocolModel::Echo);
        let conduct = if random.chance(0.4) { Conduct::Polite } else { random.one_of(Conduct::ALL) };
        let conduct = tongue.adapt(conduct);
        let latest = Duration::from_secs(random.one_of([0, 1, 5]));
        let mut script = Self {
            tongue,
            host: random.one_of([1, 2, 3]),
            listener,
            badge: Badge::draw(random),
            is_old: random.chance(0.25),
            has_small_records: random.chance(0.25),
            conduct,
            start: random.time(latest),
            actions: Vec::new(),
            talk: Conversation::draw(tongue, conduct, name, random, scale),
            wire_limit: usize::MAX,
            drip: None,
            sip: None,
        };
        match conduct {
            Conduct::Silent => script.wire_limit = random.size(0, 3_000).saturating_sub(500),
            Conduct::Loris => {
                let from = if random.chance(0.5) { 0 } else { random.size(0, 3_000) };
                script.drip = Some((Duration::from_millis(random.one_of([400, 4_000])), from));
            }
            _ => {}
        }
        script.cut(random);
        script
    }

    /// The script of a client that reconnects after the server has died; it finds `keys`.
    pub(crate) fn resume(&self, keys: Keys, random: &mut SimRandom, scale: Scale) -> Self {
        let mut script = Self {
            conduct: Conduct::Polite,
            start: random.time(Duration::from_secs(1)),
            actions: Vec::new(),
            talk: Conversation::resume(self.tongue, self.talk.name.clone(), keys, random, scale),
            wire_limit: usize::MAX,
            drip: None,
            sip: None,
            ..*self
        };
        script.cut(random);
        script
    }

    /// Whether it stays connected for a while after its last reply.
    pub(crate) fn stays(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Think(time) if *time == STAY))
    }

    /// Splits the requests into pieces that are sent with pauses between them.
    fn cut(&mut self, random: &mut SimRandom) {
        let mut noise = || (0..random.size(1, 2_000)).map(|_| random.bits().to_le_bytes()[0]).collect();
        if self.conduct == Conduct::Noise {
            self.actions = vec![Action::Raw(noise())];
            return;
        }
        let corruption = (self.conduct == Conduct::Corrupting).then(noise);
        let mut rest = self.talk.asked.as_slice();
        while !rest.is_empty() {
            let size = random.one_of([1, 5, 100, usize::MAX]);
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            self.actions.push(Action::Send(piece.to_vec()));
            if random.chance(0.05) {
                self.actions.push(Action::Think(random.time(Duration::from_secs(2))));
            }
        }
        self.actions.extend(corruption.map(Action::Raw));
        let middle = random.size(0, self.actions.len());
        match self.conduct {
            Conduct::SlowReader => self.actions.insert(middle, Action::Deaf(random.time(Duration::from_secs(4)))),
            Conduct::Deaf => self.actions.insert(middle, Action::Deaf(Duration::from_secs(200))),
            Conduct::Vanishing => self.actions.insert(middle, Action::Vanish),
            _ => {}
        }
        // A client that the server closes needs no action at the end: it reads to the end of the stream.
        let leaves: &[Action] = match self.conduct {
            Conduct::NoNotify => &[Action::Fin],
            Conduct::Bye | Conduct::Garbled | Conduct::Abandoned => &[],
            _ => &[Action::Goodbye, Action::Fin],
        };
        // Some stay for longer than any timeout on requests.
        let stays = random.chance(0.2).then_some(Action::Think(STAY));
        let half_closes = matches!(self.conduct, Conduct::HalfClose | Conduct::Unanswered);
        if matches!(leaves, [Action::Goodbye, Action::Fin]) && !half_closes {
            self.actions.extend([Action::Await(usize::MAX)].into_iter().chain(stays));
        }
        self.actions.extend_from_slice(leaves);
    }
}
