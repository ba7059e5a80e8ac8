//! `COMMAND`: the table of commands, as clients read it.

use crate::protocol::resp::Encoder;
use crate::services::resp::call::arguments::glob;
use crate::services::resp::call::{Call, CommandError, ServedCommands};
use crate::services::resp::description::{Command, Flag, KeyBegin, KeyEffect, KeyFlag, KeySpan, KeyUse};

/// Flags and their names, in the order of Redis's replies.
const FLAGS: [(Flag, &str); 12] = [
    (Flag::Write, "write"),
    (Flag::ReadOnly, "readonly"),
    (Flag::DenyOom, "denyoom"),
    (Flag::Admin, "admin"),
    (Flag::NoScript, "noscript"),
    (Flag::Always, "loading"),
    (Flag::Always, "stale"),
    (Flag::SkipSlowlog, "skip_slowlog"),
    (Flag::Fast, "fast"),
    (Flag::NoAuth, "no_auth"),
    (Flag::NoAsyncLoading, "no_async_loading"),
    (Flag::AllowBusy, "allow_busy"),
];

/// Access categories that flags stand for, in the order of Redis's replies.
const CATEGORIES: [(Flag, &str); 10] = [
    (Flag::Keyspace, "keyspace"),
    (Flag::ReadOnly, "read"),
    (Flag::Write, "write"),
    (Flag::Strings, "string"),
    (Flag::Admin, "admin"),
    (Flag::AdminCategory, "admin"),
    (Flag::Fast, "fast"),
    (Flag::Dangerous, "dangerous"),
    (Flag::Connection, "connection"),
    (Flag::Transaction, "transaction"),
];

fn flags(command: &Command) -> Vec<&'static str> {
    FLAGS.into_iter().filter(|(flag, _)| command.is(*flag)).map(|(_, name)| name).collect()
}

fn categories(command: &Command) -> Vec<&'static str> {
    let category = |(flag, name)| match flag {
        Flag::Fast => Some(if command.is(Flag::Fast) { "fast" } else { "slow" }),
        _ => command.is(flag).then_some(name),
    };
    CATEGORIES.into_iter().filter_map(category).collect()
}

/// Commands that are not subcommands.
fn commands(table: &'static ServedCommands) -> impl Iterator<Item = &'static Command> + Clone {
    table.commands().filter(|command| command.container().is_none())
}

/// A command by its own name or by `container|subcommand`.
fn named(table: &'static ServedCommands, name: &[u8]) -> Option<&'static Command> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let (_, entry) = table.find(parts.next()?)?;
    match parts.next() {
        None => Some(&entry.command),
        Some(own) => table.find_subcommand(&entry.command, own).map(|(_, entry)| &entry.command),
    }
}

pub(crate) fn command(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let table = call.table;
    let mut reply = call.reply();
    let start = reply.position();
    reply.array(commands(table).count());
    for command in commands(table) {
        write_info(&mut reply, table, command);
    }
    call.spend_report(start);
    Ok(())
}

pub(crate) fn count(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let count = commands(call.table).count();
    call.answer_count(count)
}

pub(crate) fn info(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (table, names) = (call.table, call.request.from(2));
    if names.len() == 0 {
        return command(call);
    }
    let mut reply = call.reply();
    let start = reply.position();
    reply.array(names.len());
    for name in names {
        match named(table, name) {
            Some(command) => write_info(&mut reply, table, command),
            None => reply.null(),
        }
    }
    call.spend_report(start);
    Ok(())
}

fn write_info(reply: &mut Encoder<'_>, table: &'static ServedCommands, command: &'static Command) {
    let (first, last, step) = command.key_positions();
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    let flags = flags(command);
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    for position in [first, last, step] {
        reply.integer(position);
    }
    let categories = categories(command);
    reply.set(categories.len());
    for category in categories {
        reply.simple(&format!("@{category}"));
    }
    // Hints for proxies that spread commands over servers: there is one server.
    reply.set(0);
    reply.set(command.keys.len());
    for key_use in command.keys {
        write_key_use(reply, key_use);
    }
    // One level deep: a subcommand has no subcommands.
    let subcommands = table.subcommands(command);
    match subcommands.clone().count() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    for command in subcommands {
        write_info(reply, table, command);
    }
}

/// The names of what is known of a group of keys, in the order of Redis's replies.
fn key_flags(key_use: &KeyUse) -> Vec<&'static str> {
    let effect = match key_use.effect {
        KeyEffect::Read => "RO",
        KeyEffect::ReadWrite => "RW",
        KeyEffect::Overwrite => "OW",
        KeyEffect::Remove => "RM",
    };
    let name = |flag| match flag {
        KeyFlag::Access => "access",
        KeyFlag::Insert => "insert",
        KeyFlag::Update => "update",
        KeyFlag::Delete => "delete",
        KeyFlag::NotKey => "not_key",
        KeyFlag::Incomplete => "incomplete",
        KeyFlag::VariableFlags => "variable_flags",
    };
    let others = KeyFlag::ALL.into_iter().filter(|flag| key_use.has(*flag)).map(name);
    std::iter::once(effect).chain(others).collect()
}

/// One key specification. No command that is served has keys behind a word.
fn write_key_use(reply: &mut Encoder<'_>, key_use: &KeyUse) {
    let flags = key_flags(key_use);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    reply.bulk(b"begin_search");
    match key_use.begin {
        KeyBegin::Argument(index) => write_search(reply, "index", &[("index", i64::from(index))]),
        KeyBegin::Keyword { .. } | KeyBegin::Unknown => write_search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match key_use.span {
        KeySpan::Range { last, step, limit } => {
            let fields = [("lastkey", last.into()), ("keystep", step.into()), ("limit", limit.into())];
            write_search(reply, "range", &fields);
        }
        KeySpan::Count { at, first, step } => {
            let fields = [("keynumidx", at.into()), ("firstkey", first.into()), ("keystep", step.into())];
            write_search(reply, "keynum", &fields);
        }
        KeySpan::Unknown => write_search(reply, "unknown", &[]),
    }
}

fn write_search(reply: &mut Encoder<'_>, kind: &str, fields: &[(&str, i64)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(*value);
    }
}

pub(crate) fn docs(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (table, names) = (call.table, call.request.from(2));
    let mut reply = call.reply();
    let start = reply.position();
    if names.len() == 0 {
        write_all_docs(&mut reply, table, commands(table));
    } else {
        write_all_docs(&mut reply, table, names.filter_map(|name| named(table, name)));
    }
    call.spend_report(start);
    Ok(())
}

fn write_all_docs(
    reply: &mut Encoder<'_>,
    table: &'static ServedCommands,
    commands: impl Iterator<Item = &'static Command> + Clone,
) {
    reply.map(commands.clone().count());
    for command in commands {
        let subcommands = table.subcommands(command);
        let count = subcommands.clone().count();
        write_docs(reply, command, usize::from(count > 0));
        if count > 0 {
            reply.bulk(b"subcommands");
            reply.map(count);
            subcommands.for_each(|command| write_docs(reply, command, 0));
        }
    }
}

/// The name of a command and what is said of it, in a map with room for so many fields more.
fn write_docs(reply: &mut Encoder<'_>, command: &Command, more: usize) {
    reply.bulk(command.name.as_bytes());
    reply.map(3 + more);
    for (field, text) in [("summary", command.summary), ("since", command.since), ("group", command.group.name())] {
        reply.bulk(field.as_bytes());
        reply.bulk(text.as_bytes());
    }
}

/// `COMMAND LIST [FILTERBY (MODULE name | ACLCAT category | PATTERN pattern)]`.
pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let table = call.table;
    let wanted: Vec<&'static Command> = match call.request.len() {
        2 => commands(table).collect(),
        5 if call.argument(2).eq_ignore_ascii_case(b"FILTERBY") => {
            let value = call.argument(4);
            match call.argument(3).to_ascii_uppercase().as_slice() {
                b"MODULE" => Vec::new(),
                b"ACLCAT" => in_category(table, value),
                b"PATTERN" => {
                    let mut pattern = glob(&value.to_ascii_lowercase())?;
                    table.commands().filter(|command| pattern.matches(command.name.as_bytes())).collect()
                }
                _ => return Err(CommandError::SYNTAX),
            }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let mut reply = call.reply();
    reply.array(wanted.len());
    for command in wanted {
        reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

fn in_category(table: &ServedCommands, category: &[u8]) -> Vec<&'static Command> {
    let is_in =
        |command: &&Command| categories(command).iter().any(|own| own.as_bytes().eq_ignore_ascii_case(category));
    table.commands().filter(is_in).collect()
}

pub(crate) fn getkeys(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let request = call.request.skip(2);
    let (_, entry) = call.table.resolve(&request).map_err(|_| CommandError::new("ERR Invalid command specified"))?;
    let command = &entry.command;
    if command.keys.is_empty() {
        return Err(CommandError::new("ERR The command has no key arguments"));
    }
    if !command.takes(request.len()) {
        return Err(CommandError::new("ERR Invalid number of arguments specified for command"));
    }
    let keys: Vec<&[u8]> = command.keys_of(request).collect();
    let mut reply = call.reply();
    reply.array(keys.len());
    for key in keys {
        reply.bulk(key);
    }
    Ok(())
}
