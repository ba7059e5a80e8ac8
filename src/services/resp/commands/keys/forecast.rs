//! The cost of commands on keys in a transaction.

use crate::protocol::resp::{Request, parse_integer};
use crate::services::resp::call::budget::{Budget, UNIT_KEYS, argument};
use crate::store::{MAX_KEY, RANDOM_SEGMENTS};

/// The most keys of a segment of the table, and the most bytes of them unless they are few.
const SEGMENT_KEYS: usize = 512;
const SEGMENT_BYTES: usize = 2 << 20;

pub(crate) fn copy(budget: &mut Budget<'_>, request: Request<'_>) {
    let (from, to) = (budget.value(argument(&request, 1)), argument(&request, 2));
    let old = budget.value(to);
    budget.copies(from.bytes);
    budget.put(to, from.or(old));
}

/// `RENAME`, `RENAMENX`. A value is moved, but stays where the other name is taken.
pub(crate) fn rename(budget: &mut Budget<'_>, request: Request<'_>) {
    let (source, target) = (argument(&request, 1), argument(&request, 2));
    let (from, old) = (budget.value(source), budget.value(target));
    if request.get(0).is_some_and(|name| name.len() == b"rename".len()) {
        budget.remove(source);
    }
    budget.put(target, from.or(old));
    if budget.store.is_durable() {
        budget.note_change();
    }
}

/// `DEL`, `UNLINK`.
pub(crate) fn remove(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).for_each(|key| budget.remove(key));
    // The memory of the removed values is not in the caches either.
    if budget.store.outgrows_caches() {
        budget.work(request.len() - 1);
    }
}

/// `RANDOMKEY`: expired keys are skipped, in so many segments.
pub(crate) fn randomkey(budget: &mut Budget<'_>, _: Request<'_>) {
    /// Only the expiry of each is read.
    const UNIT_EXPIRIES: usize = 4 * UNIT_KEYS;
    budget.work(budget.store.timed_len().min(RANDOM_SEGMENTS * SEGMENT_KEYS) / UNIT_EXPIRIES);
    // The length of the longest key is not known.
    let bytes = MAX_KEY.min(budget.store.memory());
    budget.copies(bytes);
    budget.replies(bytes);
}

/// All keys may be visited, within the bound on searches in a transaction.
pub(crate) fn search(budget: &mut Budget<'_>, request: Request<'_>) {
    let keys = budget.store.len().min(budget.keys_searched);
    let bytes = budget.store.memory().min(budget.keys_searched.saturating_mul(64) + SEGMENT_BYTES);
    budget.work(keys / UNIT_KEYS);
    budget.copies(bytes.saturating_mul(1 + argument(&request, 1).len().min(256) / 64));
    budget.replies(bytes.saturating_add(keys.saturating_mul(12)));
}

pub(crate) fn scan(budget: &mut Budget<'_>, request: Request<'_>) {
    let option = |name: &[u8]| {
        let words = request.from(2).step_by(2).zip(request.from(3).step_by(2));
        words.filter(|(option, _)| option.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
    };
    let count = option(b"COUNT").and_then(parse_integer).and_then(|count| usize::try_from(count).ok()).unwrap_or(10);
    let count = count.min(budget.scan_count);
    let keys = budget.store.len().min(count + SEGMENT_KEYS);
    let bytes = budget.store.memory().min(budget.scan_count.saturating_mul(64) + SEGMENT_BYTES);
    let pattern = option(b"MATCH").map_or(0, |pattern| 1 + pattern.len().min(256) / 64);
    budget.work((keys * (1 + pattern)).div_ceil(UNIT_KEYS));
    budget.copies(bytes);
    budget.replies(bytes.min(budget.output_bytes + SEGMENT_BYTES).saturating_add(keys * 12));
}

/// Something about the first key is changed, and it is written to disk again.
pub(crate) fn change(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.change(argument(&request, 1));
}
