//! The family of commands that Redis calls `server`.

pub(crate) mod config;
pub(crate) mod general;
pub(crate) mod info;
pub(crate) mod introspection;
pub(crate) mod persistence;
