//! The family of commands that Redis calls `connection`.

pub(crate) mod clients;
pub(crate) mod list;
