//! One command being executed: the input of its handler, and its errors.

pub(crate) mod arguments;
pub(crate) mod budget;

mod error;
mod served_command;
pub(crate) mod work;

use self::budget::Forecast;
use super::description::{Command, CommandEntry, CommandId, CommandTable};
use super::state::{Core, RespSession};
use crate::access::{Class, Scope};
use crate::connection::Exchange;
use crate::protocol::resp::{Encoder, Request, parse_integer};
use crate::store::Store;
use crate::timer::Now;

pub(crate) use error::CommandError;
pub(crate) use served_command::command;

/// Executes a command: writes its reply, or fails with nothing written.
pub(crate) type Handler = fn(&mut Call<'_, '_>) -> Result<(), CommandError>;

/// The means to execute a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) handler: Handler,
    pub(crate) forecast: Forecast,
}

/// A command that is served: its description, and what executes it.
pub(crate) type ServedCommand = CommandEntry<Run>;
/// All commands that are served.
pub(crate) type ServedCommands = CommandTable<Run>;

/// One command being executed and everything it may touch.
pub(crate) struct Call<'c, 'x> {
    /// All commands, to find another one by name.
    pub(crate) table: &'static ServedCommands,
    pub(crate) core: &'c mut Core,
    pub(crate) session: &'c mut RespSession,
    pub(crate) store: &'c mut Store,
    pub(crate) command: &'static Command,
    pub(crate) id: CommandId,
    pub(crate) request: Request<'c>,
    pub(crate) exchange: &'c mut Exchange<'x>,
    /// Executed by `EXEC`: no command may come between this one and the next, and the reply must be written at once.
    pub(crate) is_atomic: bool,
}

impl<'c, 'x> Call<'c, 'x> {
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

    /// The keys that a command over all keys may see.
    pub(crate) fn scope(&self) -> Scope<'x> {
        self.exchange.peer.access.scope(Class::Read, self.command.name)
    }

    /// The error for a string that would be `length` bytes long: it names the bound that is exceeded.
    pub(crate) fn too_long(&self, length: usize) -> CommandError {
        let most = self.exchange.env.limits.request_bytes;
        if length > self.core.bulk_bytes {
            return CommandError::TOO_LONG;
        }
        CommandError::from(format!("ERR string exceeds maximum allowed size (--max-request, {most} bytes)"))
    }

    /// Charges the client for the reply that began at `start`: assembling it piece by piece takes longer than copying bytes.
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
