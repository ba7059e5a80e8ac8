//! `CONFIG`: the settings that have a name in Redis, and the one that may be changed while the server runs.

use crate::protocol::resp::parse_integer;
use crate::services::resp::call::arguments::{glob, quoted};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::commands::server::persistence;
use crate::services::resp::state::LEAST_BULK_BYTES;
use crate::store::Glob;

/// The one parameter that `CONFIG SET` changes.
const BULK_BYTES: &str = "proto-max-bulk-len";

/// Every parameter and its value.
fn parameters(call: &Call<'_, '_>) -> [(&'static str, String); 12] {
    let options = &call.core.options;
    let limits = &call.exchange.env.limits;
    [
        ("appendfsync", String::from(persistence::fsync(call.store))),
        ("appendonly", String::from(if call.store.is_durable() { "yes" } else { "no" })),
        ("client-query-buffer-limit", limits.request_bytes.to_string()),
        ("databases", String::from("1")),
        ("maxclients", limits.connections.to_string()),
        ("maxmemory", options.max_memory.to_string()),
        ("maxmemory-clients", limits.client_memory.to_string()),
        ("maxmemory-policy", String::from(options.max_memory_policy)),
        (BULK_BYTES, call.core.bulk_bytes.to_string()),
        ("save", String::new()),
        ("tcp-keepalive", limits.keepalive.unwrap_or_default().as_secs().to_string()),
        ("timeout", options.idle_seconds.to_string()),
    ]
}

pub(crate) fn get(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let patterns = call.request.from(2).map(|text| glob(&text.to_ascii_lowercase()));
    let mut patterns = patterns.collect::<Result<Vec<Glob>, CommandError>>()?;
    let mut is_wanted = |name: &str| patterns.iter_mut().any(|pattern| pattern.matches(name.as_bytes()));
    let mut found = Vec::from(parameters(call));
    found.retain(|(name, _)| is_wanted(name));
    // Compiling a pattern takes longer than answering a small request.
    call.exchange.spend(2 * call.request.len());
    let mut reply = call.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// `CONFIG SET name value ...`: all of it or nothing. Setting a parameter to the value that it has is no change.
pub(crate) fn set(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if call.request.len() % 2 == 1 {
        return Err(CommandError::SYNTAX);
    }
    let current = parameters(call);
    let mut named: Vec<(&str, &[u8])> = Vec::new();
    let mut arguments = call.request.from(2);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let parameter = current.iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name));
        let Some((name, old)) = parameter else {
            let text = [b"ERR Unknown option or number of arguments for CONFIG SET - '", quoted(name, 128), b"'"];
            return Err(CommandError::from(text.concat()));
        };
        if named.iter().any(|(other, _)| other == name) {
            return Err(refused(name, "duplicate parameter"));
        }
        if *name != BULK_BYTES && !value.eq_ignore_ascii_case(old.as_bytes()) {
            return Err(refused(name, "can't set immutable config"));
        }
        named.push((name, value));
    }
    let mut bulk_bytes = call.core.bulk_bytes;
    if let Some((name, value)) = named.into_iter().find(|(name, _)| *name == BULK_BYTES) {
        bulk_bytes = memory(value).ok_or_else(|| refused(name, "argument must be a memory value"))?;
        if bulk_bytes < LEAST_BULK_BYTES {
            return Err(refused(name, "argument must be between 1048576 and 9223372036854775807 inclusive"));
        }
    }
    call.core.bulk_bytes = bulk_bytes;
    call.ok()
}

fn refused(name: &str, why: &str) -> CommandError {
    CommandError::from(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
}

/// An amount of memory as Redis writes it: `1048576`, `1024k` (of 1000), `1024kb` (of 1024), `1mb`, `1gb`.
fn memory(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    usize::try_from(parse_integer(number)?).ok()?.checked_mul(factor)
}

pub(crate) fn resetstat(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Call { core, store, exchange, .. } = call;
    core.reset_statistics(&exchange.env.metrics, store.stats());
    call.ok()
}

pub(crate) fn rewrite(_: &mut Call<'_, '_>) -> Result<(), CommandError> {
    Err(CommandError::new("ERR The server is running without a config file"))
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn memory_is_read_in_redis_units() {
        assert_eq!(memory(b"1048576"), Some(1 << 20));
        assert_eq!(memory(b"2MB"), Some(2 << 20));
        assert_eq!(memory(b"3g"), Some(3_000_000_000));
        for text in [&b""[..], b"mb", b"-1", b"1tb", b"1 mb", b"9223372036854775807gb"] {
            assert_eq!(memory(text), None);
        }
    }
}
