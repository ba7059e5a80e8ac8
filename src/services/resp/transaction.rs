//! `MULTI`, `EXEC` and `WATCH`: commands executed with no other between them.

use super::authorize::is_search;
use super::call::{Call, Failure};
use super::command::flag;
use super::session::{RespSession, Transaction, Watch};
use super::{admit, execute, resolve};
use crate::metrics::Disconnect;
use crate::protocol::resp::{Arguments, Decoder, Request, RequestLimits};
use crate::store::Store;

/// What a long-running command counts as in a transaction.
const HEAVY_COST: usize = 4096;
/// Watched keys of one client, together: room for thousands of the usual length.
const WATCHED_BYTES: usize = 1 << 20;

pub(super) fn multi(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    if call.session.transaction.is_some() {
        return Err(Failure::new("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    show_queued(call, Some(0));
    call.ok()
}

/// Puts an admitted command behind those that wait for `EXEC`. `raw` is the request as it was received.
pub(super) fn queue(call: &mut Call<'_, '_>, raw: &[u8]) -> Result<(), Failure> {
    let most_bytes = call.exchange.limits.request_bytes;
    let most_cost = call.core.options.transaction_cost;
    let is_heavy = call.command.is(flag::HEAVY) || is_search(call);
    let Some(transaction) = call.session.transaction.as_mut() else { return Ok(()) };
    // After a failure nothing will be executed, so nothing need be kept.
    if !transaction.failed {
        let extra = if is_heavy { HEAVY_COST } else { 0 };
        transaction.cost += call.request.len() + extra;
        if transaction.cost > most_cost || transaction.requests.len() + raw.len() > most_bytes {
            return Err(Failure::new("ERR the transaction is too long"));
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
pub(super) fn spoil(session: &mut RespSession, store: &mut Store, name: &[u8], refusal: Failure) -> Failure {
    if name.eq_ignore_ascii_case(b"exec") {
        // An EXEC that is refused ends the transaction all the same.
        session.transaction = None;
        forget_watches(session, store);
        let reason = refusal.text().strip_prefix(b"ERR ").unwrap_or(refusal.text());
        return Failure::from([b"EXECABORT Transaction discarded because of: ", reason].concat());
    }
    if let Some(transaction) = session.transaction.as_mut() {
        **transaction = Transaction { failed: true, ..Transaction::default() };
    }
    refusal
}

pub(super) fn discard(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    if call.session.transaction.take().is_none() {
        return Err(Failure::new("ERR DISCARD without MULTI"));
    }
    show_queued(call, None);
    forget_watches(call.session, call.store);
    call.ok()
}

pub(super) fn exec(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    let Some(transaction) = call.session.transaction.take() else {
        return Err(Failure::new("ERR EXEC without MULTI"));
    };
    show_queued(call, None);
    let changed = has_watched_key_changed(call);
    forget_watches(call.session, call.store);
    if transaction.failed {
        return Err(Failure::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed {
        call.reply().null_array();
        return Ok(());
    }
    call.reply().array(transaction.commands);
    execute_all(call, &transaction.requests);
    Ok(())
}

/// Executes the queued requests. All of them are, but replies beyond the longest that a client may be sent are dropped
/// with their connection.
fn execute_all(call: &mut Call<'_, '_>, mut requests: &[u8]) {
    let longest = call.exchange.limits.request_bytes;
    let start = call.exchange.reply().len();
    // The limits were kept when the requests arrived.
    let limits = RequestLimits { bulk_bytes: usize::MAX, ..RequestLimits::new(usize::MAX) };
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    while let Ok(Some((request, used))) = decoder.decode(requests, &limits, &mut arguments) {
        requests = requests.get(used..).unwrap_or_default();
        execute_queued(call, request);
        if call.exchange.reply().len() - start > longest {
            call.exchange.reply().truncate(start);
            call.session.ending = Some(Disconnect::TooLarge);
        }
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

pub(super) fn watch(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    if call.session.transaction.is_some() {
        return Err(Failure::new("ERR WATCH inside MULTI is not allowed"));
    }
    let most = call.core.options.keys_per_command;
    let watches = &mut call.session.watches;
    let bytes = call.session.watched_bytes as usize + call.request.from(1).map(<[u8]>::len).sum::<usize>();
    if watches.len() + call.request.len() - 1 > most || bytes > WATCHED_BYTES {
        return Err(Failure::from(format!(
            "ERR too many watched keys: at most {most} keys and {WATCHED_BYTES} bytes are served"
        )));
    }
    call.session.watched_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    for key in call.request.from(1) {
        // A key whose time has come is gone before it is watched, not a change afterwards.
        call.store.contains(key, call.exchange.now);
        let version = call.store.watch(key);
        watches.push(Watch { key: key.into(), version });
    }
    call.ok()
}

pub(super) fn unwatch(call: &mut Call<'_, '_>) -> Result<(), Failure> {
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
pub(super) fn forget_watches(session: &mut RespSession, store: &mut Store) {
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
