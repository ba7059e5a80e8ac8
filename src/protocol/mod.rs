//! Protocols: bytes to requests, replies to bytes, and the same from the client's side.

pub mod http;
pub mod resp;
pub mod xmlrpc;
