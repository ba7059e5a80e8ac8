//! Error replies.

use std::borrow::Cow;

use crate::services::resp::description::Command;
use crate::store::StoreError;

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
