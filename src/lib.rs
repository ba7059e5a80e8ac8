//! latchkey: a TLS server and a TLS-first load harness on one `mio` loop.
//!
//! A byte travels in one direction:
//!
//! ```text
//! socket -> tls::Session -> framing -> request -> store -> reply -> connection::Replies -> tls::Session -> socket
//! ```
//!
//! Modules stand on floors and import only downwards; `tests/tidy.rs` checks it. From the ground up:
//!
//! | floor | modules | job |
//! |---|---|---|
//! | 0 | [`disconnect`], [`limits`], [`text`], [`timer`], [`value`] | plain data |
//! | 1 | [`net`], [`disk`], [`metrics`] | the outside world: sockets and the clock; what outlives the process; what is counted for operators |
//! | 2 | [`tls`], [`store`] | sessions and trust; keys and values |
//! | 3 | [`protocol`], [`access`] | bytes to requests, replies to bytes; who may ask what |
//! | 4 | [`connection`] | one client: session, framing, replies in order, deadlines |
//! | 5 | [`services`], [`server`], [`client`], [`load`] | what is served, the loop that serves it, who asks, and how much |
//! | 6 | `cli` | arguments to a validated configuration, then run |
//!
//! To serve a protocol of your own, implement [`connection::Service`] and hand it to [`server::Server`].

#![forbid(unsafe_code)]

pub mod access;
pub mod client;
pub mod connection;
pub mod disconnect;
pub mod disk;
pub mod limits;
pub mod load;
pub mod metrics;
pub mod net;
pub mod protocol;
pub mod server;
pub mod services;
pub mod store;
pub mod text;
pub mod timer;
pub mod tls;
pub mod value;

pub mod cli;
