//! Commands found by name.

use super::command::Command;
use super::flags::Flag;
use crate::protocol::resp::Request;

/// A command together with the means to execute it, which this layer does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandEntry<H: 'static> {
    pub(crate) command: Command,
    pub(crate) run: H,
}

/// All commands that are served.
#[derive(Debug)]
pub(crate) struct CommandTable<H: 'static> {
    entries: &'static [CommandEntry<H>],
    /// Places in `entries`, open-addressed by the hash of the name.
    index: [u8; SLOTS],
}

/// A command's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommandId(u8);

impl CommandId {
    /// The place as an index, for counters.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a request names no command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unresolved {
    Command,
    /// The container has no such subcommand.
    Subcommand(&'static Command),
}

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// The entries of all families, one behind the other.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub(crate) const fn concat<H: Copy, const N: usize>(families: &[&[CommandEntry<H>]]) -> [CommandEntry<H>; N] {
    let mut all = [families[0][0]; N];
    let (mut family, mut count) = (0, 0);
    while family < families.len() {
        let mut row = 0;
        while row < families[family].len() {
            all[count] = families[family][row];
            (row, count) = (row + 1, count + 1);
        }
        family += 1;
    }
    assert!(count == N, "not so many commands");
    all
}

impl<H: 'static> CommandTable<H> {
    /// Indexes `entries` by their names, when the program is compiled.
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    pub(crate) const fn new(entries: &'static [CommandEntry<H>]) -> Self {
        assert!(entries.len() < EMPTY as usize && entries.len() * 2 < SLOTS);
        let mut index = [EMPTY; SLOTS];
        let mut place = 0;
        while place < entries.len() {
            let mut slot = hash(OFFSET, entries[place].command.name.as_bytes()) as usize % SLOTS;
            while index[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
            {
                index[slot] = place as u8;
            }
            place += 1;
        }
        Self { entries, index }
    }

    /// All commands, subcommands included; the place of each is its [`CommandId`].
    pub(crate) fn commands(&self) -> impl ExactSizeIterator<Item = &'static Command> + Clone + use<H> {
        self.entries.iter().map(|entry| &entry.command)
    }

    /// The subcommands of a container.
    pub(crate) fn subcommands(
        &self,
        container: &'static Command,
    ) -> impl Iterator<Item = &'static Command> + Clone + use<H> {
        self.commands().filter(|command| command.container() == Some(container.name))
    }

    /// Finds a command by its name, in any case.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(CommandId, &'static CommandEntry<H>)> {
        self.probe(hash(OFFSET, name), |command| command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Finds a subcommand by its own name, in any case.
    pub(crate) fn find_subcommand(
        &self,
        container: &Command,
        name: &[u8],
    ) -> Option<(CommandId, &'static CommandEntry<H>)> {
        let start = hash(hash(OFFSET, container.name.as_bytes()), b"|");
        self.probe(hash(start, name), |command| {
            let own = command.name.split_once('|').filter(|(parent, _)| *parent == container.name);
            own.is_some_and(|(_, own)| own.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    /// Finds the command, or the subcommand, that a request names.
    pub(crate) fn resolve(&self, request: &Request<'_>) -> Result<(CommandId, &'static CommandEntry<H>), Unresolved> {
        let name = request.get(0).unwrap_or_default();
        let (id, entry) = self.find(name).ok_or(Unresolved::Command)?;
        match request.get(1) {
            Some(name) if entry.command.is(Flag::Container) => {
                self.find_subcommand(&entry.command, name).ok_or(Unresolved::Subcommand(&entry.command))
            }
            _ => Ok((id, entry)),
        }
    }

    fn probe(&self, hash: u32, is_wanted: impl Fn(&Command) -> bool) -> Option<(CommandId, &'static CommandEntry<H>)> {
        let mut slot = hash as usize % SLOTS;
        loop {
            let place = *self.index.get(slot)?;
            // The index is never full, so the search for an absent name ends at an empty slot.
            let entry = self.entries.get(usize::from(place))?;
            if is_wanted(&entry.command) {
                return Some((CommandId(place), entry));
            }
            slot = (slot + 1) % SLOTS;
        }
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
