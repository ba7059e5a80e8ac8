//! `MULTI`, `EXEC` and `WATCH`: commands executed with no other between them. This family stands above dispatch, which
//! `EXEC` runs each queued command through.

use std::ops::ControlFlow;

use crate::protocol::resp::{Arguments, Decoder, Request, RequestLimits};
use crate::services::resp::call::budget::{Budget, Sum};
use crate::services::resp::call::{Call, CommandError, Handler, ServedCommand, command};
use crate::services::resp::commands::keys::forecast::search;
use crate::services::resp::description::Flag::{self, AllowBusy, Exec, Fast, InMulti, SkipSlowlog};
use crate::services::resp::description::KeyEffect::Read;
use crate::services::resp::description::permission::is_search;
use crate::services::resp::description::{Flags, Group, KeyUse};
use crate::services::resp::dispatch::{admit, execute, resolve};
use crate::services::resp::state::{RespSession, Transaction, WatchedKey};
use crate::store::{Store, StoreError};

const fn transaction(
    name: &'static str,
    arity: i8,
    since: &'static str,
    flags: &[Flag],
    handler: Handler,
) -> ServedCommand {
    const ALL: Flags = Flags::of(&[Flag::Always, Flag::NoScript, Flag::Transaction]);
    command(name, arity, since, Group::Transactions, Flags::of(flags).and(ALL), handler)
}

pub(crate) const ENTRIES: &[ServedCommand] = &[
    transaction("discard", 1, "2.0.0", &[Fast, AllowBusy, InMulti], discard).about("Discards a transaction"),
    transaction("exec", 1, "1.2.0", &[SkipSlowlog, InMulti, Exec], exec)
        .about("Executes all commands in a transaction"),
    transaction("multi", 1, "1.2.0", &[Fast, AllowBusy, InMulti], multi).about("Starts a transaction"),
    transaction("unwatch", 1, "2.2.0", &[Fast, AllowBusy], unwatch)
        .about("Forgets about watched keys of a transaction"),
    transaction("watch", -2, "2.2.0", &[Fast, AllowBusy, InMulti], watch)
        .keys(&[KeyUse::every(1, Read, &[])])
        .about("Monitors changes to keys to determine the execution of a transaction"),
];

/// The cost of a long-running command in a transaction.
const HEAVY_COST: usize = 4096;
/// Units of a transaction's cost that count as one more request of its client in the turn.
const TURN_SHARE: usize = 16;
/// Watched keys of one client, together: room for thousands of the usual length.
const WATCHED_BYTES: usize = 1 << 20;

fn multi(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.session.transaction.is_some() {
        return Err(CommandError::new("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    show_queued(call, Some(0));
    call.ok()
}

/// Queues an admitted command until `EXEC`. `raw` is the request as it was received.
pub(crate) fn queue(call: &mut Call<'_, '_>, raw: &[u8]) -> Result<(), CommandError> {
    let most_bytes = call.exchange.env.limits.request_bytes;
    let most_cost = call.core.options.transaction_cost;
    let is_heavy = call.command.is(Flag::Heavy) || is_search(call.command, &call.exchange.peer.access);
    let has_room = !call.command.is(Flag::DenyOom) || call.store.has_room(raw.len());
    let Some(transaction) = call.session.transaction.as_mut() else { return Ok(()) };
    // After a failure no command will be executed, so none need be kept.
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

/// A command was refused: if it belongs to a transaction, none of that will be executed. Returns the error to reply with.
pub(crate) fn abort(
    session: &mut RespSession,
    store: &mut Store,
    is_exec: bool,
    refusal: CommandError,
) -> CommandError {
    if is_exec {
        // An EXEC that is refused ends the transaction all the same.
        session.transaction = None;
        session.unwatch(store);
        return discarded(&refusal);
    }
    if let Some(transaction) = session.transaction.as_mut() {
        **transaction = Transaction { failed: true, ..Transaction::default() };
    }
    refusal
}

fn discard(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.session.transaction.take().is_none() {
        return Err(CommandError::new("ERR DISCARD without MULTI"));
    }
    show_queued(call, None);
    call.session.unwatch(call.store);
    call.ok()
}

fn exec(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Some(transaction) = call.session.transaction.take() else {
        return Err(CommandError::new("ERR EXEC without MULTI"));
    };
    show_queued(call, None);
    let outcome = execute_all(call, &transaction);
    call.store.release();
    call.session.unwatch(call.store);
    outcome
}

fn execute_all(call: &mut Call<'_, '_>, transaction: &Transaction) -> Result<(), CommandError> {
    let changed = has_watched_key_changed(call);
    if transaction.failed {
        return Err(CommandError::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed {
        call.reply().null_array();
        return Ok(());
    }
    afford(call, transaction).map_err(|failure| discarded(&failure))?;
    // Making room may have evicted a key that is watched.
    if has_watched_key_changed(call) {
        call.reply().null_array();
        return Ok(());
    }
    call.reply().array(transaction.commands);
    each_request(&transaction.requests, |request| {
        execute_queued(call, request);
        ControlFlow::Continue(())
    });
    Ok(())
}

/// The reply to an `EXEC` that is discarded for this reason.
fn discarded(reason: &CommandError) -> CommandError {
    let reason = reason.text().strip_prefix(b"ERR ").unwrap_or(reason.text());
    CommandError::from([b"EXECABORT Transaction discarded because of: ", reason].concat())
}

/// Works out what the transaction costs, for which its client's share of the turn pays, and makes room for all that it writes.
///
/// # Errors
///
/// It would take too long, reply with too much, or find no room. No command has been executed.
fn afford(call: &mut Call<'_, '_>, transaction: &Transaction) -> Result<(), CommandError> {
    let (most_cost, most_reply) = (call.core.options.transaction_cost, call.exchange.env.limits.request_bytes);
    let Sum { work, reply, memory } = foresee(call, transaction);
    let cost = work.saturating_add(transaction.cost);
    call.exchange.spend(cost.min(most_cost) / TURN_SHARE);
    if cost > most_cost {
        return Err(CommandError::new(
            "ERR it would take too long: fewer commands, or smaller values, are served at once",
        ));
    }
    if reply > most_reply {
        return Err(CommandError::from(format!("ERR the replies together may exceed {most_reply} bytes")));
    }
    call.store.reserve(memory)?;
    Ok(())
}

/// The cost of the commands of the transaction, beside their arguments; or of the first of them, as soon as these cost more
/// than a transaction may, since finding their keys takes time too.
pub(crate) fn foresee(call: &mut Call<'_, '_>, transaction: &Transaction) -> Sum {
    let (table, env, access) = (call.table, &call.exchange.env, &call.exchange.peer.access);
    let most_work = call.core.options.transaction_cost;
    let mut budget = Budget::new(call.core, call.store, &env.limits, env.now);
    each_request(&transaction.requests, |request| {
        if let Ok((_, entry)) = table.resolve(&request) {
            budget.find_keys(entry.command.key_count(&request));
            (entry.run.forecast)(&mut budget, request);
            // DBSIZE and RANDOMKEY are answered at once where the client may see all keys.
            if is_search(&entry.command, access) {
                search(&mut budget, request);
            }
        }
        if budget.exceeds(most_work) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    budget.sum()
}

/// Calls `serve` with each of the queued requests, until it breaks.
fn each_request(mut requests: &[u8], mut serve: impl FnMut(Request<'_>) -> ControlFlow<()>) {
    // The limits were kept when the requests arrived.
    let limits = RequestLimits { bulk_bytes: usize::MAX, ..RequestLimits::new(usize::MAX) };
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    while let Ok(Some((request, used))) = decoder.decode(requests, &limits, &mut arguments) {
        requests = requests.get(used..).unwrap_or_default();
        if serve(request).is_break() {
            return;
        }
    }
}

fn execute_queued(call: &mut Call<'_, '_>, request: Request<'_>) {
    let outcome = resolve(call.table, &request).and_then(|(id, entry)| {
        let Call { table, core, session, store, exchange, .. } = call;
        let (command, handler) = (&entry.command, entry.run.handler);
        let mut queued = Call { table, core, session, store, command, id, request, exchange, is_atomic: true };
        admit(&mut queued, handler).map(|()| execute(&mut queued, handler))
    });
    if let Err(failure) = outcome {
        call.reply().error(failure.text());
    }
}

fn watch(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
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
        // An expired key is removed before it is watched, or its removal would count as a change.
        call.store.contains(key, call.exchange.env.now);
        let version = call.store.watch(key);
        watches.push(WatchedKey { key: key.into(), version });
    }
    call.ok()
}

fn unwatch(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    call.session.unwatch(call.store);
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

fn show_queued(call: &mut Call<'_, '_>, queued: Option<u32>) {
    if let Some(client) = call.core.clients.get_mut(call.exchange.peer.id) {
        client.queued = queued;
    }
}
