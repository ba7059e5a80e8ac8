//! From a request to its handler: which command it names, whether it may be executed, and its execution, which is counted.

use std::time::Instant;

use super::call::arguments::quoted;
use super::call::{Call, CommandError, Handler, ServedCommand, ServedCommands};
use super::description::permission::{self, Refusal};
use super::description::{Command, CommandId, Flag, KeyUse, Unresolved};
use crate::access::Access;
use crate::protocol::resp::Request;

/// Finds the command, or the subcommand, that a request names.
pub(crate) fn resolve(
    table: &'static ServedCommands,
    request: &Request<'_>,
) -> Result<(CommandId, &'static ServedCommand), CommandError> {
    table.resolve(request).map_err(|unresolved| match unresolved {
        Unresolved::Command => unknown_command(request),
        Unresolved::Subcommand(container) => unknown_subcommand(container, request.get(1).unwrap_or_default()),
    })
}

/// Arguments of a command that does not take a list of keys.
const OTHER_ARGUMENTS: usize = 128;

/// The one place that every command passes before it is executed or queued, and again when `EXEC` executes it.
///
/// It sees the client, the command and the keys that the request names.
pub(crate) fn admit(call: &mut Call<'_, '_>, handler: Handler) -> Result<(), CommandError> {
    if !call.command.takes(call.request.len()) {
        return Err(CommandError::arity(call.command));
    }
    if call.command.is(Flag::Protected) {
        return handler(call);
    }
    let most = call.core.options.keys_per_command;
    if call.request.len() > most.min(OTHER_ARGUMENTS) {
        check_length(call.command, &call.request, most)?;
    }
    authorize(call)?;
    if call.command.is(Flag::Write) && call.store.refuses_writes().is_some() {
        return Err(CommandError::NOT_KEPT);
    }
    Ok(())
}

/// Refuses more than `most` keys, and long lists of arguments that are no keys.
fn check_length(command: &Command, request: &Request<'_>, most: usize) -> Result<(), CommandError> {
    if command.key_count(request) > most {
        return Err(CommandError::from(format!("ERR too many keys in one command: at most {most} are served")));
    }
    let takes_any_keys = command.keys.iter().any(KeyUse::is_open_ended);
    if !takes_any_keys && request.len() > OTHER_ARGUMENTS {
        return Err(CommandError::from(format!("ERR too many arguments: at most {OTHER_ARGUMENTS} are served")));
    }
    Ok(())
}

/// Refuses, in Redis's words, what the client's rules do not grant.
fn authorize(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let access = &call.exchange.peer.access;
    if *access == Access::Everything {
        return Ok(());
    }
    let refusal = match permission::decide(call.command, &call.request, access) {
        Ok(()) => return Ok(()),
        Err(Refusal::Key) => CommandError::new("NOPERM No permissions to access a key"),
        Err(Refusal::Command) => {
            let client = call.core.clients.get(call.exchange.peer.id);
            let names = client.and_then(|client| client.names.as_ref()).filter(|names| !names.user.is_empty());
            let user = names.map_or("default".into(), |names| String::from_utf8_lossy(&names.user));
            let name = call.command.name;
            CommandError::from(format!("NOPERM User {user} has no permissions to run the '{name}' command"))
        }
    };
    call.exchange.env.metrics.denials += 1;
    Err(refusal)
}

/// Arguments that cost as much as another request: a command that names many keys uses up more of its client's share of the
/// turn.
const ARGUMENTS_PER_REQUEST: usize = 16;

/// Keys that are evicted in the time of another request.
const EVICTIONS_PER_REQUEST: u64 = 32;

/// One call of a command in so many is timed, the first: reading the clock takes a noticeable part of a small command.
const CALLS_TIMED: u64 = 16;

/// The clock and the time by it, where this call is one of those that are timed.
fn begin_timing(call: &Call<'_, '_>) -> Option<(fn() -> Instant, Instant)> {
    let calls = call.core.calls.get(call.id.index())?;
    let clock = call.core.options.clock.filter(|_| calls.total.is_multiple_of(CALLS_TIMED))?;
    Some((clock, clock()))
}

/// Calls the handler, writes its error, and counts the call.
pub(crate) fn execute(call: &mut Call<'_, '_>, handler: Handler) {
    let began = begin_timing(call);
    let is_untouched = call.session.is_untouching && !call.command.is(Flag::Touch);
    // Commands of a transaction are executed within `EXEC`, each by its own rule.
    let outer = call.store.set_untouched(is_untouched);
    let evicted = call.store.evicted();
    let outcome = handler(call);
    let evicted = (call.store.evicted() - evicted) / EVICTIONS_PER_REQUEST;
    call.store.set_untouched(outer);
    // A heavy command uses up its client's share of the turn.
    let is_heavy = call.command.is(Flag::Heavy);
    let share =
        if is_heavy { call.exchange.env.limits.requests_per_turn } else { call.request.len() / ARGUMENTS_PER_REQUEST };
    call.exchange.spend(share.saturating_add(usize::try_from(evicted).unwrap_or(usize::MAX)));
    let failed = u64::from(outcome.is_err());
    let took = began.map(|(clock, began)| clock().saturating_duration_since(began));
    if let Some(calls) = call.core.calls.get_mut(call.id.index()) {
        calls.total += 1;
        calls.failed += failed;
        if let Some(took) = took {
            calls.timed += 1;
            calls.took += took;
        }
    }
    if let Err(failure) = outcome {
        call.reply().error(failure.text());
    }
}

fn unknown_command(request: &Request<'_>) -> CommandError {
    const LONGEST: usize = 128;
    let name = quoted(request.get(0).unwrap_or_default(), LONGEST);
    let mut text = [b"ERR unknown command '", name, b"', with args beginning with: "].concat();
    let start = text.len();
    for argument in request.from(1) {
        let Some(room) = LONGEST.checked_sub(text.len() - start).filter(|&room| room > 0) else { break };
        text.extend_from_slice(&[b"'", quoted(argument, room), b"' "].concat());
    }
    CommandError::from(text)
}

fn unknown_subcommand(container: &Command, name: &[u8]) -> CommandError {
    let tail = format!("'. Try {} HELP.", container.name.to_uppercase());
    CommandError::from([b"ERR unknown subcommand '", quoted(name, 128), tail.as_bytes()].concat())
}
