//! The cost of a transaction, estimated before any of it is executed: `EXEC` must be short, must not run out of memory or
//! room half-way, and cannot be stopped once it has begun.
//!
//! Each command has a [`Forecast`], which adds what the command costs at most, and notes how long the values that it writes
//! become for those behind it. A command without one costs its arguments. Bytes are those that are copied, moved
//! past or written to disk, keys those that are visited.

use std::collections::HashMap;

use super::work::TYPED_FACTOR;
use crate::limits::Limits;
use crate::protocol::resp::Request;
use crate::services::resp::state::Core;
use crate::store::{Entry, Kind, Store, spare_room};
use crate::timer::Now;

/// Adds what a command costs at most, beside its arguments.
pub(crate) type Forecast = fn(&mut Budget<'_>, Request<'_>);

/// One unit of `RespOptions::transaction_cost`, in bytes that are copied: the time to read an argument.
const UNIT_BYTES: usize = 1 << 10;
/// Keys that a search visits in that time.
pub(crate) const UNIT_KEYS: usize = 8;
/// A byte of an array or a struct becomes at most so many in JSON: `null,` is stored as one.
const JSON_FACTOR: usize = 5;
/// Bytes of text that are put together in the time of one unit.
pub(crate) const UNIT_TEXT: usize = 128;
/// The size of a record in the table beside its key and data.
const TABLE_SHARE: usize = 64;

/// A value as the estimate knows it at some command of the transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Value {
    /// Its length at most.
    pub(crate) bytes: usize,
    /// The room that it has at least, once it has grown in this transaction.
    room: usize,
    /// An array or a struct, which is read as JSON.
    pub(crate) is_typed: bool,
    /// It becomes bytes when it grows, by a copy.
    is_text: bool,
    /// It is written down when the transaction is over, where anything is.
    pub(crate) is_dirty: bool,
}

impl Value {
    fn of(entry: &Entry<'_>) -> Self {
        let (is_typed, is_text) = (entry.kind.is_compound(), entry.kind == Kind::String);
        Self { bytes: entry.data.len(), is_typed, is_text, ..Self::default() }
    }

    /// Either of the two.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            room: 0,
            is_typed: self.is_typed || other.is_typed,
            is_text: self.is_text || other.is_text,
            is_dirty: true,
        }
    }

    /// Its text at most, in bytes.
    pub(crate) fn text(self) -> usize {
        if self.is_typed { self.bytes.saturating_mul(JSON_FACTOR).saturating_add(16) } else { self.bytes }
    }
}

/// The sum so far.
pub(crate) struct Budget<'s> {
    pub(crate) store: &'s Store,
    now: Now,
    pub(crate) clients: usize,
    pub(crate) scan_count: usize,
    pub(crate) keys_searched: usize,
    pub(crate) output_bytes: usize,
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

/// The cost of all commands together.
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
    pub(crate) fn new(core: &Core, store: &'s Store, limits: &Limits, now: Now) -> Self {
        Self {
            store,
            now,
            clients: core.clients.slots(),
            scan_count: core.options.scan_count,
            keys_searched: core.options.keys_searched,
            output_bytes: limits.output_bytes,
            longest_value: core.bulk_bytes.min(limits.request_bytes),
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

    /// Whether the work so far is more than `units`.
    pub(crate) fn exceeds(&self, units: usize) -> bool {
        self.work > units
    }

    pub(crate) fn work(&mut self, units: usize) {
        self.work = self.work.saturating_add(units);
    }

    /// So many keys are looked up: their arguments pay for that as long as the processor's caches hold the table.
    pub(crate) fn find_keys(&mut self, keys: usize) {
        if self.store.outgrows_caches() {
            self.work(keys.saturating_mul(2).saturating_sub(1));
        }
    }

    /// A change in place is noted for the disk, which finds the key again when the turn is over.
    pub(crate) fn note_change(&mut self) {
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

    pub(crate) fn value(&self, key: &[u8]) -> Value {
        let known = if self.values.is_empty() { None } else { self.values.get(&self.store.hash(key)) };
        match known {
            Some(value) => *value,
            None if self.is_flushed => Value::default(),
            None => self.store.peek(key, self.now).map(|entry| Value::of(&entry)).unwrap_or_default(),
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: Value) {
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
    pub(crate) fn set(&mut self, key: &[u8], bytes: usize) {
        self.copies(bytes);
        self.put(key, Value { bytes, ..Value::default() });
    }

    /// A value of so many bytes is put, or the old one stays.
    pub(crate) fn set_or_keep(&mut self, key: &[u8], bytes: usize) {
        let old = self.value(key);
        self.copies(bytes);
        self.put(key, Value { bytes: bytes.max(old.bytes), ..old });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let old = self.value(key).bytes;
        self.growth = self.growth.saturating_sub_unsigned(old);
        self.values.insert(self.store.hash(key), Value::default());
    }

    /// The whole value is sent.
    pub(crate) fn send(&mut self, key: &[u8]) {
        let value = self.value(key);
        self.read(value);
        self.copies(value.text());
        self.replies(value.text());
    }

    /// The whole value is read as text, without being sent.
    pub(crate) fn read(&mut self, value: Value) {
        if value.is_typed {
            self.copies(value.bytes.saturating_mul(TYPED_FACTOR));
        }
    }

    /// The value becomes `end` bytes long if it is shorter.
    pub(crate) fn extend(&mut self, key: &[u8], end: usize) {
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

    /// Something about the value is changed, and it is written to disk again.
    pub(crate) fn change(&mut self, key: &[u8]) {
        if self.store.is_durable() {
            self.note_change();
            let value = Value { is_dirty: true, ..self.value(key) };
            self.values.insert(self.store.hash(key), value);
        }
    }

    /// All keys are removed.
    pub(crate) fn remove_all(&mut self) {
        self.growth = isize::try_from(self.store.table_memory()).map_or(isize::MIN, isize::wrapping_neg);
        self.values.clear();
        self.is_flushed = true;
    }
}

pub(crate) fn argument<'a>(request: &Request<'a>, index: usize) -> &'a [u8] {
    request.get(index).unwrap_or_default()
}

/// The arguments alone determine the cost.
pub(crate) fn nothing(_: &mut Budget<'_>, _: Request<'_>) {}

/// `HELP` of a container.
pub(crate) fn help(budget: &mut Budget<'_>, _: Request<'_>) {
    const HELP_BYTES: usize = 4 << 10;
    budget.work(HELP_BYTES / UNIT_TEXT);
    budget.replies(HELP_BYTES);
}

/// The arguments come back.
pub(crate) fn echo(budget: &mut Budget<'_>, request: Request<'_>) {
    let bytes = request.from(1).map(<[u8]>::len).sum();
    budget.copies(bytes);
    budget.replies(bytes);
}
