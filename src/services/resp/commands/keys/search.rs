//! Answers that need every key: `KEYS`, and `DBSIZE` and `RANDOMKEY` of a client that may not see all keys.
//!
//! The first step is taken at once, and most stores need no second one. Otherwise the reply is deferred, no further request
//! of this client is served until it is complete, and the search waits in the [store's queue](Store::queue_scan). Within
//! `EXEC`, where no command may come between two others, a search is finished at once, or refused where that would take too
//! long.

use crate::access::{Access, Class};
use crate::connection::Deferred;
use crate::protocol::resp::{Encoder, RespVersion};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::state::mix;
use crate::store::{Glob, KeyScan, ScanBounds, ScanError, Store};
use crate::timer::Now;

/// A search through all keys that the client may see.
#[derive(Debug)]
struct Search {
    /// The command, by whose name rules say what the client may see.
    name: &'static str,
    access: Access,
    protocol: RespVersion,
    /// The longest reply that the client may be sent.
    longest: usize,
    cursor: u64,
    /// Keys that were wanted so far.
    count: u64,
    purpose: Purpose,
}

/// The purpose of a search, and its result so far.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// The keys that match, encoded. Without a pattern all do.
    List { pattern: Option<Box<Glob>>, found: Vec<u8> },
    /// How many there are.
    Count,
    /// One of them, each as likely as the others.
    Pick { seed: u64, chosen: Option<Vec<u8>> },
}

/// A search whose reply is deferred.
struct DeferredSearch {
    search: Search,
    keys_per_step: usize,
    deferred: Deferred,
}

/// Answers the command being called by a search: now if one step is enough, else later.
pub(crate) fn search(call: &mut Call<'_, '_>, purpose: Purpose) -> Result<(), CommandError> {
    let mut search = Search {
        name: call.command.name,
        access: call.exchange.peer.access.clone(),
        protocol: call.session.protocol,
        longest: call.exchange.env.limits.request_bytes,
        cursor: 0,
        count: 0,
        purpose,
    };
    if call.is_atomic {
        return search_at_once(call, search);
    }
    let (now, keys_per_step) = (call.now(), call.core.options.keys_per_step);
    let is_complete = search.step(ScanBounds::keys(keys_per_step), call.store, now);
    if is_complete.map_err(|error| search.refusal(error))? {
        call.reply().encoded(&search.into_reply());
    } else {
        let deferred = call.exchange.defer_alone();
        let scan = Box::new(DeferredSearch { search, keys_per_step, deferred });
        call.store.queue_scan(call.exchange.peer.id.token(), scan);
    }
    Ok(())
}

/// Answers in one step, or refuses when that would take too long: there are too many keys, or they are too long.
fn search_at_once(call: &mut Call<'_, '_>, mut search: Search) -> Result<(), CommandError> {
    let (now, most) = (call.now(), call.core.options.keys_searched);
    // However few keys each segment holds, all keys are not too many.
    let bounds = ScanBounds { keys: most + 1, segments: usize::MAX };
    let is_complete =
        call.store.len() <= most && search.step(bounds, call.store, now).map_err(|error| search.refusal(error))?;
    if !is_complete {
        let name = call.command.name.to_uppercase();
        return Err(CommandError::from(format!(
            "ERR {name} within a transaction is refused beyond {most} keys of ordinary length: use SCAN"
        )));
    }
    call.reply().encoded(&search.into_reply());
    Ok(())
}

impl KeyScan for DeferredSearch {
    fn step(&mut self, store: &mut Store, now: Now) -> Result<bool, ScanError> {
        self.search.step(ScanBounds::keys(self.keys_per_step), store, now)
    }

    fn finish(self: Box<Self>, outcome: Result<(), ScanError>) {
        let Self { search, deferred, .. } = *self;
        deferred.complete(match outcome {
            Ok(()) => search.into_reply(),
            Err(error) => {
                let mut reply = Vec::new();
                Encoder::new(&mut reply, search.protocol).error(search.refusal(error).text());
                reply
            }
        });
    }
}

impl Search {
    fn step(&mut self, bounds: ScanBounds, store: &mut Store, now: Now) -> Result<bool, ScanError> {
        let Self { name, access, protocol, longest, cursor, count, purpose } = self;
        let scope = access.scope(Class::Read, name);
        let is_complete = store.scan_step(cursor, bounds, now, &mut |key, _| {
            if scope.covers(key) && purpose.take(key, *count + 1, *protocol) {
                *count += 1;
            }
        });
        if purpose.length() > *longest { Err(ScanError::TooLong) } else { Ok(is_complete) }
    }

    fn refusal(&self, error: ScanError) -> CommandError {
        match error {
            ScanError::TooLong => CommandError::from(format!("ERR the reply exceeds {} bytes: use SCAN", self.longest)),
            ScanError::Lost => CommandError::NOT_KEPT,
        }
    }

    /// The reply with the result. It may be megabytes long, so it stays in the memory that it has.
    fn into_reply(self) -> Vec<u8> {
        let mut head = Vec::new();
        let mut reply = Encoder::new(&mut head, self.protocol);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        match self.purpose {
            Purpose::List { mut found, .. } => {
                reply.array(count);
                found.reserve_exact(head.len());
                found.splice(..0, head);
                return found;
            }
            Purpose::Count => reply.count(count),
            Purpose::Pick { chosen: Some(key), .. } => reply.bulk(&key),
            Purpose::Pick { chosen: None, .. } => reply.null(),
        }
        head
    }
}

impl Purpose {
    /// Takes a key if it is wanted; it would be the `count`th.
    fn take(&mut self, key: &[u8], count: u64, protocol: RespVersion) -> bool {
        match self {
            Self::List { pattern, found } => {
                let is_wanted = pattern.as_mut().is_none_or(|pattern| pattern.matches(key));
                if is_wanted {
                    Encoder::new(found, protocol).bulk(key);
                }
                return is_wanted;
            }
            Self::Count => {}
            // Reservoir sampling: each key replaces the one before it with a chance of one in as many as there are by then.
            Self::Pick { seed, chosen } => {
                if mix(seed.wrapping_add(count)).is_multiple_of(count) {
                    *chosen = Some(key.to_vec());
                }
            }
        }
        true
    }

    fn length(&self) -> usize {
        match self {
            Self::List { found, .. } => found.len(),
            Self::Count | Self::Pick { .. } => 0,
        }
    }
}
