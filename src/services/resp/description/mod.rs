//! What commands are, as data: their names, how many arguments they take, which of these are keys, their flags and their
//! help. Nothing here knows how a command is executed, so that a description learned from another server's `COMMAND` reply
//! can be judged by the same [permissions](permission::decide).

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
