//! The family of commands that Redis calls `generic`.

pub(crate) mod expiry;
pub(crate) mod keyspace;
pub(crate) mod search;
