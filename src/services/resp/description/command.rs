//! What a command is, and how it is found by name.

use crate::protocol::resp::Request;
use crate::services::resp::call::Handler;
use crate::services::resp::call::budget::Forecast;
use crate::services::resp::table::COMMANDS;

/// One command, or one subcommand of a container. Everything that is known about commands stands here: dispatch,
/// `COMMAND`, key extraction and the documentation read the same line.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// In lower case; a subcommand's name is `container|subcommand`.
    pub name: &'static str,
    /// The number of arguments, all names included; negative when it is the least number.
    pub arity: i8,
    /// A combination of [`flag`]s.
    pub flags: u32,
    /// Which arguments are keys: a command has up to two groups of them.
    pub keys: [Option<KeySpec>; 2],
    /// Redis's name for the family.
    pub group: &'static str,
    /// The version of Redis that has it first.
    pub since: &'static str,
    /// What it does, in one sentence without a full stop.
    pub summary: &'static str,
    pub(crate) forecast: Forecast,
    pub(crate) handler: Handler,
}

/// A group of keys among the arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The position of the first key; the command's name is position 0.
    pub first: i8,
    /// The position of the last one, relative to the first; -1 is the last argument.
    pub last: i8,
    /// From one key to the next.
    pub step: i8,
    /// Redis's words for what is done with them: `RO`, `RW`, `OW` (overwritten) or `RM` (removed) comes first.
    pub usage: &'static str,
}

/// Properties of commands.
pub mod flag {
    /// May change the store.
    pub const WRITE: u32 = 1 << 0;
    /// Only reads the store.
    pub const READ: u32 = 1 << 1;
    /// May need more memory.
    pub const DENY_OOM: u32 = 1 << 2;
    /// Administration.
    pub const ADMIN: u32 = 1 << 3;
    /// Meaningless within a script.
    pub const NO_SCRIPT: u32 = 1 << 4;
    /// Answered while data is being loaded, and from stale data.
    pub const ALWAYS: u32 = 1 << 5;
    /// Left out of the slow log.
    pub const SKIP_SLOWLOG: u32 = 1 << 6;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 7;
    /// Needs no authentication.
    pub const NO_AUTH: u32 = 1 << 8;
    /// Answered while a script runs.
    pub const ALLOW_BUSY: u32 = 1 << 9;
    /// Executed at once within `MULTI`.
    pub const IN_MULTI: u32 = 1 << 10;
    /// Costs as much as thousands of ordinary commands: a transaction has room for few of them.
    pub const HEAVY: u32 = 1 << 12;
    /// Refused while data is being loaded beside the service.
    pub const NO_ASYNC_LOADING: u32 = 1 << 11;
    /// Has subcommands and does nothing itself.
    pub const CONTAINER: u32 = 1 << 13;
    /// Refused by its handler before it would be queued in a transaction.
    pub const PROTECTED: u32 = 1 << 14;
    /// Access category: the set of keys as a whole.
    pub const KEYSPACE: u32 = 1 << 16;
    /// Access category: strings.
    pub const STRING: u32 = 1 << 17;
    /// Access category: to be given with care.
    pub const DANGEROUS: u32 = 1 << 18;
    /// Access category: the connection itself.
    pub const CONNECTION: u32 = 1 << 19;
    /// Access category: administration, of a command that is none.
    pub const ADMIN_CATEGORY: u32 = 1 << 21;
    /// Access category: transactions.
    pub const TRANSACTION: u32 = 1 << 20;
}

impl Command {
    /// Whether all of `flags` are set.
    #[must_use]
    pub fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// The name of the container that this is a subcommand of.
    #[must_use]
    pub fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// Whether the command may have `arguments` arguments, its names included.
    #[must_use]
    pub fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }

    /// The position of the first key, that of the last (-1: the last argument), and the step: zeros for no keys.
    #[must_use]
    pub fn key_positions(&self) -> (i8, i8, i8) {
        let [Some(one), two] = self.keys else { return (0, 0, 0) };
        let end = two.unwrap_or(one);
        (one.first, if end.last < 0 { end.last } else { end.first + end.last }, one.step)
    }

    /// The keys in `request`.
    pub fn keys_of<'a>(&self, request: Request<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys.into_iter().flatten().flat_map(move |spec| spec.keys_of(request))
    }

    /// How many keys `request` has.
    #[must_use]
    pub fn key_count(&self, request: &Request<'_>) -> usize {
        let count = |spec: KeySpec| match spec.last {
            ..0 => {
                let arguments = request.len().saturating_sub(usize::from(spec.first.unsigned_abs()));
                arguments.div_ceil(usize::from(spec.step.unsigned_abs()).max(1))
            }
            _ => usize::from(spec.last.unsigned_abs()) + 1,
        };
        self.keys.into_iter().flatten().map(count).sum()
    }
}

impl KeySpec {
    /// The keys of this group in `request`.
    pub fn keys_of<'a>(&self, request: Request<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let first = usize::from(self.first.unsigned_abs());
        let count = if self.last < 0 { request.len() } else { usize::from(self.last.unsigned_abs()) + 1 };
        request.from(first).take(count).step_by(usize::from(self.step.unsigned_abs()).max(1))
    }
}

/// A command's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandId(u8);

impl CommandId {
    /// The place as an index, for counters.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Finds a command by its name, in any case.
#[must_use]
pub fn find(name: &[u8]) -> Option<(CommandId, &'static Command)> {
    probe(hash(OFFSET, name), |command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Finds a subcommand by its own name, in any case.
#[must_use]
pub(crate) fn find_subcommand(container: &Command, name: &[u8]) -> Option<(CommandId, &'static Command)> {
    let start = hash(hash(OFFSET, container.name.as_bytes()), b"|");
    probe(hash(start, name), |command| {
        let own = command.name.split_once('|').filter(|(parent, _)| *parent == container.name);
        own.is_some_and(|(_, own)| own.as_bytes().eq_ignore_ascii_case(name))
    })
}

/// The subcommands of a container.
pub(crate) fn subcommands(container: &'static Command) -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS.iter().filter(|command| command.container() == Some(container.name))
}

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// An open-addressed table of places in [`COMMANDS`], built when the program is compiled.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static INDEX: [u8; SLOTS] = {
    assert!(COMMANDS.len() < EMPTY as usize && COMMANDS.len() * 2 < SLOTS);
    let mut index = [EMPTY; SLOTS];
    let mut place = 0;
    while place < COMMANDS.len() {
        let mut slot = hash(OFFSET, COMMANDS[place].name.as_bytes()) as usize % SLOTS;
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        {
            index[slot] = place as u8;
        }
        place += 1;
    }
    index
};

fn probe(hash: u32, is_wanted: impl Fn(&Command) -> bool) -> Option<(CommandId, &'static Command)> {
    let mut slot = hash as usize % SLOTS;
    loop {
        let place = *INDEX.get(slot)?;
        // The index is never full, so an absent name meets an empty slot.
        let command = COMMANDS.get(usize::from(place))?;
        if is_wanted(command) {
            return Some((CommandId(place), command));
        }
        slot = (slot + 1) % SLOTS;
    }
}

const OFFSET: u32 = 0x811c_9dc5;

/// FNV-1a over the name in lower case. The peer chooses names but not what is in the table, so a keyed hash gains
/// nothing here.
const fn hash(start: u32, name: &[u8]) -> u32 {
    let mut hash = start;
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ (*byte | 0x20) as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::resp::{Arguments, Decoder, RequestLimits};

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let found = match command.name.split_once('|') {
                None => find(command.name.to_uppercase().as_bytes()),
                Some((container, name)) => {
                    let (_, container) = find(container.as_bytes()).expect("the container is a command");
                    assert!(container.is(flag::CONTAINER), "{}", container.name);
                    find_subcommand(container, name.to_uppercase().as_bytes())
                }
            };
            assert_eq!(found.map(|(id, found)| (id.index(), found.name)), Some((place, command.name)));
        }
        for name in [&b""[..], b"GE", b"GETT", b"\x07et", b"hset", b"client |list"] {
            assert!(find(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn every_command_is_fully_described() {
        for command in COMMANDS {
            assert!(command.arity != 0 && !command.summary.is_empty() && !command.since.is_empty(), "{}", command.name);
            assert!(!command.is(flag::READ | flag::WRITE), "{}", command.name);
            assert!(command.keys[1].is_none() || command.keys[0].is_some(), "{}", command.name);
            let writes = command.keys.iter().flatten().any(|spec| !spec.usage.starts_with("RO"));
            assert!(!writes || command.is(flag::WRITE), "{} writes keys", command.name);
        }
    }

    #[test]
    fn the_documentation_lists_every_command_and_no_other() {
        let text = include_str!("../../../../docs/resp.md");
        let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("| `") && line.ends_with(" |")).collect();
        let (_, commands) = text.split_once("## Commands").expect("a list");
        let (commands, _) = commands.split_once("\n## ").expect("its end");
        let lines = commands.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(lines, COMMANDS.len());
        for command in COMMANDS {
            let name = command.name.replace('|', " ").to_uppercase();
            let line = format!("| `{name}` | {} |", command.summary.trim_end_matches('.'));
            assert!(listed.contains(&line.as_str()), "docs/resp.md lacks: {line}");
        }
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
            let (_, command) = find(request.get(0).unwrap()).unwrap();
            let keys: Vec<_> = command.keys_of(request).map(String::from_utf8_lossy).collect();
            assert_eq!((keys.join(" ").as_str(), keys.len()), (expected, command.key_count(&request)));
        }
    }
}
