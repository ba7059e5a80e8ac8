//! The outside world: sockets and the clock, real ([`mio`]) or simulated ([`sim`]).
//!
//! The loop is written against [`Net`] and runs unchanged on either implementation.

mod address;
mod delivery;
mod dial;
mod event;
pub mod mio;
pub mod sim;
mod subnet;
mod target;
mod wake_flag;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use address::Address;
pub use delivery::Delivery;
pub use dial::{TimedStream, first_that_answers};
pub use event::Event;
pub use subnet::{NotASubnet, Subnet};
pub use target::{Lookup, Target};

use crate::timer::Now;

/// Wakes a sleeping loop from another thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A thread's use of the processors since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run while no processor was free.
    pub waited: Duration,
}

/// Sockets, readiness and time for one loop.
///
/// Readiness is edge-triggered: an event reports a change, possibly spuriously, and is not repeated. A caller that
/// stops reading or writing before `WouldBlock` must remember that there is more.
pub trait Net {
    /// A bound, listening socket; dropping it closes it.
    type Listener;
    /// A connected stream that never blocks; dropping it closes it.
    type Socket: Read + Write;

    /// From now on, an accepted or connected socket that is silent for so long sends TCP keepalive probes, and fails if
    /// no answer comes: a machine that loses power sends no FIN. `None` turns probes off. An implementation that always
    /// reports a lost peer does nothing.
    fn set_keepalive(&mut self, silence: Option<Duration>) {
        let _ = silence;
    }

    /// Binds `address` and reports new connections as readable events for `token`.
    fn listen(&mut self, address: SocketAddr, token: usize) -> io::Result<Self::Listener>;

    /// The address that was bound. It has the real port where port 0 was requested.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Accepts one waiting connection.
    fn accept(&mut self, listener: &Self::Listener) -> Result<(Self::Socket, SocketAddr), AcceptError>;

    /// The local address that the peer of an accepted socket connected to.
    fn local_address_of(&self, socket: &Self::Socket) -> io::Result<SocketAddr>;

    /// Begins to connect to `address`, from the local address `from` if one is given (TCP only). An event reports the
    /// outcome; then [`is_connected`](Self::is_connected) returns it.
    fn connect(&mut self, address: &Address, from: Option<IpAddr>) -> io::Result<Self::Socket>;

    /// The calling thread's use of the processors, if the system reports it.
    fn processor(&self) -> Option<Processor> {
        None
    }

    /// Whether a connection that was begun is established.
    ///
    /// # Errors
    ///
    /// The connection failed, for this reason.
    fn is_connected(&self, socket: &Self::Socket) -> io::Result<bool>;

    /// How much of what was written to `socket` its peer has acknowledged. It costs a system call, so it belongs before
    /// a decision to close a slow peer, not on the path of every byte.
    ///
    /// # Errors
    ///
    /// The system does not report it.
    fn delivery(&self, socket: &Self::Socket) -> io::Result<Delivery>;

    /// Reports readiness of `socket`, in both directions, as events for `token` until the socket is dropped.
    fn register(&mut self, socket: &mut Self::Socket, token: usize) -> io::Result<()>;

    /// Sends FIN. Reading goes on: shutting both directions of a TLS socket provokes a reset that can destroy
    /// records still on their way.
    fn shutdown_write(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// When `socket` is dropped, its peer is sent a reset instead of FIN. Without TLS, only a reset distinguishes a
    /// broken end from a proper one.
    fn reset_when_dropped(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// Waits for events, at most `timeout`, and appends them to `events`. The timeout is rounded up to the poller's
    /// unit, never down: a deadline must have passed when the wait for it ends. An interrupted wait returns no events.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// The time, to be read once a turn.
    fn now(&self) -> Now;

    /// Ends a `poll` early, from any thread.
    fn waker(&self) -> Wake;
}

/// Why no connection was accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// None is waiting; the next one causes an event.
    #[error("no connection is waiting")]
    Empty,
    /// This one was lost before it was accepted; the next may be fine.
    #[error("the connection was lost before it was accepted")]
    Lost,
    /// The process or the system is out of descriptors or memory. No event reports when that changes: try again after a
    /// pause.
    #[error("out of descriptors or memory: {0}")]
    Exhausted(io::Error),
    /// The listener itself failed.
    #[error("{0}")]
    Failed(io::Error),
}
