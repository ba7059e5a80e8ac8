//! Commands as data: their names, arity, keys, flags and help. This layer does not know how a command is executed, so that
//! the same [permissions](permission::decide) apply to a description learned from another server's `COMMAND` reply.

mod command;
mod flags;
mod key_use;
pub(crate) mod permission;
mod table;

pub(crate) use command::{Command, Group};
pub(crate) use flags::{Flag, Flags};
#[cfg(test)]
pub(crate) use key_use::Keyword;
pub(crate) use key_use::{KeyBegin, KeyEffect, KeyFlag, KeySpan, KeyUse};
pub(crate) use table::{CommandEntry, CommandId, CommandTable, Unresolved, concat};
