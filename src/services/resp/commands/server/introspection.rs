//! `COMMAND` and the `HELP` subcommands: the table of commands, told to clients.

use crate::protocol::resp::Encoder;
use crate::services::resp::call::{Call, CommandError, glob};
use crate::services::resp::description::command::{Command, KeySpec, find, find_subcommand, flag, subcommands};
use crate::services::resp::table::COMMANDS;

/// Flags and their names, in the order in which Redis tells them.
const FLAGS: [(u32, &str); 12] = [
    (flag::WRITE, "write"),
    (flag::READ, "readonly"),
    (flag::DENY_OOM, "denyoom"),
    (flag::ADMIN, "admin"),
    (flag::NO_SCRIPT, "noscript"),
    (flag::ALWAYS, "loading"),
    (flag::ALWAYS, "stale"),
    (flag::SKIP_SLOWLOG, "skip_slowlog"),
    (flag::FAST, "fast"),
    (flag::NO_AUTH, "no_auth"),
    (flag::NO_ASYNC_LOADING, "no_async_loading"),
    (flag::ALLOW_BUSY, "allow_busy"),
];

/// Access categories that flags stand for, in the order in which Redis tells them.
const CATEGORIES: [(u32, &str); 11] = [
    (flag::KEYSPACE, "keyspace"),
    (flag::READ, "read"),
    (flag::WRITE, "write"),
    (flag::STRING, "string"),
    (flag::ADMIN, "admin"),
    (flag::ADMIN_CATEGORY, "admin"),
    (flag::FAST, "fast"),
    (0, "slow"),
    (flag::DANGEROUS, "dangerous"),
    (flag::CONNECTION, "connection"),
    (flag::TRANSACTION, "transaction"),
];

fn flags(command: &Command) -> Vec<&'static str> {
    FLAGS.into_iter().filter(|(flag, _)| command.flags & flag != 0).map(|(_, name)| name).collect()
}

fn categories(command: &Command) -> Vec<&'static str> {
    let applies = |flag: u32| if flag == 0 { !command.is(flag::FAST) } else { command.is(flag) };
    CATEGORIES.into_iter().filter(|(flag, _)| applies(*flag)).map(|(_, name)| name).collect()
}

/// Commands that are not subcommands.
fn commands() -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS.iter().filter(|command| command.container().is_none())
}

/// A command by its own name or by `container|subcommand`.
fn named(name: &[u8]) -> Option<&'static Command> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let (_, command) = find(parts.next()?)?;
    match parts.next() {
        None => Some(command),
        Some(own) => find_subcommand(command, own).map(|(_, command)| command),
    }
}

pub(crate) fn command(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let mut reply = call.reply();
    let start = reply.position();
    reply.array(commands().count());
    for command in commands() {
        write_info(&mut reply, command);
    }
    call.spend_report(start);
    Ok(())
}

pub(crate) fn count(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    call.answer_count(commands().count())
}

pub(crate) fn info(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let names = call.request.from(2);
    if names.len() == 0 {
        return command(call);
    }
    let mut reply = call.reply();
    let start = reply.position();
    reply.array(names.len());
    for name in names {
        match named(name) {
            Some(command) => write_info(&mut reply, command),
            None => reply.null(),
        }
    }
    call.spend_report(start);
    Ok(())
}

fn write_info(reply: &mut Encoder<'_>, command: &'static Command) {
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
        reply.integer(i64::from(position));
    }
    let categories = categories(command);
    reply.set(categories.len());
    for category in categories {
        reply.simple(&format!("@{category}"));
    }
    // Hints for proxies that spread commands over servers: there is one server.
    reply.set(0);
    let specs = command.keys.iter().flatten();
    reply.set(specs.clone().count());
    for spec in specs {
        write_key_spec(reply, spec);
    }
    // One level deep: a subcommand has no subcommands.
    let subcommands = subcommands(command);
    match subcommands.clone().count() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    for command in subcommands {
        write_info(reply, command);
    }
}

fn write_key_spec(reply: &mut Encoder<'_>, spec: &KeySpec) {
    let usage = spec.usage.split(' ');
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(usage.clone().count());
    for word in usage {
        reply.simple(word);
    }
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(i64::from(spec.first));
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    for (name, value) in [("lastkey", spec.last), ("keystep", spec.step), ("limit", 0)] {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(value));
    }
}

pub(crate) fn docs(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let names = call.request.from(2);
    let mut reply = call.reply();
    let start = reply.position();
    if names.len() == 0 {
        write_all_docs(&mut reply, commands());
    } else {
        write_all_docs(&mut reply, names.filter_map(named));
    }
    call.spend_report(start);
    Ok(())
}

fn write_all_docs(reply: &mut Encoder<'_>, commands: impl Iterator<Item = &'static Command> + Clone) {
    reply.map(commands.clone().count());
    for command in commands {
        let subcommands = subcommands(command);
        let has_subcommands = subcommands.clone().next().is_some();
        reply.bulk(command.name.as_bytes());
        reply.map(if has_subcommands { 4 } else { 3 });
        for (field, text) in [("summary", command.summary), ("since", command.since), ("group", command.group)] {
            reply.bulk(field.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if has_subcommands {
            reply.bulk(b"subcommands");
            write_subcommand_docs(reply, subcommands);
        }
    }
}

fn write_subcommand_docs(reply: &mut Encoder<'_>, subcommands: impl Iterator<Item = &'static Command> + Clone) {
    reply.map(subcommands.clone().count());
    for command in subcommands {
        reply.bulk(command.name.as_bytes());
        reply.map(3);
        for (field, text) in [("summary", command.summary), ("since", command.since), ("group", command.group)] {
            reply.bulk(field.as_bytes());
            reply.bulk(text.as_bytes());
        }
    }
}

/// `COMMAND LIST [FILTERBY (MODULE name | ACLCAT category | PATTERN pattern)]`.
pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let wanted: Vec<&'static Command> = match call.request.len() {
        2 => commands().collect(),
        5 if call.argument(2).eq_ignore_ascii_case(b"FILTERBY") => {
            let value = call.argument(4);
            match call.argument(3).to_ascii_uppercase().as_slice() {
                b"MODULE" => Vec::new(),
                b"ACLCAT" => in_category(value),
                b"PATTERN" => {
                    let mut pattern = glob(&value.to_ascii_lowercase())?;
                    COMMANDS.iter().filter(|command| pattern.matches(command.name.as_bytes())).collect()
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

fn in_category(category: &[u8]) -> Vec<&'static Command> {
    let is_in =
        |command: &&Command| categories(command).iter().any(|own| own.as_bytes().eq_ignore_ascii_case(category));
    COMMANDS.iter().filter(is_in).collect()
}

pub(crate) fn getkeys(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let request = call.request.skip(2);
    let (_, command) =
        crate::services::resp::resolve(&request).map_err(|_| CommandError::new("ERR Invalid command specified"))?;
    if command.keys.iter().flatten().next().is_none() {
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

/// `CONTAINER HELP`: what the table says of the container's subcommands.
pub(crate) fn help(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let Some((_, container)) = call.command.container().and_then(|name| find(name.as_bytes())) else {
        return Err(CommandError::SYNTAX);
    };
    let subcommands = subcommands(container);
    let name = container.name.to_uppercase();
    let mut reply = call.reply();
    reply.array(1 + 2 * subcommands.clone().count());
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for command in subcommands {
        let own = command.name.rsplit('|').next().unwrap_or_default();
        reply.simple(&own.to_uppercase());
        reply.simple(&format!("    {}.", command.summary.trim_end_matches('.')));
    }
    Ok(())
}
