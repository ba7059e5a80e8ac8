//! One command.

use super::flags::{Flag, Flags};
use super::key_use::{KeyBegin, KeyPositions, KeySpan, KeyUse};
use crate::protocol::resp::Request;

/// One command, or one subcommand of a container. Everything that is known about it stands here: dispatch, authorization,
/// `COMMAND`, `HELP` and the documentation read the same description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// In lower case; a subcommand's name is `container|subcommand`.
    pub(crate) name: &'static str,
    /// The number of arguments, all names included; negative when it is the least number.
    pub(crate) arity: i8,
    pub(crate) flags: Flags,
    /// Which arguments are keys.
    pub(crate) keys: &'static [KeyUse],
    /// The family.
    pub(crate) group: Group,
    /// The version of Redis that has it first.
    pub(crate) since: &'static str,
    /// Its effect, in one sentence without a full stop.
    pub(crate) summary: &'static str,
}

/// Redis's name for a family of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    String,
    Generic,
    Connection,
    Server,
    Transactions,
}

impl Group {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
        }
    }
}

impl Command {
    pub(crate) const fn is(&self, flag: Flag) -> bool {
        self.flags.has(flag)
    }

    /// The name of the container that this is a subcommand of.
    pub(crate) fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// Whether the command may have `arguments` arguments, its names included.
    pub(crate) fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }

    /// The positions of the first and the last key (-1: the last argument), and the step between keys, as the first reply
    /// fields of `COMMAND` have them. All are zero if the command has no keys, or none at a fixed position.
    pub(crate) fn key_positions(&self) -> (i64, i64, i64) {
        let fixed = |key_use: &KeyUse| match (key_use.begin, key_use.span) {
            (KeyBegin::Argument(first), KeySpan::Range { last, step, .. }) => {
                let (first, last) = (i64::from(first), i64::from(last));
                Some((first, if last < 0 { last } else { first + last }, i64::from(step)))
            }
            _ => None,
        };
        let mut ranges = self.keys.iter().map_while(fixed);
        let Some((first, last, step)) = ranges.next() else { return (0, 0, 0) };
        (first, ranges.last().map_or(last, |(_, last, _)| last), step)
    }

    /// The keys in `request`, as far as it determines them.
    pub(crate) fn keys_of<'a>(&self, request: Request<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let groups = self.keys.iter();
        groups.filter_map(move |key_use| key_use.positions(&request)).flat_map(move |keys| keys.keys(request))
    }

    /// How many keys `request` has.
    pub(crate) fn key_count(&self, request: &Request<'_>) -> usize {
        self.keys.iter().filter_map(|key_use| key_use.positions(request)).map(KeyPositions::len).sum()
    }
}
