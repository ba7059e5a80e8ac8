//! What a connection wants done to others: noted while it works, done by the loop when it has finished.

use std::collections::VecDeque;

use super::PeerId;
use crate::disconnect::Disconnect;
use crate::net::Address;
use crate::tls::Session;

/// A connection to be made.
#[derive(Debug)]
pub struct Dial {
    /// To whom.
    pub address: Address,
    /// How it is protected: [`Session::plain`] or [`Session::client`].
    pub session: Session,
    /// What is sent before anything else, once the connection is open; often empty.
    pub preface: Vec<u8>,
}

/// The other end of a link.
///
/// Two linked connections live and die together: each sends what the other forwards and is read no faster than the
/// other sends; the end of one direction is carried across; the loss of one ends the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// This connection dialed that one.
    Upstream(PeerId),
    /// This connection was dialed on behalf of that one.
    Client(PeerId),
}

impl Link {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(self) -> PeerId {
        match self {
            Self::Upstream(peer) | Self::Client(peer) => peer,
        }
    }
}

/// Why a connection that was dialed is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// In the words of the counters.
    pub reason: Disconnect,
    /// What more is known, for the log; may be empty.
    pub detail: Box<str>,
}

impl Loss {
    /// Whether the server was there, and TLS with it failed.
    #[must_use]
    pub fn is_of_tls(&self) -> bool {
        use Disconnect::{Alert, Certificate, Handshake, NotTls, Tls};
        matches!(self.reason, Alert | Certificate | Handshake | NotTls | Tls) && !self.detail.is_empty()
    }
}

/// One thing to be done to another connection. Names of connections that are gone by then are harmless.
#[derive(Debug)]
pub enum Effect {
    /// Connect, and link the new connection to its dialer.
    Dial {
        /// Who asked for it.
        dialer: PeerId,
        /// What to connect to.
        dial: Box<Dial>,
    },
    /// Send these bytes.
    Forward {
        /// Who sends them.
        to: PeerId,
        /// What is sent.
        bytes: Vec<u8>,
    },
    /// Send no more after what is owed, and go on reading.
    Finish {
        /// Whose output is finished.
        peer: PeerId,
        /// Whether what it was sent is known to be all.
        proper: bool,
    },
    /// Serve no more, send what is owed, say good-bye.
    Disconnect {
        /// Whose connection ends.
        peer: PeerId,
        /// Why.
        reason: Disconnect,
    },
}

/// Effects in the order they were asked for.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    /// How much the connection linked to the one at work still takes.
    room: usize,
}

impl Effects {
    /// Before a connection works: how many bytes the one it is linked to takes.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Takes the oldest effect.
    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Notes as many of `bytes` as `to` has room for, in one piece with those before them, and returns how many.
    pub(super) fn forward(&mut self, to: PeerId, bytes: &[u8], spare: impl FnOnce() -> Vec<u8>) -> usize {
        let piece = bytes.get(..self.room).unwrap_or(bytes);
        self.room -= piece.len();
        if let Some(Effect::Forward { to: last, bytes }) = self.queue.back_mut()
            && *last == to
        {
            bytes.extend_from_slice(piece);
        } else {
            let mut bytes = spare();
            bytes.extend_from_slice(piece);
            self.push(Effect::Forward { to, bytes });
        }
        piece.len()
    }

    /// Whether `peer` has asked for a connection that is not made yet.
    pub(super) fn is_dialed_by(&self, peer: PeerId) -> bool {
        self.queue.iter().any(|effect| matches!(effect, Effect::Dial { dialer, .. } if *dialer == peer))
    }
}
