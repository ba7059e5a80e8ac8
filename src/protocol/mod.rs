//! Bytes to requests and replies to bytes, sans I/O: each protocol with both its halves.

pub mod http;
pub mod proxy;
pub mod resp;
pub mod xmlrpc;
