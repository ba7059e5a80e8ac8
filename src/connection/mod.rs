//! One client, sans I/O: its session, its framing, its replies in order, its deadlines.

mod id;
mod replies;
mod service;

pub use id::PeerId;
pub use replies::{Completion, Deferred, Mailbox, Replies};
pub use service::{Exchange, PeerInfo, Service};
