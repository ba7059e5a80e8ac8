//! The cost of commands on strings in a transaction.

use super::values::bounds;
use crate::protocol::resp::{Request, parse_integer};
use crate::services::resp::call::budget::{Budget, argument};

/// The longest text of a number.
const NUMBER_BYTES: usize = 512;
/// The longest reply of `LCS` whose strings are within its bound.
const LCS_REPLY: usize = 128 << 10;

/// `GET`, `MGET`: the values of all keys are sent.
pub(crate) fn get(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).for_each(|key| budget.send(key));
}

pub(crate) fn getex(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.send(argument(&request, 1));
    budget.change(argument(&request, 1));
}

pub(crate) fn getset(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    budget.send(key);
    budget.set(key, argument(&request, 2).len());
}

pub(crate) fn getdel(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    budget.send(key);
    budget.remove(key);
}

pub(crate) fn set(budget: &mut Budget<'_>, request: Request<'_>) {
    let (key, bytes) = (argument(&request, 1), argument(&request, 2).len());
    if request.from(3).any(|option| option.eq_ignore_ascii_case(b"GET")) {
        budget.send(key);
    }
    let is_conditional = |option: &[u8]| option.eq_ignore_ascii_case(b"NX") || option.eq_ignore_ascii_case(b"XX");
    if request.from(3).any(is_conditional) { budget.set_or_keep(key, bytes) } else { budget.set(key, bytes) }
}

/// `SETEX`, `PSETEX`.
pub(crate) fn set_until(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.set(argument(&request, 1), argument(&request, 3).len());
}

/// `SETNX`.
pub(crate) fn set_if_absent(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.set_or_keep(argument(&request, 1), argument(&request, 2).len());
}

/// `MSET`.
pub(crate) fn set_pairs(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).step_by(2).zip(request.from(2).step_by(2)).for_each(|(key, value)| budget.set(key, value.len()));
}

/// `MSETNX`.
pub(crate) fn set_pairs_if_absent(budget: &mut Budget<'_>, request: Request<'_>) {
    let pairs = request.from(1).step_by(2).zip(request.from(2).step_by(2));
    pairs.for_each(|(key, value)| budget.set_or_keep(key, value.len()));
}

/// The value becomes a number, if it was one.
pub(crate) fn count(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    if budget.value(key).bytes <= NUMBER_BYTES {
        budget.set_or_keep(key, NUMBER_BYTES);
    }
}

/// `INCRBYFLOAT`: as [`count`], with numbers of up to 512 digits.
pub(crate) fn count_float(budget: &mut Budget<'_>, request: Request<'_>) {
    /// Two numbers of that length take some twenty microseconds to be read, added and written.
    const LONG_NUMBERS: usize = 32;
    budget.work(LONG_NUMBERS);
    count(budget, request);
}

pub(crate) fn append(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    let end = budget.value(key).bytes.saturating_add(argument(&request, 2).len());
    budget.extend(key, end);
    budget.change(argument(&request, 1));
}

pub(crate) fn setrange(budget: &mut Budget<'_>, request: Request<'_>) {
    let patch = argument(&request, 3).len();
    let Some(offset) = parse_integer(argument(&request, 2)).and_then(|offset| usize::try_from(offset).ok()) else {
        return;
    };
    if patch > 0 {
        budget.copies(patch);
        budget.extend(argument(&request, 1), offset.saturating_add(patch));
        budget.change(argument(&request, 1));
    }
}

pub(crate) fn strlen(budget: &mut Budget<'_>, request: Request<'_>) {
    let value = budget.value(argument(&request, 1));
    budget.read(value);
}

pub(crate) fn getrange(budget: &mut Budget<'_>, request: Request<'_>) {
    let value = budget.value(argument(&request, 1));
    budget.read(value);
    let bound = |index: usize| parse_integer(argument(&request, index)).unwrap_or(0);
    let (whole, first, last) = (value.text(), bound(2), bound(3));
    // Where the value may be shorter than is thought, its end is not known.
    let is_known = first >= 0 && last >= 0 || !(value.is_dirty || value.is_typed);
    let bytes = if is_known { bounds(whole, first, last).len() } else { whole };
    budget.copies(bytes);
    budget.replies(bytes);
}

pub(crate) fn lcs(budget: &mut Budget<'_>, request: Request<'_>) {
    for key in [argument(&request, 1), argument(&request, 2)] {
        let value = budget.value(key);
        budget.read(value);
        budget.copies(value.text().min(8 << 20));
    }
    budget.replies(LCS_REPLY);
}
