//! Strings, as bytes.

use std::ops::Range;

use crate::protocol::resp::{Encoder, parse_integer};
use crate::services::resp::call::arguments::{Deadline, deadline};
use crate::services::resp::call::{Call, CommandError, work};
use crate::store::{Entry, Expiry, Kind, plain_bytes, plain_length};

pub(crate) fn get(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    reply_with_value(call);
    Ok(())
}

/// Replies with the value of the first key, or null. Returns whether there is one.
fn reply_with_value(call: &mut Call<'_, '_>) -> bool {
    let (key, now) = (call.argument(1), call.now());
    let mut reply = Encoder::new(call.exchange.reply(), call.session.protocol);
    if let Some(entry) = call.store.get(key, now) {
        reply.bulk(&plain_bytes(&entry));
        let cost = work::copying(entry.data.len()) + work::rewriting(&entry);
        call.exchange.spend(cost);
        return true;
    }
    reply.null();
    false
}

pub(crate) fn mget(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let start = call.reply().position();
    let mut spent = 0;
    let outcome = reply_with_values(call, &mut spent);
    let mut reply = call.reply();
    // What was written of a reply that is refused took as long.
    spent += work::copying(reply.position() - start);
    if outcome.is_err() {
        reply.rewind(start);
    }
    call.exchange.spend(spent);
    outcome
}

/// Replies with the values of all keys, and adds to `spent` what takes longer than copying them.
fn reply_with_values(call: &mut Call<'_, '_>, spent: &mut usize) -> Result<(), CommandError> {
    let (now, longest) = (call.now(), call.exchange.env.limits.request_bytes);
    let mut reply = Encoder::new(call.exchange.reply(), call.session.protocol);
    let (start, mut compound_bytes) = (reply.position(), 0);
    reply.array(call.request.len() - 1);
    for key in call.request.from(1) {
        let mut length = reply.position() - start;
        if let Some(entry) = call.store.get(key, now) {
            if exceeds_compound_share(&entry, &mut compound_bytes, longest) {
                return Err(CommandError::new(
                    "ERR the arrays and structs together take too long to write as text: ask for fewer at once",
                ));
            }
            // A value that makes the reply too long is not copied first.
            length += entry.data.len();
            if length <= longest {
                reply.bulk(&plain_bytes(&entry));
                *spent += work::rewriting(&entry);
                length = reply.position() - start;
            }
        } else {
            reply.null();
        }
        if length > longest {
            return Err(CommandError::from(format!(
                "ERR the values together exceed {longest} bytes: ask for fewer at once"
            )));
        }
    }
    Ok(())
}

/// Whether `entry` is an array or a struct that, with the `compound_bytes` of those before it, takes longer to write as text
/// than a reply of plain bytes may. The first is always served: what can be set can be read.
fn exceeds_compound_share(entry: &Entry<'_>, compound_bytes: &mut usize, longest: usize) -> bool {
    if !entry.kind.is_compound() {
        return false;
    }
    let is_first = *compound_bytes == 0;
    *compound_bytes = compound_bytes.saturating_add(entry.data.len());
    !is_first && *compound_bytes > longest / work::TYPED_FACTOR
}

/// The options of `SET` and `GETEX`.
#[derive(Clone, Copy, Default)]
struct SetOptions<'a> {
    condition: Option<Condition>,
    deadline: Option<(Deadline, &'a [u8])>,
    keep_ttl: bool,
    persist: bool,
    get: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Absent,
    Present,
}

impl<'a> SetOptions<'a> {
    /// Reads the options from argument `first` on; which ones there are depends on the command.
    fn parse(call: &Call<'a, '_>, first: usize, for_set: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut arguments = call.request.from(first);
        while let Some(option) = arguments.next() {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            // The same unit may be given twice, and then the later one counts.
            let may_end = |unit| {
                let other = options.deadline.is_some_and(|(given, _)| given != unit);
                !other && !options.keep_ttl && !options.persist
            };
            if for_set && is(b"NX") && options.condition != Some(Condition::Present) {
                options.condition = Some(Condition::Absent);
            } else if for_set && is(b"XX") && options.condition != Some(Condition::Absent) {
                options.condition = Some(Condition::Present);
            } else if for_set && is(b"GET") {
                options.get = true;
            } else if for_set && is(b"KEEPTTL") && !options.persist && options.deadline.is_none() {
                options.keep_ttl = true;
            } else if !for_set && is(b"PERSIST") && options.deadline.is_none() {
                options.persist = true;
            } else if let Some(deadline) = Deadline::named(option).filter(|unit| may_end(*unit)) {
                options.deadline = Some((deadline, arguments.next().ok_or(CommandError::SYNTAX)?));
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

pub(crate) fn set(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let options = SetOptions::parse(call, 3, true)?;
    set_with(call, options)
}

pub(crate) fn setex(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    set_value_until(call, Deadline::Ex)
}

pub(crate) fn psetex(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    set_value_until(call, Deadline::Px)
}

fn set_value_until(call: &mut Call<'_, '_>, unit: Deadline) -> Result<(), CommandError> {
    let at = deadline(call.command, call.now(), unit, call.argument(2))?;
    store(call, call.argument(1), call.argument(3), Expiry::At(at))?;
    call.ok()
}

fn set_with(call: &mut Call<'_, '_>, options: SetOptions<'_>) -> Result<(), CommandError> {
    let (key, value, now) = (call.argument(1), call.argument(2), call.now());
    let expiry = match options.deadline {
        Some((unit, text)) => Expiry::At(deadline(call.command, call.now(), unit, text)?),
        None if options.keep_ttl => Expiry::Keep,
        None => Expiry::Never,
    };
    let refused = match options.condition {
        None => false,
        Some(condition) => call.store.contains(key, now) != (condition == Condition::Present),
    };
    if options.get {
        let start = call.reply().position();
        reply_with_value(call);
        if !refused && let Err(failure) = store(call, key, value, expiry) {
            call.reply().rewind(start);
            return Err(failure);
        }
        return Ok(());
    }
    if refused {
        return call.null();
    }
    store(call, key, value, expiry)?;
    call.ok()
}

/// Stores a string. With a time that has passed the key is set and removed at once, and both count as changes for `WATCH`.
fn store(call: &mut Call<'_, '_>, key: &[u8], value: &[u8], expiry: Expiry) -> Result<(), CommandError> {
    let now = call.now();
    call.store.set(key, Kind::Bytes, value, expiry, now)?;
    if matches!(expiry, Expiry::At(at) if at <= now.unix_ms) {
        call.store.remove(key, now);
    }
    Ok(())
}

pub(crate) fn setnx(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (key, now) = (call.argument(1), call.now());
    let absent = !call.store.contains(key, now);
    if absent {
        store(call, key, call.argument(2), Expiry::Never)?;
    }
    call.answer_integer(i64::from(absent))
}

pub(crate) fn getset(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    set_with(call, SetOptions { get: true, ..SetOptions::default() })
}

pub(crate) fn getdel(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if reply_with_value(call) {
        call.store.remove(call.argument(1), call.now());
    }
    Ok(())
}

pub(crate) fn getex(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let options = SetOptions::parse(call, 2, false)?;
    let (key, now) = (call.argument(1), call.now());
    let Some(entry) = call.store.peek(key, now) else {
        reply_with_value(call);
        return Ok(());
    };
    let is_timed = entry.expires_ms.is_some();
    let at = match options.deadline {
        Some((unit, text)) => Some(deadline(call.command, call.now(), unit, text)?),
        None => None,
    };
    reply_with_value(call);
    match at {
        Some(at) if at <= now.unix_ms => {
            call.store.remove(key, now);
        }
        Some(_) => {
            call.store.set_expiry(key, at, now);
        }
        // A key without an expiry is not changed, so `WATCH` sees no change.
        None if options.persist && is_timed => {
            call.store.set_expiry(key, None, now);
        }
        None => {}
    }
    Ok(())
}

pub(crate) fn mset(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    set_pairs(call)?;
    call.ok()
}

pub(crate) fn msetnx(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    check_pairs(call)?;
    let now = call.now();
    for key in call.request.from(1).step_by(2) {
        if call.store.contains(key, now) {
            return call.answer_integer(0);
        }
    }
    set_pairs(call)?;
    call.answer_integer(1)
}

fn check_pairs(call: &Call<'_, '_>) -> Result<(), CommandError> {
    if call.request.len().is_multiple_of(2) { Err(CommandError::arity(call.command)) } else { Ok(()) }
}

fn set_pairs(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    check_pairs(call)?;
    let keys = call.request.from(1).step_by(2);
    let pairs = keys.zip(call.request.from(2).step_by(2));
    call.store.set_all(pairs, call.exchange.env.now)?;
    Ok(())
}

pub(crate) fn strlen(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Some(entry) = call.store.get(call.argument(1), call.exchange.env.now) else { return call.answer_count(0) };
    let length = plain_length(&entry);
    let cost = work::rewriting(&entry);
    call.exchange.spend(cost);
    call.answer_count(length)
}

pub(crate) fn append(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (key, tail, now) = (call.argument(1), call.argument(2), call.now());
    let longest = call.longest_value();
    let Some(entry) = call.store.get(key, now) else {
        store(call, key, tail, Expiry::Never)?;
        return call.answer_count(tail.len());
    };
    if !entry.kind.is_plain() {
        return Err(CommandError::WRONG_TYPE);
    }
    let end = entry.data.len().saturating_add(tail.len());
    if end > longest {
        return Err(call.too_long(end));
    }
    let length = if entry.kind == Kind::String {
        // The bytes behind a text need not be text, so the whole is bytes from now on.
        let whole = [entry.data, tail].concat();
        let length = whole.len();
        call.store.set_owned(key, Kind::Bytes, whole, Expiry::Keep, now)?;
        call.exchange.spend(work::copying(length));
        length
    } else {
        call.store.append(key, tail, now)?
    };
    call.answer_count(length)
}

pub(crate) fn getrange(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (first, last) = (call.integer(2)?, call.integer(3)?);
    let (key, now) = (call.argument(1), call.now());
    let mut reply = Encoder::new(call.exchange.reply(), call.session.protocol);
    match call.store.get(key, now) {
        Some(entry) => {
            reply.bulk(range(&plain_bytes(&entry), first, last));
            let cost = work::rewriting(&entry);
            call.exchange.spend(cost);
        }
        None => reply.bulk(b""),
    }
    Ok(())
}

/// The bytes from `first` to `last`, both included; negative positions count from the end.
fn range(bytes: &[u8], first: i64, last: i64) -> &[u8] {
    bytes.get(bounds(bytes.len(), first, last)).unwrap_or_default()
}

/// Where these bytes are among so many.
pub(crate) fn bounds(length: usize, first: i64, last: i64) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let position = |index: i64| if index < 0 { length.saturating_add(index).max(0) } else { index };
    let (start, end) = (position(first), position(last).min(length - 1));
    if start > end || (first < 0 && last < 0 && first > last) {
        return 0..0;
    }
    // Both are positions among the bytes.
    usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0).saturating_add(1)
}

pub(crate) fn setrange(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let offset = parse_integer(call.argument(2)).ok_or(CommandError::NOT_AN_INTEGER)?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::new("ERR offset is out of range"))?;
    let (key, patch, now) = (call.argument(1), call.argument(3), call.now());
    let longest = call.longest_value();
    let entry = call.store.get(key, now);
    if entry.is_some_and(|entry| !entry.kind.is_plain()) {
        return Err(CommandError::WRONG_TYPE);
    }
    let (kind, old) = entry.map_or((Kind::Bytes, 0), |entry| (entry.kind, entry.data.len()));
    if patch.is_empty() {
        return call.answer_count(old);
    }
    let end = offset.saturating_add(patch.len());
    if end > longest {
        return Err(call.too_long(end));
    }
    let length = end.max(old);
    if kind != Kind::String
        && let Some(length) = call.store.patch(key, offset, patch, now)?
    {
        return call.answer_count(length);
    }
    let whole = patched(call.store.peek(key, now).map_or(&[], |entry| entry.data), offset, patch);
    // As for APPEND: what is patched into a text need not be text.
    let kind = if kind == Kind::String { Kind::Bytes } else { kind };
    // A durable store copies the whole value to the disk, zeros included.
    let copied = if call.store.is_durable() { length } else { old };
    call.exchange.spend(work::copying(copied));
    call.store.set_owned(key, kind, whole, Expiry::Keep, now)?;
    call.answer_count(length)
}

/// `old` with `patch` at `offset`, and zeros between the two. Far behind the old end, the system's fresh pages are these
/// zeros, and none is touched.
fn patched(old: &[u8], offset: usize, patch: &[u8]) -> Vec<u8> {
    let mut whole = vec![0; old.len().max(offset + patch.len())];
    if let Some(front) = whole.get_mut(..old.len()) {
        front.copy_from_slice(old);
    }
    if let Some(target) = whole.get_mut(offset..offset + patch.len()) {
        target.copy_from_slice(patch);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_follow_redis() {
        for (first, last, expected) in [
            (0, 3, "This"),
            (0, -1, "This is"),
            (-2, -1, "is"),
            (-1, -2, ""),
            (5, 100, "is"),
            (7, 9, ""),
            (-100, 1, "Th"),
            (-100, -90, "T"),
            (3, 2, ""),
            (i64::MIN, i64::MAX, "This is"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(range(b"This is", first, last), expected.as_bytes(), "{first} {last}");
        }
        assert_eq!(range(b"", 0, -1), b"");
    }
}
