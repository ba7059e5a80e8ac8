//! `CLIENT LIST` of all clients, in bounded steps, one a turn, so that no client waits for it.
//!
//! The first step is taken at once, and few servers need a second one. Otherwise the reply is deferred, and no further
//! request of this client is served until it is complete. Lists behind the first hold nothing yet. Within `EXEC`, where no
//! command may come between two others, the list is finished at once, or refused where that would take too long.

use std::time::Duration;

use crate::connection::PeerId;
use crate::protocol::resp::{Encoder, RespVersion};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::state::Core;
use crate::services::resp::state::{Clients, DeferredList};
use crate::timer::Now;

/// Connections that one step describes, half a millisecond's worth.
const CLIENTS_PER_STEP: usize = 500;

/// Answers with one line for each client: now if one step is enough, else later.
pub(crate) fn list_all(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (now, longest, most) = (call.now(), call.exchange.env.limits.request_bytes, call.core.options.clients_visited);
    let step = if call.is_atomic { most } else { CLIENTS_PER_STEP };
    let (mut slot, mut text) = (0, String::new());
    let clients = &call.core.clients;
    if describe_some(clients, step, now, &mut slot, &mut text, longest)? {
        call.reply().verbatim(text.as_bytes());
    } else if call.is_atomic {
        let name = call.command.name.to_uppercase();
        return Err(CommandError::from(format!(
            "ERR {name} within a transaction is refused beyond {most} clients: name some by ID"
        )));
    } else {
        let (peer, deferred, protocol) = (call.exchange.peer.id, call.exchange.defer_alone(), call.session.protocol);
        call.core.lists.push_back(DeferredList { peer, deferred, protocol, longest, slot, text });
    }
    Ok(())
}

/// Takes one step of the first list. Returns when it wants to be called again.
pub(crate) fn tick(core: &mut Core, now: Now) -> Option<Duration> {
    let Core { lists, clients, .. } = core;
    let DeferredList { longest, slot, text, .. } = lists.front_mut()?;
    let outcome = describe_some(clients, CLIENTS_PER_STEP, now, slot, text, *longest);
    if outcome != Ok(false)
        && let Some(DeferredList { deferred, protocol, text, .. }) = lists.pop_front()
    {
        deferred.complete(reply(protocol, outcome.map(|_| text)));
    }
    (!lists.is_empty()).then_some(Duration::ZERO)
}

/// Cancels the lists of a client that is gone.
pub(crate) fn cancel(core: &mut Core, peer: PeerId) {
    if !core.lists.is_empty() {
        core.lists.retain(|list| list.peer != peer);
    }
}

/// Describes the clients in `step` slots from `slot` on. Whether those were the last.
fn describe_some(
    clients: &Clients,
    step: usize,
    now: Now,
    slot: &mut usize,
    text: &mut String,
    longest: usize,
) -> Result<bool, CommandError> {
    let end = slot.saturating_add(step);
    clients.range(*slot, end).for_each(|client| client.describe(now, text));
    *slot = end;
    if text.len() > longest {
        return Err(CommandError::from(format!("ERR the reply exceeds {longest} bytes: name some by ID")));
    }
    Ok(end >= clients.slots())
}

/// A deferred reply. A list may be megabytes long, so it stays in the memory that it has.
fn reply(protocol: RespVersion, outcome: Result<String, CommandError>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut reply = Encoder::new(&mut head, protocol);
    match outcome {
        Err(error) => {
            reply.error(error.text());
            head
        }
        Ok(text) => {
            reply.verbatim_head(text.len());
            let mut list = text.into_bytes();
            list.reserve_exact(head.len() + 2);
            list.extend_from_slice(b"\r\n");
            list.splice(..0, head);
            list
        }
    }
}
