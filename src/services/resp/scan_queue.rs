//! Answers that look at every key or every client: a step a turn, so that nobody else waits for them.
//!
//! The first step is done at once, and most stores need no second one. Otherwise the reply is deferred, nothing more of
//! this client is served until it is complete, and [`Resp::tick`](super::Resp::tick) goes on with the walk that came
//! first. Walks behind it hold nothing yet, so all of them together hold one reply. Within `EXEC`, where nothing may come
//! between two commands, a walk is finished at once, or refused where that would take too long.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::{Call, CommandError};
use super::commands::connection::clients::describe;
use super::state::session::Clients;
use super::{Core, mix};
use crate::access::{Access, Class};
use crate::connection::{Deferred, PeerId};
use crate::protocol::resp::{Encoder, RespVersion};
use crate::store::{Glob, Store};
use crate::timer::Now;

/// Of so many keys that a step looks at, it looks into one segment of the table: most have more, but those whose keys have
/// expired, or were removed, may have none left that it would meet.
const KEYS_PER_SEGMENT: usize = 128;
/// What a walk takes for the usual length of a key when it bounds its work.
pub(super) const ORDINARY_KEY_BYTES: usize = 64;
/// Connections that one step describes, half a millisecond's worth.
const CLIENTS_PER_STEP: usize = 500;

/// Something that is looked at step by step, and what has been found so far.
#[derive(Debug)]
pub(super) enum Walk {
    Keys(KeyWalk),
    Clients { slot: usize, text: String },
}

/// A walk over all keys that the client may see.
#[derive(Debug)]
pub(super) struct KeyWalk {
    /// The command, by whose name rules say what may be seen.
    name: &'static str,
    access: Access,
    cursor: u64,
    /// Keys that were wanted so far.
    count: u64,
    purpose: ScanPurpose,
}

#[derive(Debug)]
pub(super) enum ScanPurpose {
    /// The keys that match, encoded. Without a pattern all do.
    List { pattern: Option<Box<Glob>>, found: Vec<u8> },
    /// How many there are.
    Count,
    /// One of them, each as likely as the others.
    Pick { seed: u64, chosen: Option<Vec<u8>> },
}

/// A walk whose reply is deferred.
#[derive(Debug)]
pub(super) struct Pending {
    peer: PeerId,
    deferred: Deferred,
    protocol: RespVersion,
    /// The longest reply that the client may be sent.
    longest: usize,
    walk: Walk,
    /// It is done, and may be told when this group is durable.
    awaits: Option<u64>,
}

/// How far one step goes.
#[derive(Clone, Copy)]
struct Step {
    keys: usize,
    segments: usize,
    clients: usize,
    protocol: RespVersion,
    longest: usize,
}

impl Step {
    /// A step that leaves the turn to others soon.
    fn of_many(keys: usize, protocol: RespVersion, longest: usize) -> Self {
        Self { keys, segments: segments(keys), clients: CLIENTS_PER_STEP, protocol, longest }
    }
}

/// How many segments of the table are looked into for the sake of so many keys.
pub(super) fn segments(keys: usize) -> usize {
    keys.div_ceil(KEYS_PER_SEGMENT)
}

impl Walk {
    /// A walk over all keys for the command being called.
    pub(super) fn over_keys(call: &Call<'_, '_>, purpose: ScanPurpose) -> Self {
        let access = call.exchange.peer.access.clone();
        Self::Keys(KeyWalk { name: call.command.name, access, cursor: 0, count: 0, purpose })
    }

    /// A walk over all clients.
    pub(super) fn over_clients() -> Self {
        Self::Clients { slot: 0, text: String::new() }
    }

    /// Does one step. Whether this was the last one.
    fn step(&mut self, how: Step, store: &mut Store, clients: &Clients, now: Now) -> Result<bool, CommandError> {
        let (done, length) = match self {
            Self::Keys(keys) => (keys.step(how, store, now), keys.purpose.length()),
            Self::Clients { slot, text } => {
                let end = slot.saturating_add(how.clients);
                clients.range(*slot, end).for_each(|client| describe(client, now, text));
                *slot = end;
                (end >= clients.slots(), text.len())
            }
        };
        if length > how.longest {
            let advice = if matches!(self, Self::Keys(_)) { "use SCAN" } else { "name some by ID" };
            return Err(CommandError::from(format!("ERR the reply exceeds {} bytes: {advice}", how.longest)));
        }
        Ok(done)
    }

    /// The reply that tells what was found. This may be megabytes, so it stays in the memory that it has.
    fn into_reply(self, protocol: RespVersion) -> Vec<u8> {
        let mut head = Vec::new();
        let mut reply = Encoder::new(&mut head, protocol);
        let (mut found, end) = match self {
            Self::Clients { text, .. } => {
                reply.verbatim_head(text.len());
                (text.into_bytes(), &b"\r\n"[..])
            }
            Self::Keys(KeyWalk { count, purpose, .. }) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                match purpose {
                    ScanPurpose::List { found, .. } => {
                        reply.array(count);
                        (found, &[][..])
                    }
                    ScanPurpose::Count => {
                        reply.count(count);
                        return head;
                    }
                    ScanPurpose::Pick { chosen: Some(key), .. } => {
                        reply.bulk(&key);
                        return head;
                    }
                    ScanPurpose::Pick { chosen: None, .. } => {
                        reply.null();
                        return head;
                    }
                }
            }
        };
        found.reserve_exact(head.len() + end.len());
        found.extend_from_slice(end);
        found.splice(..0, head);
        found
    }
}

impl KeyWalk {
    fn step(&mut self, how: Step, store: &mut Store, now: Now) -> bool {
        let Self { name, access, cursor, count, purpose } = self;
        let scope = access.scope(Class::Read, name);
        let (mut keys, mut bytes) = (0, 0);
        for _ in 0..how.segments {
            if keys >= how.keys || bytes >= how.keys.saturating_mul(ORDINARY_KEY_BYTES) {
                break;
            }
            *cursor = store.scan(*cursor, 1, now, &mut |key, _| {
                keys += 1;
                bytes += key.len();
                if scope.covers(key) && purpose.take(key, *count + 1, how.protocol) {
                    *count += 1;
                }
            });
            if *cursor == 0 {
                return true;
            }
        }
        false
    }
}

impl ScanPurpose {
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
            // Each newcomer takes the place of the one before it with a chance of one in as many as there are by then.
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

/// Answers by a walk: now if it is short, else later.
pub(super) fn answer(call: &mut Call<'_, '_>, mut walk: Walk) -> Result<(), CommandError> {
    let (now, protocol, longest) = (call.now(), call.session.protocol, call.exchange.env.limits.request_bytes);
    if call.is_atomic {
        return answer_at_once(call, walk);
    }
    let how = Step::of_many(call.core.options.keys_per_step, protocol, longest);
    if walk.step(how, call.store, &call.core.clients, now)? {
        call.reply().encoded(&walk.into_reply(protocol));
    } else {
        let (peer, deferred) = (call.exchange.peer.id, call.exchange.defer_alone());
        call.core.walks.push_back(Pending { peer, deferred, protocol, longest, walk, awaits: None });
    }
    Ok(())
}

/// Answers in one step, or refuses when that would take too long: there are too many keys, or they are too long.
fn answer_at_once(call: &mut Call<'_, '_>, mut walk: Walk) -> Result<(), CommandError> {
    let (now, protocol, longest) = (call.now(), call.session.protocol, call.exchange.env.limits.request_bytes);
    let options = &call.core.options;
    let (keys, clients) = (options.keys_searched + 1, options.clients_visited);
    // However few keys are in each segment, all keys are not too many.
    let how = Step { keys, segments: usize::MAX, clients, protocol, longest };
    let (is_too_many, limit) = match walk {
        Walk::Keys(_) => {
            let most = options.keys_searched;
            (call.store.len() > most, format!("{most} keys of ordinary length: use SCAN"))
        }
        Walk::Clients { .. } => (false, format!("{} clients: name some by ID", options.clients_visited)),
    };
    if is_too_many || !walk.step(how, call.store, &call.core.clients, now)? {
        let name = call.command.name.to_uppercase();
        return Err(CommandError::from(format!("ERR {name} within a transaction is refused beyond {limit}")));
    }
    call.reply().encoded(&walk.into_reply(protocol));
    Ok(())
}

/// Does a step of the walk that came first, and says when to go on.
pub(super) fn tick(core: &mut Core, store: &mut Store, now: Now) -> Option<Duration> {
    let Core { walks, clients, options, .. } = core;
    let Pending { protocol, longest, walk, awaits, .. } = walks.front_mut()?;
    if awaits.is_some() {
        // Word from the disk is what it waits for, and wakes the loop.
        return None;
    }
    let how = Step::of_many(options.keys_per_step, *protocol, *longest);
    match walk.step(how, store, clients, now) {
        Ok(false) => {}
        Ok(true) => {
            // What it has seen may not be on disk yet. The last look was the latest, so nothing later is waited for.
            *awaits = store.take_dependency().filter(|group| !store.is_durable_to(*group));
            if awaits.is_some() {
                return None;
            }
            tell_first(core, None);
        }
        Err(failure) => tell_first(core, Some(&failure)),
    }
    (!core.walks.is_empty()).then_some(Duration::ZERO)
}

/// Something has become durable: perhaps what the first walk waits for.
pub(super) fn go_on(core: &mut Core, store: &Store) {
    let awaits = core.walks.front().and_then(|first| first.awaits);
    if awaits.is_some_and(|group| store.is_durable_to(group)) {
        tell_first(core, None);
    }
}

/// What walks have seen of the keys may have been taken back: none of them may tell of it.
pub(super) fn lose(core: &mut Core) {
    for _ in 0..core.walks.len() {
        match core.walks.pop_front() {
            Some(pending @ Pending { walk: Walk::Clients { .. }, .. }) => core.walks.push_back(pending),
            Some(pending) => pending.tell(Some(&CommandError::NOT_KEPT)),
            None => {}
        }
    }
}

fn tell_first(core: &mut Core, failure: Option<&CommandError>) {
    if let Some(pending) = core.walks.pop_front() {
        pending.tell(failure);
    }
}

impl Pending {
    /// Replies with what was found, or why not.
    fn tell(self, failure: Option<&CommandError>) {
        let reply = match failure {
            None => self.walk.into_reply(self.protocol),
            Some(failure) => {
                let mut reply = Vec::new();
                Encoder::new(&mut reply, self.protocol).error(failure.text());
                reply
            }
        };
        self.deferred.complete(reply);
    }
}

/// The client is gone: nobody waits for its walk.
pub(super) fn forget(walks: &mut VecDeque<Pending>, peer: PeerId) {
    if !walks.is_empty() {
        walks.retain(|pending| pending.peer != peer);
    }
}
