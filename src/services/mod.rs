//! What is served.

pub mod xmlrpc;
