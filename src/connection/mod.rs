//! One client, sans I/O: its session, its framing, its replies in order, its deadlines.

mod addresses;
mod admit;
#[allow(clippy::module_inception)]
mod connection;
mod context;
mod deadlines;
mod durable_replies;
mod effects;
mod framing;
mod id;
mod lifecycle;
mod linked;
mod operator_places;
mod operators;
mod output;
mod plaintext;
mod proxy_header;
mod replies;
mod scratch;
mod service;
mod transmit;
mod write_progress;

pub use addresses::{SharedAddresses, site};
pub use connection::Connection;
pub use context::{Context, Environment};
pub use effects::{Dial, Effect, Effects, Link, Loss};
pub use id::PeerId;
pub use lifecycle::{Phase, Transmitted};
pub use operators::Operators;
#[cfg(any(test, feature = "internals"))]
pub(crate) use output::Output;
pub use replies::{Completion, Deferred, Mailbox, Replies};
pub use scratch::Scratch;
pub use service::{CommitStatus, Exchange, PeerInfo, Served, Service, SessionState, Tick};

#[cfg(test)]
mod tests;
