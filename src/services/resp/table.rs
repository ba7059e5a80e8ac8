//! All commands that are served. A name that is not here is an unknown command: lists, hashes, sets and streams are not
//! served.

use super::call::{ServedCommand, ServedCommands};
use super::commands::{connection, keys, server, strings};
use super::description::{CommandTable, concat};
use super::engine::transactions;

/// The families, in the order in which `COMMAND` tells them.
const FAMILIES: [&[ServedCommand]; 5] =
    [strings::ENTRIES, keys::ENTRIES, connection::ENTRIES, server::ENTRIES, transactions::ENTRIES];

const COUNT: usize = strings::ENTRIES.len()
    + keys::ENTRIES.len()
    + connection::ENTRIES.len()
    + server::ENTRIES.len()
    + transactions::ENTRIES.len();

static ENTRIES: [ServedCommand; COUNT] = concat(&FAMILIES);

/// Every command, found by its name.
pub(super) static TABLE: ServedCommands = CommandTable::new(&ENTRIES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Reach;
    use crate::protocol::resp::{Arguments, Decoder, RequestLimits};
    use crate::services::resp::Resp;
    use crate::services::resp::description::{Flag, KeyUse};

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for (place, command) in TABLE.commands().enumerate() {
            let found = match command.name.split_once('|') {
                None => TABLE.find(command.name.to_uppercase().as_bytes()),
                Some((container, name)) => {
                    let (_, container) = TABLE.find(container.as_bytes()).expect("the container is a command");
                    assert!(container.command.is(Flag::Container), "{}", container.command.name);
                    TABLE.find_subcommand(&container.command, name.to_uppercase().as_bytes())
                }
            };
            assert_eq!(found.map(|(id, found)| (id.index(), found.command.name)), Some((place, command.name)));
        }
        for name in [&b""[..], b"GE", b"GETT", b"\x07et", b"hset", b"client |list"] {
            assert!(TABLE.find(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn every_command_is_fully_described() {
        for command in TABLE.commands() {
            assert!(command.arity != 0 && !command.summary.is_empty() && !command.since.is_empty(), "{}", command.name);
            assert!(!(command.is(Flag::ReadOnly) && command.is(Flag::Write)), "{}", command.name);
            let writes = command.keys.iter().any(KeyUse::writes);
            assert!(!writes || command.is(Flag::Write), "{} writes keys", command.name);
        }
    }

    #[test]
    fn the_documentation_lists_every_command_and_no_other() {
        let text = include_str!("../../../docs/resp.md");
        let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("| `") && line.ends_with(" |")).collect();
        let (_, commands) = text.split_once("## Commands").expect("a list");
        let (commands, _) = commands.split_once("\n## ").expect("its end");
        for command in TABLE.commands() {
            let name = command.name.replace('|', " ").to_uppercase();
            let line = format!("| `{name}` | {} |", command.summary.trim_end_matches('.'));
            assert!(listed.contains(&line.as_str()), "docs/resp.md lacks: {line}");
        }
        let lines = commands.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(lines, TABLE.commands().len(), "docs/resp.md lists a command twice, or one that is not served");
    }

    #[test]
    fn keys_are_found_among_the_arguments() {
        for (line, expected) in [
            ("get a", "a"),
            ("mget a b c", "a b c"),
            ("mset a 1 b 2", "a b"),
            ("rename a b", "a b"),
            ("copy a b replace", "a b"),
            ("lcs a b len", "a b"),
            ("ping a", ""),
        ] {
            let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
            let line = format!("{line}\r\n");
            let parsed = decoder.decode(line.as_bytes(), &RequestLimits::new(1000), &mut arguments);
            let (request, _) = parsed.unwrap().unwrap();
            let (_, entry) = TABLE.find(request.get(0).unwrap()).unwrap();
            let keys: Vec<_> = entry.command.keys_of(request).map(String::from_utf8_lossy).collect();
            assert_eq!((keys.join(" ").as_str(), keys.len()), (expected, entry.command.key_count(&request)));
        }
    }

    #[test]
    fn the_reach_of_a_command_is_its_keys_or_the_server() {
        for name in ["get", "MSET", "keys", "scan", "ping", "object", "multi"] {
            assert_eq!(Resp::reach(name), Some(Reach::Keys), "{name}");
        }
        for name in ["config", "config|set", "info", "flushall", "bgsave"] {
            assert_eq!(Resp::reach(name), Some(Reach::Server), "{name}");
        }
        assert_eq!(Resp::reach("spam"), None);
    }
}
