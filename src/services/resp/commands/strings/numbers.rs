//! Strings and integers that count.

use crate::protocol::resp::{Digits, parse_integer};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::commands::strings::extended::Number;
use crate::store::{Expiry, Kind};

pub(crate) fn incr(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    count(call, 1)
}

pub(crate) fn decr(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    count(call, -1)
}

pub(crate) fn incrby(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let step = call.integer(2)?;
    count(call, step)
}

pub(crate) fn decrby(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let step = call.integer(2)?.checked_neg().ok_or(CommandError::new("ERR decrement would overflow"))?;
    count(call, step)
}

/// Adds to an integer, which stays what it is: a string, or an integer of another protocol. One of 32 bits that grows
/// beyond them becomes one of 64.
fn count(call: &mut Call<'_, '_>, step: i64) -> Result<(), CommandError> {
    let (key, now) = (call.argument(1), call.now());
    let (kind, old) = match call.store.get(key, now) {
        None => (Kind::Bytes, 0),
        Some(entry) if entry.kind.is_plain() || matches!(entry.kind, Kind::Int | Kind::I8) => {
            (entry.kind, parse_integer(entry.data).ok_or(CommandError::NOT_AN_INTEGER)?)
        }
        Some(_) => return Err(CommandError::WRONG_TYPE),
    };
    let new = old.checked_add(step).ok_or(CommandError::OVERFLOW)?;
    let kind = if kind == Kind::Int && i32::try_from(new).is_err() { Kind::I8 } else { kind };
    call.store.set(key, kind, Digits::new(new).as_bytes(), Expiry::Keep, now)?;
    call.answer_integer(new)
}

pub(crate) fn incrbyfloat(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (key, now) = (call.argument(1), call.now());
    let (kind, old) = match call.store.get(key, now) {
        None => (Kind::Bytes, Number::ZERO),
        Some(entry) if entry.kind.is_plain() => {
            (entry.kind, Number::parse(entry.data).ok_or(CommandError::NOT_A_FLOAT)?)
        }
        Some(_) => return Err(CommandError::WRONG_TYPE),
    };
    let step = Number::parse(call.argument(2)).ok_or(CommandError::NOT_A_FLOAT)?;
    let sum = old.plus(step).ok_or(CommandError::new("ERR increment would produce NaN or Infinity"))?;
    let text = sum.text();
    call.store.set(key, kind, text.as_bytes(), Expiry::Keep, now)?;
    call.reply().bulk(text.as_bytes());
    Ok(())
}
