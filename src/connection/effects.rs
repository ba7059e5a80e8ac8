//! What a connection wants done to other connections: recorded during its work, done by the loop afterwards.

use std::collections::VecDeque;

use rustls_pki_types::ServerName;

use super::PeerId;
use crate::disconnect::Disconnect;
use crate::net::Address;
use crate::tls::{ClientPolicy, Session};

/// A connection to be made.
#[derive(Debug)]
pub struct Dial {
    /// Its address.
    pub address: Address,
    /// Its protection.
    pub(crate) session: Session,
    /// Bytes sent before anything else, once the connection is open; often empty.
    pub preface: Vec<u8>,
}

impl Dial {
    /// A connection to `address` without TLS.
    #[must_use]
    pub fn plain(address: Address) -> Self {
        Self { address, session: Session::plain(), preface: Vec::new() }
    }

    /// A connection to `address` over TLS, to a server that proves that it is `name`.
    ///
    /// # Errors
    ///
    /// rustls does not take the configuration.
    pub fn tls(address: Address, policy: &ClientPolicy, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        Ok(Self { address, session: Session::client(policy.config(), name)?, preface: Vec::new() })
    }
}

/// The other end of a link.
///
/// Two linked connections have one lifetime: each sends what the other forwards and is read no faster than the other
/// sends; the end of one direction is carried across; the loss of one ends the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// This connection dialed that one.
    Upstream(PeerId),
    /// This connection was dialed on behalf of that one.
    Client(PeerId),
}

impl Link {
    /// The id of the other end.
    #[must_use]
    pub fn peer(self) -> PeerId {
        match self {
            Self::Upstream(peer) | Self::Client(peer) => peer,
        }
    }
}

/// Why a dialed connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The reason, as in the counters.
    pub reason: Disconnect,
    /// Further details for the log; may be empty.
    pub detail: Box<str>,
}

impl Loss {
    /// Whether the server was reached, and TLS with it failed.
    #[must_use]
    pub fn is_of_tls(&self) -> bool {
        use Disconnect::{Alert, Certificate, Handshake, NotTls, Tls};
        matches!(self.reason, Alert | Certificate | Handshake | NotTls | Tls) && !self.detail.is_empty()
    }
}

/// One thing to be done to another connection. Ids of connections that have ended are ignored.
#[derive(Debug)]
pub enum Effect {
    /// Connect, and link the new connection to its dialer.
    Dial {
        /// The connection that wants it.
        dialer: PeerId,
        /// The connection to be made.
        dial: Box<Dial>,
    },
    /// Send these bytes.
    Forward {
        /// The connection that sends them.
        to: PeerId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Send no more after owed bytes, and continue reading.
    Finish {
        /// The connection whose output ends.
        peer: PeerId,
        /// Whether its output is known to be complete.
        proper: bool,
    },
    /// Serve no more, send owed replies, and close in order.
    Disconnect {
        /// The connection that ends.
        peer: PeerId,
        /// The reason.
        reason: Disconnect,
    },
}

/// Effects in the order in which they were requested.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    /// How many more bytes the linked connection accepts.
    room: usize,
}

impl Effects {
    /// Sets, before a connection works, how many bytes its linked connection accepts.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Removes the oldest effect and returns it.
    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Records as many of `bytes` as `to` has room for, together with those before them, and returns how many.
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

    /// Whether `peer` has requested a connection that is not made yet.
    pub(super) fn is_dialed_by(&self, peer: PeerId) -> bool {
        self.queue.iter().any(|effect| matches!(effect, Effect::Dial { dialer, .. } if *dialer == peer))
    }
}
