//! How families write down their commands.

use super::budget::{self, Forecast};
use super::{Handler, Run, ServedCommand};
use crate::services::resp::description::{Command, CommandEntry, Flags, Group, KeyUse};

/// A command that names no key, and costs its arguments.
pub(crate) const fn command(
    name: &'static str,
    arity: i8,
    since: &'static str,
    group: Group,
    flags: Flags,
    handler: Handler,
) -> ServedCommand {
    let command = Command { name, arity, flags, keys: &[], group, since, summary: "" };
    CommandEntry { command, run: Run { handler, forecast: budget::nothing } }
}

impl ServedCommand {
    /// Its summary.
    pub(crate) const fn about(mut self, summary: &'static str) -> Self {
        self.command.summary = summary;
        self
    }

    /// Which of its arguments are keys.
    pub(crate) const fn keys(mut self, keys: &'static [KeyUse]) -> Self {
        self.command.keys = keys;
        self
    }

    /// Its cost in a transaction, where its arguments alone do not determine it.
    pub(crate) const fn forecast(mut self, forecast: Forecast) -> Self {
        self.run.forecast = forecast;
        self
    }
}
