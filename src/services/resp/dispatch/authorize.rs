//! Whether a client may execute a command on the keys it names.

use crate::access::{Access, Class, Reach, Scope};
use crate::protocol::resp::Request;
use crate::services::resp::COMMANDS;
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::description::command::{Command, KeySpec, flag};

/// Refuses, in Redis's words, what the client's rules do not grant.
///
/// Commands over all keys pass where only some of these are granted if their answer can be confined: their handlers
/// look at [`scope`].
pub(crate) fn authorize(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let access = &call.exchange.peer.access;
    if *access == Access::Everything {
        return Ok(());
    }
    let refusal = match decide(call.command, &call.request, access) {
        Ok(()) => return Ok(()),
        Err(Refusal::Key) => CommandError::new("NOPERM No permissions to access a key"),
        Err(Refusal::Command) => {
            let client = call.core.clients.get(call.exchange.peer.id);
            let names = client.and_then(|client| client.names.as_ref()).filter(|names| !names.user.is_empty());
            let user = names.map_or("default".into(), |names| String::from_utf8_lossy(&names.user));
            let name = call.command.name;
            CommandError::from(format!("NOPERM User {user} has no permissions to run the '{name}' command"))
        }
    };
    call.exchange.env.metrics.denials += 1;
    Err(refusal)
}

/// What a command is about, by its name in any case.
pub(crate) fn reach(name: &str) -> Option<Reach> {
    let is_named = |own: &str| own.eq_ignore_ascii_case(name);
    let named: Vec<&Command> =
        COMMANDS.iter().filter(|command| is_named(command.name) || command.container().is_some_and(is_named)).collect();
    let is_about_keys = |command: &&Command| command.keys.iter().flatten().next().is_some() || is_confinable(command);
    let is_open = |command: &&Command| class_without_keys(command) == Class::Open;
    let is_bound = named.iter().any(is_about_keys) || named.iter().all(is_open);
    (!named.is_empty()).then_some(if is_bound { Reach::Keys } else { Reach::Server })
}

/// The keys that a command over all keys may see.
pub(crate) fn scope<'a>(call: &Call<'_, 'a>) -> Scope<'a> {
    call.exchange.peer.access.scope(Class::Read, call.command.name)
}

/// Whether the command looks at many keys only because this client may not see all of them.
pub(crate) fn is_search(command: &Command, access: &Access) -> bool {
    is_confinable(command) && matches!(access.scope(Class::Read, command.name), Scope::Prefixes(_))
}

enum Refusal {
    Command,
    Key,
}

fn decide(command: &Command, request: &Request<'_>, access: &Access) -> Result<(), Refusal> {
    let allows = |class, key| {
        let named = |name| access.allows(class, name, key);
        named(command.name) || command.container().is_some_and(named)
    };
    let mut keys = command.keys.iter().flatten().peekable();
    if keys.peek().is_none() {
        let class = class_without_keys(command);
        let is_allowed = if is_confinable(command) {
            access.scope(class, command.name) != Scope::Nothing
        } else {
            allows(class, None)
        };
        return if is_allowed { Ok(()) } else { Err(Refusal::Command) };
    }
    for spec in keys {
        for class in classes(command, spec, request) {
            if access.scope(class, command.name) == Scope::Nothing
                && command.container().is_none_or(|name| access.scope(class, name) == Scope::Nothing)
            {
                return Err(Refusal::Command);
            }
            if !spec.keys_of(*request).all(|key| allows(class, Some(key))) {
                return Err(Refusal::Key);
            }
        }
    }
    Ok(())
}

/// What a command does that names no key.
fn class_without_keys(command: &Command) -> Class {
    if command.is(flag::ADMIN) {
        Class::Server
    } else if command.is(flag::WRITE) {
        Class::Write
    } else if command.is(flag::READ) || command.is(flag::DANGEROUS) {
        // INFO, which alone is dangerous but neither writes nor administers, tells how many keys there are.
        Class::Read
    } else {
        Class::Open
    }
}

/// Commands over all keys whose answer can be confined to some.
fn is_confinable(command: &Command) -> bool {
    matches!(command.name, "keys" | "scan" | "dbsize" | "randomkey")
}

/// What is done with a group of keys, by the words that Redis has for it: telling a value is reading, and so is telling
/// that there is one where nothing is changed.
fn classes(command: &Command, spec: &KeySpec, request: &Request<'_>) -> impl Iterator<Item = Class> + use<> {
    let writes = !spec.usage.starts_with("RO");
    let tells = spec.usage.split(' ').any(|word| word == "access");
    // SET tells the old value only when it is asked to.
    let is_asked =
        !spec.usage.contains("variable_flags") || request.from(3).any(|word| word.eq_ignore_ascii_case(b"GET"));
    let reads = !writes || tells && is_asked;
    debug_assert!(!writes || command.is(flag::WRITE), "a command that writes says so");
    [reads.then_some(Class::Read), writes.then_some(Class::Write)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prefix_can_bind_is_told_from_what_it_cannot() {
        for name in ["get", "MSET", "keys", "scan", "ping", "object", "multi"] {
            assert_eq!(reach(name), Some(Reach::Keys), "{name}");
        }
        for name in ["config", "config|set", "info", "flushall", "bgsave"] {
            assert_eq!(reach(name), Some(Reach::Server), "{name}");
        }
        assert_eq!(reach("spam"), None);
    }
}
