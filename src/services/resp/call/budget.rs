//! What a transaction will cost, worked out before any of it is done: `EXEC` must be short, must not run out of memory or
//! room half-way, and cannot be stopped once it has begun.
//!
//! Each command has a [`Forecast`], which adds what the command costs at most, and notes how long the values that it writes
//! become for those behind it. A command without one costs its arguments. Bytes are what is copied, moved past or
//! written down, keys what is looked at.

use std::collections::HashMap;

use crate::protocol::resp::{Request, parse_integer};
use crate::services::resp::call::Call;
use crate::services::resp::commands::strings::values::bounds;
use crate::store::{Entry, Kind, MAX_KEY, RANDOM_SEGMENTS, Store, spare_room};
use crate::timer::Now;

/// Adds what a command costs at most, beside its arguments.
pub(crate) type Forecast = fn(&mut Budget<'_>, Request<'_>);

/// One unit of `RespOptions::transaction_cost`, in bytes that are copied: what looking at an argument takes.
const UNIT_BYTES: usize = 1 << 10;
/// Keys that a walk looks at in that time.
const UNIT_KEYS: usize = 8;
/// What a byte of an array or a struct costs to be read and written as text, in bytes that are copied.
pub(crate) const TYPED_FACTOR: usize = 8;
/// A byte of an array or a struct becomes at most so many in JSON: `null,` is stored as one.
const JSON_FACTOR: usize = 5;
/// What a number takes at most as text.
const NUMBER_BYTES: usize = 512;
/// The longest reply of `LCS` whose strings are within its bound.
const LCS_REPLY: usize = 128 << 10;
/// What `INFO` may write.
const INFO_BYTES: usize = 24 << 10;
/// Bytes of text that are put together in the time of one unit.
const UNIT_TEXT: usize = 128;
/// What a record takes in the table beside its key and data.
const TABLE_SHARE: usize = 64;
/// What one client's line in `CLIENT LIST` takes at most, but for its names.
const CLIENT_BYTES: usize = 2 << 10;
/// A segment of the table has no more keys than this, and no more bytes of them unless they are few.
const SEGMENT_KEYS: usize = 512;
const SEGMENT_BYTES: usize = 2 << 20;

/// What is known of a value while the transaction is thought through.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    /// Its length at most.
    bytes: usize,
    /// The room that it has at least, once it has grown in this transaction.
    room: usize,
    /// An array or a struct, which is read as JSON.
    is_typed: bool,
    /// It becomes bytes when it grows, by a copy.
    is_text: bool,
    /// It is written down when the transaction is over, where anything is.
    is_dirty: bool,
}

impl Value {
    fn of(entry: &Entry<'_>) -> Self {
        let (is_typed, is_text) = (entry.kind.is_compound(), entry.kind == Kind::String);
        Self { bytes: entry.data.len(), is_typed, is_text, ..Self::default() }
    }

    /// Either of the two.
    fn or(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            room: 0,
            is_typed: self.is_typed || other.is_typed,
            is_text: self.is_text || other.is_text,
            is_dirty: true,
        }
    }

    /// Its text at most, in bytes.
    fn text(self) -> usize {
        if self.is_typed { self.bytes.saturating_mul(JSON_FACTOR).saturating_add(16) } else { self.bytes }
    }
}

/// The sum so far.
pub(crate) struct Budget<'s> {
    store: &'s Store,
    now: Now,
    clients: usize,
    scan_count: usize,
    keys_searched: usize,
    output_bytes: usize,
    longest_value: usize,
    /// By the hash of the key: values that differ from what the store has.
    values: HashMap<u64, Value>,
    /// All that the store has is gone.
    is_flushed: bool,
    /// In units of `RespOptions::transaction_cost`.
    work: usize,
    reply: usize,
    /// By how much the store has grown after the last command, and after any at most.
    growth: isize,
    most_growth: isize,
}

/// What all commands cost together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// In units of `RespOptions::transaction_cost`, arguments not counted.
    pub(crate) work: usize,
    /// The replies, in bytes.
    pub(crate) reply: usize,
    /// Memory that the store needs, in bytes.
    pub(crate) memory: usize,
}

impl<'s> Budget<'s> {
    pub(crate) fn new(call: &'s Call<'_, '_>) -> Self {
        let options = &call.core.options;
        Self {
            store: call.store,
            now: call.now(),
            clients: call.core.clients.slots(),
            scan_count: options.scan_count,
            keys_searched: options.keys_searched,
            output_bytes: call.exchange.env.limits.output_bytes,
            longest_value: call.longest_value(),
            values: HashMap::new(),
            is_flushed: false,
            work: 0,
            reply: 0,
            growth: 0,
            most_growth: 0,
        }
    }

    pub(crate) fn sum(&self) -> Sum {
        let dirty = self.values.values().filter(|value| value.is_dirty && self.store.is_durable());
        let written = dirty.map(|value| value.bytes / UNIT_BYTES).fold(0, usize::saturating_add);
        Sum {
            work: self.work.saturating_add(written),
            reply: self.reply,
            memory: usize::try_from(self.most_growth).unwrap_or(0),
        }
    }

    pub(crate) fn work(&mut self, units: usize) {
        self.work = self.work.saturating_add(units);
    }

    /// So many keys are looked for: their arguments pay for that as long as the processor's caches hold the table.
    pub(crate) fn finds(&mut self, keys: usize) {
        if self.store.outgrows_caches() {
            self.work(keys.saturating_mul(2).saturating_sub(1));
        }
    }

    /// A change in place is noted for the disk, which finds the key again when the turn is over.
    fn notes(&mut self) {
        if self.store.outgrows_caches() {
            self.work(3);
        }
    }

    pub(crate) fn copies(&mut self, bytes: usize) {
        self.work(bytes / UNIT_BYTES);
    }

    pub(crate) fn replies(&mut self, bytes: usize) {
        self.reply = self.reply.saturating_add(bytes);
    }

    fn value(&self, key: &[u8]) -> Value {
        let known = if self.values.is_empty() { None } else { self.values.get(&self.store.hash(key)) };
        match known {
            Some(value) => *value,
            None if self.is_flushed => Value::default(),
            None => self.store.peek(key, self.now).map(|entry| Value::of(&entry)).unwrap_or_default(),
        }
    }

    fn put(&mut self, key: &[u8], value: Value) {
        let old = self.value(key).bytes;
        self.grow(value.bytes.saturating_add(key.len() + TABLE_SHARE));
        self.growth = self.growth.saturating_sub_unsigned(old);
        self.values.insert(self.store.hash(key), Value { is_dirty: true, ..value });
    }

    fn grow(&mut self, bytes: usize) {
        self.growth = self.growth.saturating_add_unsigned(bytes);
        self.most_growth = self.most_growth.max(self.growth);
    }

    /// A value of so many bytes is put.
    fn set(&mut self, key: &[u8], bytes: usize) {
        self.copies(bytes);
        self.put(key, Value { bytes, ..Value::default() });
    }

    /// It is, or the old one stays.
    fn set_perhaps(&mut self, key: &[u8], bytes: usize) {
        let old = self.value(key);
        self.copies(bytes);
        self.put(key, Value { bytes: bytes.max(old.bytes), ..old });
    }

    fn remove(&mut self, key: &[u8]) {
        let old = self.value(key).bytes;
        self.growth = self.growth.saturating_sub_unsigned(old);
        self.values.insert(self.store.hash(key), Value::default());
    }

    /// The whole value is sent.
    fn tell(&mut self, key: &[u8]) {
        let value = self.value(key);
        self.read(value);
        self.copies(value.text());
        self.replies(value.text());
    }

    /// The whole value is looked at as text, without being sent.
    fn read(&mut self, value: Value) {
        if value.is_typed {
            self.copies(value.bytes.saturating_mul(TYPED_FACTOR));
        }
    }

    /// The value becomes `end` bytes long if it is shorter.
    fn extend(&mut self, key: &[u8], end: usize) {
        let old = self.value(key);
        if end <= old.bytes || end > self.longest_value {
            return;
        }
        let mut room = old.room;
        if end > old.room {
            room = if old.is_text { end } else { end.max(old.bytes.saturating_add(spare_room(old.bytes))) };
            self.copies(old.bytes);
            self.grow(room - end);
        }
        self.copies(end - old.bytes);
        // An array or a struct stays what it is: nothing can be appended to it.
        self.put(key, Value { bytes: end, room, is_typed: old.is_typed, ..Value::default() });
    }
}

fn argument<'a>(request: &Request<'a>, index: usize) -> &'a [u8] {
    request.get(index).unwrap_or_default()
}

/// Nothing depends on the value, which does not change.
pub(crate) fn nothing(_: &mut Budget<'_>, _: Request<'_>) {}

/// `GET`, `MGET`: the values of all keys are sent.
pub(crate) fn tells(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).for_each(|key| budget.tell(key));
}

pub(crate) fn getex(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.tell(argument(&request, 1));
    changes(budget, request);
}

pub(crate) fn getset(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    budget.tell(key);
    budget.set(key, argument(&request, 2).len());
}

pub(crate) fn getdel(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    budget.tell(key);
    budget.remove(key);
}

pub(crate) fn set(budget: &mut Budget<'_>, request: Request<'_>) {
    let (key, bytes) = (argument(&request, 1), argument(&request, 2).len());
    if request.from(3).any(|option| option.eq_ignore_ascii_case(b"GET")) {
        budget.tell(key);
    }
    let is_conditional = |option: &[u8]| option.eq_ignore_ascii_case(b"NX") || option.eq_ignore_ascii_case(b"XX");
    if request.from(3).any(is_conditional) { budget.set_perhaps(key, bytes) } else { budget.set(key, bytes) }
}

/// `SETEX`, `PSETEX`.
pub(crate) fn set_until(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.set(argument(&request, 1), argument(&request, 3).len());
}

/// `SETNX`.
pub(crate) fn set_if_absent(budget: &mut Budget<'_>, request: Request<'_>) {
    budget.set_perhaps(argument(&request, 1), argument(&request, 2).len());
}

/// `MSET`.
pub(crate) fn set_pairs(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).step_by(2).zip(request.from(2).step_by(2)).for_each(|(key, value)| budget.set(key, value.len()));
}

/// `MSETNX`.
pub(crate) fn set_pairs_if_absent(budget: &mut Budget<'_>, request: Request<'_>) {
    let pairs = request.from(1).step_by(2).zip(request.from(2).step_by(2));
    pairs.for_each(|(key, value)| budget.set_perhaps(key, value.len()));
}

/// The value becomes a number, if it was one.
pub(crate) fn counts(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    if budget.value(key).bytes <= NUMBER_BYTES {
        budget.set_perhaps(key, NUMBER_BYTES);
    }
}

/// `INCRBYFLOAT`: as [`counts`], with numbers of up to 512 digits.
pub(crate) fn counts_floats(budget: &mut Budget<'_>, request: Request<'_>) {
    /// Two numbers of that length take some twenty microseconds to be read, added and written.
    const LONG_NUMBERS: usize = 32;
    budget.work(LONG_NUMBERS);
    counts(budget, request);
}

/// `RANDOMKEY`: keys whose time has come are passed over, in so many segments.
pub(crate) fn picks(budget: &mut Budget<'_>, _: Request<'_>) {
    /// Nothing but the expiry of each is looked at.
    const UNIT_EXPIRIES: usize = 4 * UNIT_KEYS;
    budget.work(budget.store.timed_len().min(RANDOM_SEGMENTS * SEGMENT_KEYS) / UNIT_EXPIRIES);
    // How long the longest key is, nobody knows.
    let bytes = MAX_KEY.min(budget.store.memory());
    budget.copies(bytes);
    budget.replies(bytes);
}

pub(crate) fn append(budget: &mut Budget<'_>, request: Request<'_>) {
    let key = argument(&request, 1);
    let end = budget.value(key).bytes.saturating_add(argument(&request, 2).len());
    budget.extend(key, end);
    changes(budget, request);
}

pub(crate) fn setrange(budget: &mut Budget<'_>, request: Request<'_>) {
    let patch = argument(&request, 3).len();
    let Some(offset) = parse_integer(argument(&request, 2)).and_then(|offset| usize::try_from(offset).ok()) else {
        return;
    };
    if patch > 0 {
        budget.copies(patch);
        budget.extend(argument(&request, 1), offset.saturating_add(patch));
        changes(budget, request);
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
        budget.notes();
    }
}

/// `DEL`, `UNLINK`.
pub(crate) fn removes(budget: &mut Budget<'_>, request: Request<'_>) {
    request.from(1).for_each(|key| budget.remove(key));
    // The memory of what is removed is not in the caches either.
    if budget.store.outgrows_caches() {
        budget.work(request.len() - 1);
    }
}

/// Something about the first key is changed, and it is written down again.
pub(crate) fn changes(budget: &mut Budget<'_>, request: Request<'_>) {
    if budget.store.is_durable() {
        budget.notes();
        let key = argument(&request, 1);
        let value = Value { is_dirty: true, ..budget.value(key) };
        budget.values.insert(budget.store.hash(key), value);
    }
}

/// All keys are gone.
pub(crate) fn flush(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(4);
    budget.growth = isize::try_from(budget.store.table_memory()).map_or(isize::MIN, isize::wrapping_neg);
    budget.values.clear();
    budget.is_flushed = true;
}

/// All keys may be looked at, within the bound that is kept in a transaction.
pub(crate) fn walks(budget: &mut Budget<'_>, request: Request<'_>) {
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

/// All clients are looked at.
pub(crate) fn visits_clients(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(budget.clients / UNIT_KEYS);
}

/// All clients are described.
pub(crate) fn lists_clients(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(budget.clients.saturating_mul(2));
    budget.replies(budget.clients.saturating_mul(CLIENT_BYTES));
}

/// One client is described.
pub(crate) fn describes_client(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(2);
    budget.replies(CLIENT_BYTES);
}

/// `HELP` of a container.
pub(crate) fn helps(budget: &mut Budget<'_>, _: Request<'_>) {
    const HELP_BYTES: usize = 4 << 10;
    budget.work(HELP_BYTES / UNIT_TEXT);
    budget.replies(HELP_BYTES);
}

/// The arguments come back.
pub(crate) fn echoes(budget: &mut Budget<'_>, request: Request<'_>) {
    let bytes = request.from(1).map(<[u8]>::len).sum();
    budget.copies(bytes);
    budget.replies(bytes);
}

/// A report of the server.
pub(crate) fn informs(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(INFO_BYTES / UNIT_TEXT);
    budget.replies(INFO_BYTES);
}

/// `CONFIG GET`: a pattern becomes a table of states.
pub(crate) fn matches_patterns(budget: &mut Budget<'_>, request: Request<'_>) {
    let bytes: usize = request.from(2).map(|pattern| pattern.len().min(256)).sum();
    budget.work(4 * request.len() + bytes / 4);
    budget.replies(4 << 10);
}

/// The table of commands, or as much of it as so many names may ask for.
pub(crate) fn describes(budget: &mut Budget<'_>, request: Request<'_>) {
    /// All of it, and the most that one name asks for: a container with its subcommands.
    const ALL: usize = 64 << 10;
    const ONE: usize = 8 << 10;
    let bytes = if request.len() <= 2 { ALL } else { request.len() * ONE };
    budget.work(bytes / UNIT_TEXT);
    budget.replies(bytes);
}
