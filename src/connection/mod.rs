//! One client, sans I/O: its session, its framing, its replies in order, its deadlines.

mod addresses;
mod announced;
#[allow(clippy::module_inception)]
mod connection;
mod effects;
mod framing;
mod gate;
mod held;
mod id;
mod linked;
mod operators;
mod patience;
mod phase;
mod plaintext;
mod replies;
mod scratch;
mod service;
#[cfg(test)]
pub(crate) mod testing;
mod transmit;

pub use addresses::{Addresses, site};
pub use connection::Connection;
pub use effects::{Dial, Effect, Effects, Link, Loss};
pub use framing::Turn;
pub use id::PeerId;
pub use operators::Operators;
pub use phase::{Phase, Transmitted};
pub use replies::{Completion, Deferred, Mailbox, Replies};
pub use scratch::Scratch;
pub use service::{Exchange, PeerInfo, Service, Settled};

#[cfg(test)]
mod tests;
