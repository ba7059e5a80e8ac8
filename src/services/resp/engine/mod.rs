//! The outcome of a request: it is executed, queued until `EXEC`, or refused.

pub(crate) mod transactions;

use super::call::{Call, CommandError, Handler, ServedCommands};
use super::description::{CommandId, Flag};
use super::dispatch::{admit, execute, resolve};
use super::state::{Core, RespSession};
use crate::connection::Exchange;
use crate::disconnect::Disconnect;
use crate::protocol::resp::{Encoder, Request};
use crate::store::Store;

/// Finds the command that `request` names, and executes, queues or refuses it. `raw` is the request as it was received.
///
/// # Errors
///
/// The bytes are an HTTP request, aimed at this port through somebody's browser: the connection must be closed before
/// the rest of it, which an attacker may have chosen, is taken for commands.
pub(crate) fn answer(
    table: &'static ServedCommands,
    core: &mut Core,
    session: &mut RespSession,
    store: &mut Store,
    exchange: &mut Exchange<'_>,
    request: Request<'_>,
    raw: &[u8],
) -> Result<(), Disconnect> {
    let (refusal, id, is_exec) = match resolve(table, &request) {
        Ok((id, entry)) => {
            let (command, handler) = (&entry.command, entry.run.handler);
            if let Some(client) = core.clients.get_mut(exchange.peer.id) {
                client.active_ms = exchange.env.now.unix_ms;
                client.command = Some(command);
            }
            let mut call = Call { table, core, session, store, command, id, request, exchange, is_atomic: false };
            match perform(&mut call, handler, raw) {
                Ok(()) => return Ok(()),
                Err(refusal) => (refusal, Some(id), command.is(Flag::Exec)),
            }
        }
        Err(_) if is_http(&request) => {
            exchange.explain("an HTTP request, where RESP is spoken");
            return Err(Disconnect::Malformed);
        }
        Err(refusal) => (refusal, None, false),
    };
    count_rejected(core, id);
    let refusal = transactions::abort(session, store, is_exec, refusal);
    Encoder::new(exchange.reply(), session.protocol).error(refusal.text());
    Ok(())
}

/// Executes the command being called, or queues it if it belongs to a transaction.
///
/// # Errors
///
/// It is refused, and nothing is replied yet.
fn perform(call: &mut Call<'_, '_>, handler: Handler, raw: &[u8]) -> Result<(), CommandError> {
    admit(call, handler)?;
    if call.session.transaction.is_some() && !call.command.is(Flag::InMulti) {
        return transactions::queue(call, raw);
    }
    execute(call, handler);
    Ok(())
}

fn is_http(request: &Request<'_>) -> bool {
    let name = request.get(0).unwrap_or_default();
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn count_rejected(core: &mut Core, id: Option<CommandId>) {
    core.rejected += 1;
    if let Some(calls) = id.and_then(|id| core.calls.get_mut(id.index())) {
        calls.rejected += 1;
    }
}

/// Whether a request may change the store.
pub(crate) fn may_write(table: &ServedCommands, request: &Request<'_>) -> bool {
    table.resolve(request).is_ok_and(|(_, entry)| entry.command.is(Flag::Write) || entry.command.is(Flag::Exec))
}
