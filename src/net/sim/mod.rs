//! Simulated sockets and a simulated clock, for testing a [`Service`](crate::connection::Service) of your own: the
//! server's loop runs on them unchanged, and whatever goes wrong goes wrong again with the same seed.
//!
//! A [`Network`] holds everything: who listens, what is under way, what time it is, and which [`NetFaults`] happen. A
//! [`SimNet`] is one host's view of it and implements [`Net`](crate::net::Net). Nothing happens by itself: the test moves the
//! clock with [`Network::advance_to`], and that is when bytes and connections arrive.
//!
//! A poll of a [`SimNet`] never sleeps. When there is nothing to report and time is left, it fails with
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock), and a server's turn ends there, before anything was done. The test
//! then lets others run, or advances the clock, until [`SimNet::is_awake`] says that the poll would have ended.
//!
//! Readiness is reported as epoll's edge-triggered mode reports it. An event says what is true when it is taken, not
//! what happened: data and the FIN behind it that have both arrived give one event, with `read_closed`. No event is
//! repeated. A short write is followed by a writable event when there is room again, a short read by none.

mod end;
mod faults;
mod network;
mod random;
mod socket;
mod state;

pub use faults::{NetFault, NetFaults};
pub use network::{Network, SimNet};
pub use random::SimRandom;
pub use socket::{SimListener, SimSocket};

#[cfg(test)]
mod tests;
