//! The expiry of keys.

use crate::services::resp::call::arguments::{Deadline, quoted};
use crate::services::resp::call::{Call, CommandError};

pub(crate) fn expire(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    expire_at(call, Deadline::Ex)
}

pub(crate) fn pexpire(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    expire_at(call, Deadline::Px)
}

pub(crate) fn expireat(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    expire_at(call, Deadline::ExAt)
}

pub(crate) fn pexpireat(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    expire_at(call, Deadline::PxAt)
}

/// The options of `EXPIRE`: when the new time may be set.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four options that are there or not")]
struct Conditions {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(call: &Call<'_, '_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in call.request.from(3) {
            let condition = match option.to_ascii_uppercase().as_slice() {
                b"NX" => &mut conditions.if_none,
                b"XX" => &mut conditions.if_some,
                b"GT" => &mut conditions.if_later,
                b"LT" => &mut conditions.if_earlier,
                _ => return Err(CommandError::from([b"ERR Unsupported option ", quoted(option, 128)].concat())),
            };
            *condition = true;
        }
        if conditions.if_none && (conditions.if_some || conditions.if_later || conditions.if_earlier) {
            return Err(CommandError::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_earlier {
            return Err(CommandError::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether the expiry of a key may be changed from `current` to `new`. Never is later than any time.
    fn allow(self, current: Option<u64>, new: i64) -> bool {
        let current = current.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        match current {
            None => !self.if_some && !self.if_later,
            Some(at) => !self.if_none && (!self.if_later || new > at) && (!self.if_earlier || new < at),
        }
    }
}

fn expire_at(call: &mut Call<'_, '_>, unit: Deadline) -> Result<(), CommandError> {
    let conditions = Conditions::parse(call)?;
    let (key, now) = (call.argument(1), call.now());
    let at = unit.resolve(call.integer(2)?, now.unix_ms).ok_or_else(|| CommandError::expire_time(call.command))?;
    let Some(entry) = call.store.get(key, now) else { return call.answer_integer(0) };
    if !conditions.allow(entry.expires_ms, at) {
        return call.answer_integer(0);
    }
    match u64::try_from(at) {
        Ok(at) if at > now.unix_ms => call.store.set_expiry(key, Some(at), now),
        _ => call.store.remove(key, now),
    };
    call.answer_integer(1)
}

pub(crate) fn persist(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (key, now) = (call.argument(1), call.now());
    let timed = call.store.get(key, now).is_some_and(|entry| entry.expires_ms.is_some());
    let changed = timed && call.store.set_expiry(key, None, now);
    call.answer_integer(i64::from(changed))
}

pub(crate) fn ttl(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now().unix_ms;
    answer_time(call, |at| seconds(at.saturating_sub(now)))
}

pub(crate) fn pttl(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now().unix_ms;
    answer_time(call, |at| at.saturating_sub(now))
}

pub(crate) fn expiretime(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    answer_time(call, seconds)
}

pub(crate) fn pexpiretime(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    answer_time(call, |at| at)
}

/// Replies with the time of the key, -1 if it has none, -2 if it does not exist. Reading the time does not mark the key as
/// used.
fn answer_time(call: &mut Call<'_, '_>, show: impl Fn(u64) -> u64) -> Result<(), CommandError> {
    let answer = match call.store.peek(call.argument(1), call.now()) {
        None => -2,
        Some(entry) => entry.expires_ms.map_or(-1, |at| i64::try_from(show(at)).unwrap_or(i64::MAX)),
    };
    call.answer_integer(answer)
}

/// To the nearest second.
fn seconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_time() {
        let later = Conditions { if_later: true, ..Conditions::default() };
        let earlier = Conditions { if_earlier: true, ..Conditions::default() };
        assert!(!later.allow(None, 5) && earlier.allow(None, 5));
        assert!(later.allow(Some(4), 5) && !later.allow(Some(5), 5));
        assert!(earlier.allow(Some(6), 5) && !earlier.allow(Some(5), 5));
    }
}
