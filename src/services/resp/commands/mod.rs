//! The commands, by family: the description of each, its handler, and the forecast of its cost in a transaction.
//!
//! To add a command: a line in the family's `ENTRIES`, a handler beside the others, a row in the list of commands in
//! `docs/resp.md`, and a call in the differential test, where Redis has the command too. If the work or the reply may be
//! longer than the arguments, it needs a forecast.

pub(crate) mod connection;
mod container;
pub(crate) mod keys;
pub(crate) mod server;
pub(crate) mod strings;
