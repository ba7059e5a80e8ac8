//! Keys, whatever they hold.

use crate::access::Scope;
use crate::protocol::resp::{Encoder, parse_integer};
use crate::services::resp::call::arguments::{check_database, glob};
use crate::services::resp::call::{Call, CommandError, work};
use crate::services::resp::commands::keys::search::{Purpose, search};
use crate::store::{Expiry, Kind, ORDINARY_KEY_BYTES, ScanBounds};

pub(crate) fn del(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now();
    let count = call.request.from(1).filter(|key| call.store.remove(key, now)).count();
    call.answer_count(count)
}

/// `EXISTS`, and `TOUCH`: reading a key marks it as used.
pub(crate) fn exists(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now();
    let count = call.request.from(1).filter(|key| call.store.get(key, now).is_some()).count();
    call.answer_count(count)
}

pub(crate) fn type_of(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let name = call.store.peek(call.argument(1), call.now()).map_or("none", |entry| type_name(entry.kind));
    call.reply().simple(name);
    Ok(())
}

/// The reply of `TYPE`.
pub(crate) fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes | Kind::String | Kind::Base64 => "string",
        Kind::Int => "int",
        Kind::I8 => "i8",
        Kind::Boolean => "boolean",
        Kind::Double => "double",
        Kind::Nil => "nil",
        Kind::DateTime => "dateTime",
        Kind::Array => "array",
        Kind::Struct => "struct",
    }
}

/// Whether `pattern` matches nothing but itself.
fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

pub(crate) fn keys(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (pattern, now) = (call.argument(1), call.now());
    let scope = call.scope();
    if is_literal(pattern) {
        let exists = scope.covers(pattern) && call.store.peek(pattern, now).is_some();
        let mut reply = call.reply();
        reply.array(usize::from(exists));
        if exists {
            reply.bulk(pattern);
        }
        return Ok(());
    }
    let pattern = if pattern == b"*" { None } else { Some(Box::new(glob(pattern)?)) };
    search(call, Purpose::List { pattern, found: Vec::new() })
}

/// `DBSIZE`: of the keys that the client may see.
pub(crate) fn dbsize(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.scope() == Scope::Everything {
        call.store.note_read_all();
        let count = call.store.len();
        return call.answer_count(count);
    }
    search(call, Purpose::Count)
}

/// Keys that `SCAN` visits while another request is served.
const KEYS_PER_REQUEST: usize = 32;

struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    type_name: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    fn parse(call: &Call<'a, '_>) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: 10, type_name: None };
        let mut arguments = call.request.from(2);
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or(CommandError::SYNTAX)?;
            if option.eq_ignore_ascii_case(b"COUNT") {
                let count = parse_integer(value).ok_or(CommandError::NOT_AN_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|&count| count > 0).ok_or(CommandError::SYNTAX)?;
            } else if option.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = Some(value).filter(|&pattern| pattern != b"*");
            } else if option.eq_ignore_ascii_case(b"TYPE") {
                options.type_name = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        options.count = options.count.min(call.core.options.scan_count);
        Ok(options)
    }
}

/// The cost of matching a byte of a key, in bytes that are copied.
fn match_cost(pattern: &[u8]) -> usize {
    4 * (1 + pattern.len() / 64)
}

/// Reads a cursor as Redis does, by C's `strtoul`: nothing is zero, and a negative number counts down from 2^64.
fn cursor(text: &[u8]) -> Option<u64> {
    match text {
        [] => Some(0),
        [b'-', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => cursor(digits).map(u64::wrapping_neg),
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

pub(crate) fn scan(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let cursor = cursor(call.argument(1)).ok_or(CommandError::new("ERR invalid cursor"))?;
    let options = ScanOptions::parse(call)?;
    let (mut found, mut count, mut next) = (Vec::new(), 0, cursor);
    let (mut seen, mut seen_bytes, most_bytes) =
        (0, 0, call.core.options.scan_count.saturating_mul(ORDINARY_KEY_BYTES));
    let mut glob = options.pattern.map(glob).transpose()?;
    let scope = call.scope();
    // Long keys end the step early, as fits what SCAN promises: the cursor says where to go on.
    for _ in 0..ScanBounds::keys(options.count).segments {
        if seen >= options.count || seen_bytes >= most_bytes || found.len() >= call.exchange.env.limits.output_bytes {
            break;
        }
        next = call.store.scan(next, 1, call.exchange.env.now, &mut |key, entry| {
            seen += 1;
            seen_bytes += key.len();
            let is_wanted = scope.covers(key)
                && glob.as_mut().is_none_or(|glob| glob.matches(key))
                && options.type_name.is_none_or(|name| name.eq_ignore_ascii_case(type_name(entry.kind).as_bytes()));
            if is_wanted {
                Encoder::new(&mut found, call.session.protocol).bulk(key);
                count += 1;
            }
        });
        if next == 0 {
            break;
        }
    }
    let bytes = seen_bytes.saturating_mul(options.pattern.map_or(1, match_cost));
    call.exchange.spend(seen / KEYS_PER_REQUEST + work::copying(bytes));
    let mut reply = call.reply();
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(count);
    call.exchange.reply().extend_from_slice(&found);
    Ok(())
}

pub(crate) fn randomkey(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (random, now) = (call.core.random(), call.now());
    if call.scope() != Scope::Everything {
        return search(call, Purpose::Pick { seed: random, chosen: None });
    }
    let mut reply = Encoder::new(call.exchange.reply(), call.session.protocol);
    match call.store.random_key(random, now) {
        Some(key) => reply.bulk(key),
        None => reply.null(),
    }
    Ok(())
}

pub(crate) fn rename(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (from, to, now) = (call.argument(1), call.argument(2), call.now());
    let done = if from == to { call.store.contains(from, now) } else { call.store.rename(from, to, now)? };
    if done { call.ok() } else { Err(CommandError::NO_SUCH_KEY) }
}

pub(crate) fn renamenx(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (from, to, now) = (call.argument(1), call.argument(2), call.now());
    if !call.store.contains(from, now) {
        return Err(CommandError::NO_SUCH_KEY);
    }
    let renamed = !call.store.contains(to, now) && call.store.rename(from, to, now)?;
    call.answer_integer(i64::from(renamed))
}

pub(crate) fn copy(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (from, to, now) = (call.argument(1), call.argument(2), call.now());
    let mut replace = false;
    let mut arguments = call.request.from(3);
    while let Some(option) = arguments.next() {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB") {
            check_database(arguments.next().ok_or(CommandError::SYNTAX)?)?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if from == to {
        return Err(CommandError::new("ERR source and destination objects are the same"));
    }
    if call.store.get(from, now).is_none() || !replace && call.store.contains(to, now) {
        return call.answer_integer(0);
    }
    let Some(entry) = call.store.peek(from, now) else { return call.answer_integer(0) };
    let (kind, data) = (entry.kind, entry.data.to_vec());
    let expiry = entry.expires_ms.map_or(Expiry::Never, Expiry::At);
    call.exchange.spend(work::copying(data.len()));
    call.store.set_owned(to, kind, data, expiry, now)?;
    call.answer_integer(1)
}

pub(crate) fn object_encoding(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    /// Redis keeps strings up to this length beside their object.
    const EMBEDDED: usize = 44;
    let Some(entry) = call.store.peek(call.argument(2), call.now()) else { return call.null() };
    let encoding = match entry.kind {
        Kind::Bytes | Kind::String | Kind::Base64 if parse_integer(entry.data).is_some() => "int",
        Kind::Bytes | Kind::String | Kind::Base64 if entry.data.len() <= EMBEDDED => "embstr",
        Kind::Bytes | Kind::String | Kind::Base64 => "raw",
        typed => type_name(typed),
    };
    call.reply().bulk(encoding.as_bytes());
    Ok(())
}

pub(crate) fn object_refcount(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    match call.store.peek(call.argument(2), call.now()) {
        Some(_) => call.answer_integer(1),
        None => call.null(),
    }
}

pub(crate) fn object_freq(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.store.peek(call.argument(2), call.now()).is_none() {
        return call.null();
    }
    Err(CommandError::new(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    ))
}

pub(crate) fn object_idletime(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.store.peek(call.argument(2), call.now()).is_none() {
        return call.null();
    }
    Err(CommandError::new("ERR idle time is not tracked: eviction knows only whether a key was used lately"))
}

/// The approximate size of a key and its value: their bytes and the table's share.
pub(crate) fn memory_usage(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    /// The head of an entry and its share of the table.
    const TABLE_SHARE: usize = 24;
    let samples = match call.request.len() {
        3 => None,
        5 if call.argument(3).eq_ignore_ascii_case(b"SAMPLES") => Some(call.integer(4)?),
        _ => return Err(CommandError::SYNTAX),
    };
    if samples.is_some_and(|samples| samples < 0) {
        return Err(CommandError::SYNTAX);
    }
    let key = call.argument(2);
    let usage = call.store.peek(key, call.now()).map(|entry| key.len() + entry.data.len() + TABLE_SHARE);
    match usage {
        Some(usage) => call.answer_count(usage),
        None => call.null(),
    }
}
