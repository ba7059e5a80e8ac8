//! Whether rules let a client execute a command on the keys that its request names. A judgement of descriptions alone.

use super::command::Command;
use super::flags::Flag;
use super::key_use::{KeyFlag, KeyUse};
use crate::access::{Access, Class, Reach, Scope};
use crate::protocol::resp::Request;

/// The permission that the client lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The command, whatever its keys.
    Command,
    /// The command on one of these keys.
    Key,
}

/// Decides on one request. A command over all keys passes where only some of these are granted, if its answer can be
/// confined to them ([`Flag::Confinable`]).
pub(crate) fn decide(command: &Command, request: &Request<'_>, access: &Access) -> Result<(), Refusal> {
    let allows = |class, key| {
        let named = |name| access.allows(class, name, key);
        named(command.name) || command.container().is_some_and(named)
    };
    let allows_some = |class| {
        let named = |name| access.scope(class, name) != Scope::Nothing;
        named(command.name) || command.container().is_some_and(named)
    };
    let mut uses = command.keys.iter().filter(|key_use| !key_use.has(KeyFlag::NotKey)).peekable();
    if uses.peek().is_none() {
        let class = class_without_keys(command);
        let is_allowed = if command.is(Flag::Confinable) {
            access.scope(class, command.name) != Scope::Nothing
        } else {
            allows(class, None)
        };
        return if is_allowed { Ok(()) } else { Err(Refusal::Command) };
    }
    for key_use in uses {
        let keys = key_use.positions(request).filter(|_| !key_use.has(KeyFlag::Incomplete));
        for class in classes(command, key_use, request) {
            if !allows_some(class) {
                return Err(Refusal::Command);
            }
            // Keys that the request does not determine may be any.
            let is_allowed = match keys {
                Some(keys) => keys.keys(*request).all(|key| allows(class, Some(key))),
                None => allows(class, None),
            };
            if !is_allowed {
                return Err(Refusal::Key);
            }
        }
    }
    Ok(())
}

/// The reach of a rule that grants these commands, which bear the name in the rule.
pub(crate) fn reach(named: &[&Command]) -> Option<Reach> {
    let is_about_keys = |command: &&Command| !command.keys.is_empty() || command.is(Flag::Confinable);
    let is_open = |command: &&Command| class_without_keys(command) == Class::Open;
    let is_bound = named.iter().any(is_about_keys) || named.iter().all(is_open);
    (!named.is_empty()).then_some(if is_bound { Reach::Keys } else { Reach::Server })
}

/// Whether the command looks at many keys only because this client may not see all of them.
pub(crate) fn is_search(command: &Command, access: &Access) -> bool {
    command.is(Flag::Confinable) && matches!(access.scope(Class::Read, command.name), Scope::Prefixes(_))
}

/// The class of a command that names no key.
fn class_without_keys(command: &Command) -> Class {
    if command.is(Flag::Admin) {
        Class::Server
    } else if command.is(Flag::Write) {
        Class::Write
    } else if command.is(Flag::ReadOnly) || command.is(Flag::Dangerous) {
        // INFO, the one dangerous command that neither writes nor administers, reports how many keys there are.
        Class::Read
    } else {
        Class::Open
    }
}

/// The classes of what a command does with a group of keys. Reporting a value is reading, and so is reporting that there is
/// one, where nothing is changed.
fn classes(command: &Command, key_use: &KeyUse, request: &Request<'_>) -> impl Iterator<Item = Class> + use<> {
    let writes = key_use.writes();
    let is_asked = !command.is(Flag::ReadsOnGet) || request.from(3).any(|word| word.eq_ignore_ascii_case(b"GET"));
    let reads = !writes || key_use.has(KeyFlag::Access) && is_asked;
    [reads.then_some(Class::Read), writes.then_some(Class::Write)].into_iter().flatten()
}
