//! What a command's handler is given, and how it fails.

pub(crate) mod budget;

use std::borrow::Cow;

use crate::connection::Exchange;
use crate::protocol::resp::{Encoder, Request, parse_integer};
use crate::services::resp::Core;
use crate::services::resp::description::command::{Command, CommandId};
use crate::services::resp::state::session::RespSession;
use crate::store::{Glob, Kind, Store, StoreError};
use crate::timer::Now;

/// Executes a command: writes its reply, or fails with nothing written.
pub(crate) type Handler = fn(&mut Call<'_, '_>) -> Result<(), CommandError>;

/// One command being executed and everything it may touch.
pub(crate) struct Call<'c, 'x> {
    pub(crate) core: &'c mut Core,
    pub(crate) session: &'c mut RespSession,
    pub(crate) store: &'c mut Store,
    pub(crate) command: &'static Command,
    pub(crate) id: CommandId,
    pub(crate) request: Request<'c>,
    pub(crate) exchange: &'c mut Exchange<'x>,
    /// Executed by `EXEC`: nothing may come between this command and the next, and the reply must be written at once.
    pub(crate) is_atomic: bool,
}

impl<'c> Call<'c, '_> {
    /// Where the reply goes.
    pub(crate) fn reply(&mut self) -> Encoder<'_> {
        Encoder::new(self.exchange.reply(), self.session.protocol)
    }

    pub(crate) fn now(&self) -> Now {
        self.exchange.env.now
    }

    /// Argument `index`. The arity has been checked, so one that the command requires is there; an optional one that
    /// is not reads as empty.
    pub(crate) fn argument(&self, index: usize) -> &'c [u8] {
        self.request.get(index).unwrap_or_default()
    }

    /// Argument `index` as an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, CommandError> {
        parse_integer(self.argument(index)).ok_or(CommandError::NOT_AN_INTEGER)
    }

    /// The longest string that a command may make.
    pub(crate) fn longest_value(&self) -> usize {
        self.core.bulk_bytes.min(self.exchange.env.limits.request_bytes)
    }

    /// What is said to one that would be `length` bytes long: which of the two bounds it passes.
    pub(crate) fn too_long(&self, length: usize) -> CommandError {
        let most = self.exchange.env.limits.request_bytes;
        if length > self.core.bulk_bytes {
            return CommandError::TOO_LONG;
        }
        CommandError::from(format!("ERR string exceeds maximum allowed size (--max-request, {most} bytes)"))
    }

    /// The reply that began at `start` was put together piece by piece, which costs its client more of its share of the turn
    /// than bytes that are copied.
    pub(crate) fn spend_report(&mut self, start: usize) {
        /// Bytes that cost as much as another request.
        const REQUEST_BYTES: usize = 1 << 10;
        let bytes = self.reply().position().saturating_sub(start);
        self.exchange.spend(bytes / REQUEST_BYTES);
    }

    pub(crate) fn ok(&mut self) -> Result<(), CommandError> {
        self.reply().ok();
        Ok(())
    }

    pub(crate) fn answer_integer(&mut self, value: i64) -> Result<(), CommandError> {
        self.reply().integer(value);
        Ok(())
    }

    pub(crate) fn answer_count(&mut self, value: usize) -> Result<(), CommandError> {
        self.reply().count(value);
        Ok(())
    }

    pub(crate) fn null(&mut self) -> Result<(), CommandError> {
        self.reply().null();
        Ok(())
    }
}

/// The text of an error reply, its code first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandError(Cow<'static, [u8]>);

impl CommandError {
    pub(crate) const SYNTAX: Self = Self::new("ERR syntax error");
    pub(crate) const NOT_AN_INTEGER: Self = Self::new("ERR value is not an integer or out of range");
    pub(crate) const NOT_A_FLOAT: Self = Self::new("ERR value is not a valid float");
    pub(crate) const WRONG_TYPE: Self = Self::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(crate) const TOO_LONG: Self = Self::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub(crate) const NO_SUCH_KEY: Self = Self::new("ERR no such key");
    /// In the words of a Redis whose disk is full.
    pub(crate) const NOT_KEPT: Self =
        Self::new("MISCONF Errors writing to the data directory: writes are refused, and INFO persistence says why");
    pub(crate) const OVERFLOW: Self = Self::new("ERR increment or decrement would overflow");

    pub(crate) const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// Redis's text for a wrong number of arguments.
    pub(crate) fn arity(command: &Command) -> Self {
        Self::from(format!("ERR wrong number of arguments for '{}' command", command.name))
    }

    /// Redis's text for a time that is negative or too far away.
    pub(crate) fn expire_time(command: &Command) -> Self {
        Self::from(format!("ERR invalid expire time in '{}' command", command.name))
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for CommandError {
    fn from(text: Vec<u8>) -> Self {
        Self(Cow::Owned(text))
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OutOfMemory => Self::new("OOM command not allowed when used memory > 'maxmemory'."),
            StoreError::KeyTooLong => Self::new("ERR key exceeds maximum allowed size"),
            StoreError::ValueTooLarge => Self::TOO_LONG,
            StoreError::ReadOnly => Self::NOT_KEPT,
        }
    }
}

/// The longest pattern. Reading one takes time and memory in proportion, and many kilobytes of it.
const PATTERN_BYTES: usize = 256;

/// Reads a pattern of `KEYS`, `SCAN`, `CONFIG GET` or `COMMAND LIST`.
pub(crate) fn glob(pattern: &[u8]) -> Result<Glob, CommandError> {
    if pattern.len() > PATTERN_BYTES {
        return Err(CommandError::from(format!("ERR the pattern is longer than {PATTERN_BYTES} bytes")));
    }
    Ok(Glob::new(pattern))
}

/// What `TYPE` says.
pub(crate) fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes | Kind::String | Kind::Base64 => "string",
        Kind::Int => "int",
        Kind::I8 => "i8",
        Kind::Boolean => "boolean",
        Kind::Double => "double",
        Kind::Nil => "nil",
        Kind::DateTime => "dateTime",
        Kind::Array => "array",
        Kind::Struct => "struct",
    }
}

/// Text of an argument for an error reply, shortened as Redis does.
pub(crate) fn quoted(argument: &[u8], longest: usize) -> &[u8] {
    let shortened = argument.get(..longest).unwrap_or(argument);
    shortened.split(|&byte| byte == 0).next().unwrap_or_default()
}
