//! The commands, by family.

pub(crate) mod connection;
pub(crate) mod keys;
pub(crate) mod server;
pub(crate) mod strings;
