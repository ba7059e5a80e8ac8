//! Bytes to requests and replies to bytes, sans I/O: each protocol with its server and client halves.

pub mod http;
#[cfg(test)]
pub(crate) mod pieces;
pub mod proxy;
pub mod resp;
pub mod xmlrpc;
