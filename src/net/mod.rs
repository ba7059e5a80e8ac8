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

/// What wakes a sleeping loop from another thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a thread has had of the processors since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run, and none was free for it.
    pub waited: Duration,
}

/// Sockets, readiness and time for one loop.
///
/// Readiness is edge-triggered: an event says that something changed, possibly spuriously, and is not repeated. Who
/// stops before `WouldBlock` must remember that there is more.
pub trait Net {
    /// A bound, listening socket; dropping it closes it.
    type Listener;
    /// A connected stream that never blocks; dropping it closes it.
    type Socket: Read + Write;

    /// From now on, an accepted or connected socket that is silent for so long is asked whether its other end is still
    /// there, and fails if it is not: a machine that has lost its power says no good-bye. `None` asks nobody.
    /// Where an end that is gone is always heard of, there is nothing to do.
    fn set_keepalive(&mut self, silence: Option<Duration>) {
        let _ = silence;
    }

    /// Binds `address` and reports new connections as readable events for `token`.
    fn listen(&mut self, address: SocketAddr, token: usize) -> io::Result<Self::Listener>;

    /// The address that was really bound: it names the port where 0 was asked for.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Takes one waiting connection.
    fn accept(&mut self, listener: &Self::Listener) -> Result<(Self::Socket, SocketAddr), AcceptError>;

    /// The local address that the peer of an accepted socket connected to.
    fn local_address_of(&self, socket: &Self::Socket) -> io::Result<SocketAddr>;

    /// Begins to connect to `address`, from the local address `from` if one is given (TCP only). An event says that
    /// something has happened to it; then [`is_connected`](Self::is_connected) tells what.
    fn connect(&mut self, address: &Address, from: Option<IpAddr>) -> io::Result<Self::Socket>;

    /// What the calling thread has had of the processors, where the system tells.
    fn processor(&self) -> Option<Processor> {
        None
    }

    /// Whether a connection that was begun has been made.
    ///
    /// # Errors
    ///
    /// It never will be, for this reason.
    fn is_connected(&self, socket: &Self::Socket) -> io::Result<bool>;

    /// How far `socket` has got rid of what was written to it. It costs a system call: ask before a peer is cut off for
    /// taking too little, not on the way of every byte.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    fn delivery(&self, socket: &Self::Socket) -> io::Result<Delivery>;

    /// Reports readiness of `socket`, in both directions, as events for `token` until the socket is dropped.
    fn register(&mut self, socket: &mut Self::Socket, token: usize) -> io::Result<()>;

    /// Sends FIN. Reading goes on: shutting both directions of a TLS socket provokes a reset that can destroy
    /// records still on their way.
    fn shutdown_write(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// When `socket` is dropped, its peer is sent a reset, and never FIN: for whoever has no TLS, that alone tells an end that
    /// is none from a proper one.
    fn reset_when_dropped(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// Waits for events, at most `timeout` (rounded up to what the poller counts in, never down: a deadline must have
    /// come when the wait for it ends), and appends them to `events`. An interrupted wait is an empty one.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// The time, to be read once a turn.
    fn now(&self) -> Now;

    /// What ends a `poll` early, from any thread.
    fn waker(&self) -> Wake;
}

/// Why no connection was taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// None is waiting: the next event will tell.
    #[error("no connection is waiting")]
    Empty,
    /// This one was lost before it could be taken; the next may be fine.
    #[error("the connection was lost before it was accepted")]
    Lost,
    /// The process or the system is out of descriptors or memory. No event will tell when that changes: try again
    /// after a pause.
    #[error("out of descriptors or memory: {0}")]
    Exhausted(io::Error),
    /// The listener itself fails.
    #[error("{0}")]
    Failed(io::Error),
}
