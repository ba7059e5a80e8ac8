//! Simulated sockets and a simulated clock, to test your own [`Service`](crate::connection::Service). The server's loop
//! runs on them unchanged, and a failure repeats with the same seed.
//!
//! A [`Network`] holds everything: listeners, bytes under way, the time, and which [`NetFaults`] are injected. A
//! [`SimNet`] is one host's view of it and implements [`Net`](crate::net::Net). Nothing happens by itself: the test
//! moves the clock with [`Network::advance_to`], and bytes and connections arrive then.
//!
//! A poll of a [`SimNet`] never sleeps. When there is nothing to report and time is left, it fails with
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock), and a server's turn ends there, before it does anything. The test
//! then runs others, or advances the clock, until [`SimNet::is_awake`] returns that the poll would have ended.
//!
//! Readiness is reported as in epoll's edge-triggered mode. An event reports the state when it is taken, not what
//! happened: data and the FIN after it that have both arrived give one event, with `read_closed`. No event is repeated.
//! A short write is followed by a writable event when there is room again; a short read is followed by none.

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
