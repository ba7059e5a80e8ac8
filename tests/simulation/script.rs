//! What one client does, and what it is promised.

use std::time::Duration;

use latchkey::net::sim::Random;

use crate::desk::Request;

/// One thing a client does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Sends requests.
    Send(Vec<u8>),
    /// Sends bytes past TLS.
    Raw(Vec<u8>),
    /// Waits.
    Think(Duration),
    /// Waits until so many bytes of replies have come.
    Await(usize),
    /// Reads nothing for a while.
    Deaf(Duration),
    /// Says close_notify; nothing without TLS.
    Goodbye,
    /// Sends FIN.
    Fin,
    /// Drops its socket.
    Vanish,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Conduct {
    /// Waits for all replies, says good-bye, leaves.
    Polite,
    /// Says good-bye and sends FIN as soon as it has asked, then reads all replies.
    HalfClose,
    /// The same without close_notify.
    NoNotify,
    /// Asks the server to end the connection, and asks for more behind that.
    Bye,
    /// Sends what is no request behind its requests.
    Garbled,
    /// Asks for a reply that never comes.
    Abandoned,
    /// Stops reading for some seconds.
    SlowReader,
    /// Stops reading for longer than the server waits.
    Deaf,
    /// Never sends a byte, or stops for ever somewhere in the handshake or a request.
    Silent,
    /// Sends its bytes one at a time, too slowly.
    Loris,
    /// Drops its socket in the middle.
    Vanishing,
    /// Speaks neither TLS nor the protocol.
    Noise,
}

impl Conduct {
    pub(crate) const ALL: [Self; 12] = [
        Self::Polite,
        Self::HalfClose,
        Self::NoNotify,
        Self::Bye,
        Self::Garbled,
        Self::Abandoned,
        Self::SlowReader,
        Self::Deaf,
        Self::Silent,
        Self::Loris,
        Self::Vanishing,
        Self::Noise,
    ];

    /// Whether every reply must arrive, and a proper end of the stream behind them.
    pub(crate) fn is_honest(self) -> bool {
        use Conduct::{Bye, Garbled, HalfClose, NoNotify, Polite, SlowReader};
        matches!(self, Polite | HalfClose | NoNotify | Bye | Garbled | SlowReader)
    }

    /// Whether it leaves by itself, or gives the server reason to close, without any deadline.
    pub(crate) fn leaves(self, echo: bool) -> bool {
        self.is_honest() && !(echo && matches!(self, Self::Bye | Self::Garbled))
    }
}

/// One client's part.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) conduct: Conduct,
    pub(crate) start: Duration,
    pub(crate) actions: Vec<Action>,
    /// All its requests.
    pub(crate) asked: Vec<u8>,
    /// What the model answers to them.
    pub(crate) expected: Vec<u8>,
    /// Bytes it ever writes to its socket.
    pub(crate) wire_limit: usize,
    /// How long it waits between single bytes.
    pub(crate) drip: Option<Duration>,
}

/// How large a script is: how many requests, and how large the largest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) echo: bool,
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Script {
    pub(crate) fn draw(random: &mut Random, scale: Scale) -> Self {
        let conduct = if random.chance(0.4) { Conduct::Polite } else { random.one_of(Conduct::ALL) };
        let latest = Duration::from_secs(random.one_of([0, 1, 5]));
        let mut script = Self {
            conduct,
            start: random.time(latest),
            actions: Vec::new(),
            asked: Vec::new(),
            expected: Vec::new(),
            wire_limit: usize::MAX,
            drip: None,
        };
        let mut asked = Vec::new();
        for _ in 0..random.size(1, scale.requests) {
            asked.extend_from_slice(&request(random, scale));
        }
        script.end(random, scale, &mut asked);
        script.expected = answer(scale.echo, &asked);
        script.cut(random, &asked);
        script.asked = asked;
        script
    }

    /// What comes behind the requests, and then how the client leaves.
    fn end(&mut self, random: &mut Random, scale: Scale, asked: &mut Vec<u8>) {
        let tail: &[u8] = match self.conduct {
            Conduct::Bye => b"bye\nnow\nnow\n",
            Conduct::Garbled => b"nonsense\nnow\n",
            Conduct::Abandoned => b"drop\nnow\n",
            _ => b"",
        };
        if !scale.echo {
            asked.extend_from_slice(tail);
        }
        match self.conduct {
            Conduct::Silent => self.wire_limit = random.size(0, 3_000).saturating_sub(500),
            Conduct::Loris => self.drip = Some(Duration::from_millis(random.one_of([400, 4_000]))),
            _ => {}
        }
    }

    /// Cuts the requests into pieces that are sent with pauses between them.
    fn cut(&mut self, random: &mut Random, asked: &[u8]) {
        if self.conduct == Conduct::Noise {
            let noise = (0..random.size(1, 2_000)).map(|_| random.bits().to_le_bytes()[0]).collect();
            self.actions = vec![Action::Raw(noise)];
            return;
        }
        let mut rest = asked;
        while !rest.is_empty() {
            let size = random.one_of([1, 5, 100, usize::MAX]);
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            self.actions.push(Action::Send(piece.to_vec()));
            if random.chance(0.05) {
                self.actions.push(Action::Think(random.time(Duration::from_secs(2))));
            }
        }
        let middle = random.size(0, self.actions.len());
        match self.conduct {
            Conduct::SlowReader => self.actions.insert(middle, Action::Deaf(random.time(Duration::from_secs(4)))),
            Conduct::Deaf => self.actions.insert(middle, Action::Deaf(Duration::from_secs(200))),
            Conduct::Vanishing => self.actions.insert(middle, Action::Vanish),
            _ => {}
        }
        // Whom the server leaves needs no last word: it reads to the end.
        let leaves: &[Action] = match self.conduct {
            Conduct::HalfClose => &[Action::Goodbye, Action::Fin],
            Conduct::NoNotify => &[Action::Fin],
            Conduct::Bye | Conduct::Garbled | Conduct::Abandoned => &[],
            _ => &[Action::Await(usize::MAX), Action::Goodbye, Action::Fin],
        };
        self.actions.extend_from_slice(leaves);
    }
}

/// One request, a small one most often.
fn request(random: &mut Random, scale: Scale) -> Vec<u8> {
    let size = if random.chance(0.1) { random.size(0, scale.bytes) } else { random.size(0, 20) };
    if scale.echo {
        return (0..size).map(|index| b'a' + u8::try_from(index % 26).unwrap_or(0)).collect();
    }
    match random.below(12) {
        0..4 => b"now\n".to_vec(),
        4..8 => {
            let longest = random.one_of([1, 30, 3_000]);
            format!("late {}\n", random.below(longest)).into_bytes()
        }
        8 => format!("big {size}\n").into_bytes(),
        9..11 => {
            let mut put = format!("put {size}\n").into_bytes();
            put.extend((0..size).map(|index| u8::try_from(index % 251).unwrap_or(0)));
            put
        }
        _ => b"hush\n".to_vec(),
    }
}

/// The model: what a server answers that never meets trouble.
pub(crate) fn answer(echo: bool, mut asked: &[u8]) -> Vec<u8> {
    if echo {
        return asked.to_vec();
    }
    let mut answered = Vec::new();
    for index in 0.. {
        let (request, used) = Request::decode(asked);
        answered.extend(request.reply(index).unwrap_or_default());
        if used == 0 || matches!(request, Request::Bye | Request::Unknown | Request::Drop) {
            break;
        }
        asked = asked.get(used..).unwrap_or_default();
    }
    answered
}
