//! `MULTI`, `EXEC` and `WATCH`: commands executed with no other between them.

use crate::protocol::resp::{Arguments, Decoder, Request, RequestLimits};
use crate::services::resp::call::budget::{self, Budget, Sum};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::description::command::flag;
use crate::services::resp::dispatch::authorize::is_search;
use crate::services::resp::state::session::{RespSession, Transaction, WatchedKey};
use crate::services::resp::{admit, execute, resolve};
use crate::store::{Store, StoreError};

/// What a long-running command counts as in a transaction.
const HEAVY_COST: usize = 4096;
/// Units of a transaction's cost that count as one more request of its client in the turn.
const TURN_SHARE: usize = 16;
/// Watched keys of one client, together: room for thousands of the usual length.
const WATCHED_BYTES: usize = 1 << 20;

pub(crate) fn multi(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.session.transaction.is_some() {
        return Err(CommandError::new("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    show_queued(call, Some(0));
    call.ok()
}

/// Puts an admitted command behind those that wait for `EXEC`. `raw` is the request as it was received.
pub(crate) fn queue(call: &mut Call<'_, '_>, raw: &[u8]) -> Result<(), CommandError> {
    let most_bytes = call.exchange.env.limits.request_bytes;
    let most_cost = call.core.options.transaction_cost;
    let is_heavy = call.command.is(flag::HEAVY) || is_search(call.command, &call.exchange.peer.access);
    let has_room = !call.command.is(flag::DENY_OOM) || call.store.has_room(raw.len());
    let Some(transaction) = call.session.transaction.as_mut() else { return Ok(()) };
    // After a failure nothing will be executed, so nothing need be kept.
    if !transaction.failed {
        let extra = if is_heavy { HEAVY_COST } else { 0 };
        transaction.cost += call.request.len() + extra;
        if transaction.cost > most_cost || transaction.requests.len() + raw.len() > most_bytes {
            return Err(CommandError::new("ERR the transaction is too long"));
        }
        if !has_room {
            return Err(StoreError::OutOfMemory.into());
        }
        transaction.requests.extend_from_slice(raw);
        transaction.commands += 1;
    }
    let queued = u32::try_from(transaction.commands).unwrap_or(u32::MAX);
    show_queued(call, Some(queued));
    call.reply().simple("QUEUED");
    Ok(())
}

/// A command was refused: if it belongs to a transaction, none of that will be executed. Returns what to reply.
pub(crate) fn abort_transaction(
    session: &mut RespSession,
    store: &mut Store,
    name: &[u8],
    refusal: CommandError,
) -> CommandError {
    if name.eq_ignore_ascii_case(b"exec") {
        // An EXEC that is refused ends the transaction all the same.
        session.transaction = None;
        forget_watches(session, store);
        return discarded(&refusal);
    }
    if let Some(transaction) = session.transaction.as_mut() {
        **transaction = Transaction { failed: true, ..Transaction::default() };
    }
    refusal
}

pub(crate) fn discard(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.session.transaction.take().is_none() {
        return Err(CommandError::new("ERR DISCARD without MULTI"));
    }
    show_queued(call, None);
    forget_watches(call.session, call.store);
    call.ok()
}

pub(crate) fn exec(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Some(transaction) = call.session.transaction.take() else {
        return Err(CommandError::new("ERR EXEC without MULTI"));
    };
    show_queued(call, None);
    let changed = has_watched_key_changed(call);
    forget_watches(call.session, call.store);
    if transaction.failed {
        return Err(CommandError::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed {
        call.reply().null_array();
        return Ok(());
    }
    let cost = afford(call, &transaction).map_err(|failure| discarded(&failure))?;
    // What it has cost is taken from its client's share of the turn.
    call.exchange.spend(cost / TURN_SHARE);
    call.reply().array(transaction.commands);
    each_request(&transaction.requests, |request| execute_queued(call, request));
    call.store.release();
    Ok(())
}

/// What is answered to an `EXEC` that does nothing for this reason.
fn discarded(reason: &CommandError) -> CommandError {
    let reason = reason.text().strip_prefix(b"ERR ").unwrap_or(reason.text());
    CommandError::from([b"EXECABORT Transaction discarded because of: ", reason].concat())
}

/// Works out what the transaction costs, and makes room for all that it writes. The cost, in the units of
/// `RespOptions::transaction_cost`.
///
/// # Errors
///
/// It would take too long, say too much, or find no room. Nothing has been done.
fn afford(call: &mut Call<'_, '_>, transaction: &Transaction) -> Result<usize, CommandError> {
    let (most_cost, most_reply) = (call.core.options.transaction_cost, call.exchange.env.limits.request_bytes);
    let Sum { work, reply, memory } = foresee(call, transaction);
    let cost = work.saturating_add(transaction.cost);
    if cost > most_cost {
        return Err(CommandError::new(
            "ERR it would take too long: fewer commands, or smaller values, are served at once",
        ));
    }
    if reply > most_reply {
        return Err(CommandError::from(format!("ERR the replies together may exceed {most_reply} bytes")));
    }
    call.store.reserve(memory)?;
    Ok(cost)
}

/// What the commands of the transaction cost, beside their arguments.
pub(crate) fn foresee(call: &mut Call<'_, '_>, transaction: &Transaction) -> Sum {
    let (mut budget, access) = (Budget::new(call), &call.exchange.peer.access);
    each_request(&transaction.requests, |request| {
        if let Ok((_, command)) = resolve(&request) {
            budget.finds(command.key_count(&request));
            (command.forecast)(&mut budget, request);
            // DBSIZE and RANDOMKEY are answered at once to whoever may see all keys.
            if is_search(command, access) {
                budget::walks(&mut budget, request);
            }
        }
    });
    budget.sum()
}

/// Calls `serve` with each of the queued requests.
fn each_request(mut requests: &[u8], mut serve: impl FnMut(Request<'_>)) {
    // The limits were kept when the requests arrived.
    let limits = RequestLimits { bulk_bytes: usize::MAX, ..RequestLimits::new(usize::MAX) };
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    while let Ok(Some((request, used))) = decoder.decode(requests, &limits, &mut arguments) {
        requests = requests.get(used..).unwrap_or_default();
        serve(request);
    }
}

fn execute_queued(call: &mut Call<'_, '_>, request: Request<'_>) {
    let outcome = resolve(&request).and_then(|(id, command)| {
        let Call { core, session, store, exchange, .. } = call;
        let mut queued = Call { core, session, store, command, id, request, exchange, is_atomic: true };
        admit(&mut queued).map(|()| execute(&mut queued))
    });
    if let Err(failure) = outcome {
        call.reply().error(failure.text());
    }
}

pub(crate) fn watch(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.session.transaction.is_some() {
        return Err(CommandError::new("ERR WATCH inside MULTI is not allowed"));
    }
    let most = call.core.options.keys_per_command;
    let watches = &mut call.session.watches;
    let bytes = call.session.watched_bytes as usize + call.request.from(1).map(<[u8]>::len).sum::<usize>();
    if watches.len() + call.request.len() - 1 > most || bytes > WATCHED_BYTES {
        return Err(CommandError::from(format!(
            "ERR too many watched keys: at most {most} keys and {WATCHED_BYTES} bytes are served"
        )));
    }
    call.session.watched_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    for key in call.request.from(1) {
        // A key whose time has come is gone before it is watched, not a change afterwards.
        call.store.contains(key, call.exchange.env.now);
        let version = call.store.watch(key);
        watches.push(WatchedKey { key: key.into(), version });
    }
    call.ok()
}

pub(crate) fn unwatch(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    forget_watches(call.session, call.store);
    call.ok()
}

fn has_watched_key_changed(call: &mut Call<'_, '_>) -> bool {
    let now = call.now();
    call.session.watches.iter().any(|watch| {
        // Looking at the key lets its expiry count as a change.
        call.store.contains(&watch.key, now);
        call.store.version(&watch.key) != watch.version
    })
}

/// Watches nothing any more.
pub(crate) fn forget_watches(session: &mut RespSession, store: &mut Store) {
    session.watched_bytes = 0;
    for watch in std::mem::take(&mut session.watches) {
        store.unwatch(&watch.key);
    }
}

fn show_queued(call: &mut Call<'_, '_>, queued: Option<u32>) {
    if let Some(client) = call.core.clients.get_mut(call.exchange.peer.id) {
        client.queued = queued;
    }
}
