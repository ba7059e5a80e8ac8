//! Handlers that all containers share: the refusal without a subcommand, and the `HELP` subcommand.

use crate::services::resp::call::{Call, CommandError};

/// A container without a subcommand: its arity has refused that already, with the same error.
pub(crate) fn refuse(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    Err(CommandError::arity(call.command))
}

/// `CONTAINER HELP`: the summaries of the container's subcommands.
pub(crate) fn help(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Some((_, container)) = call.command.container().and_then(|name| call.table.find(name.as_bytes())) else {
        return Err(CommandError::SYNTAX);
    };
    let subcommands = call.table.subcommands(&container.command);
    let name = container.command.name.to_uppercase();
    let mut reply = call.reply();
    reply.array(1 + 2 * subcommands.clone().count());
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for command in subcommands {
        let own = command.name.rsplit('|').next().unwrap_or_default();
        reply.simple(&own.to_uppercase());
        reply.simple(&format!("    {}.", command.summary.trim_end_matches('.')));
    }
    Ok(())
}
