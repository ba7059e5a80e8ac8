//! Which arguments of a request are keys, and what a command does with them: the key specifications of Redis's `COMMAND`
//! reply (<https://redis.io/docs/latest/develop/reference/key-specs/>), as data.

use crate::protocol::resp::{Request, parse_integer};

/// A group of arguments that are keys. A command has none, one, or a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    /// Where the group begins.
    pub(crate) begin: KeyBegin,
    /// How far it reaches.
    pub(crate) span: KeySpan,
    /// The effect of the command on the keys.
    pub(crate) effect: KeyEffect,
    /// Further properties, a set of [`KeyFlag`]s.
    flags: u8,
}

/// Where a group of keys begins: `begin_search`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "commands of other servers have more kinds than those served here"))]
pub(crate) enum KeyBegin {
    /// At this argument; the command's name is argument 0.
    Argument(u16),
    /// Behind the first argument that is this word, looked for from argument `from` on; where `from` is negative, behind the
    /// last one, looked for backwards from that argument, -1 being the last. Without the word there are no keys.
    Keyword { word: Keyword, from: i16 },
    /// Not determined by the request.
    Unknown,
}

/// How far a group of keys reaches: `find_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "commands of other servers have more kinds than those served here"))]
pub(crate) enum KeySpan {
    /// From the beginning to argument `last`, which counts from the beginning, or, where it is negative, from the end of
    /// the request, -1 being its last argument. With a `limit` above 1 and a negative `last`, the group has only that part
    /// of the arguments behind its beginning: 2 for one half. Each `step`th argument is a key.
    Range { last: i16, step: u16, limit: u16 },
    /// An argument says how many keys there are. Both positions count from the beginning.
    Count { at: u16, first: u16, step: u16 },
    /// Not determined by the request.
    Unknown,
}

/// The effect of a command on its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyEffect {
    /// `RO`: it changes nothing.
    Read,
    /// `RW`: it changes a value, and what it makes of it may depend on what it was.
    ReadWrite,
    /// `OW`: it replaces the value.
    Overwrite,
    /// `RM`: it removes the key.
    Remove,
}

/// Further properties of a group of keys, as Redis words them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyFlag {
    /// The reply contains the values, or something derived from them.
    Access,
    /// New data is added without touching what is there.
    Insert,
    /// Data is changed.
    Update,
    /// Data is removed.
    Delete,
    /// The arguments are no keys, and only decide where a request is routed.
    NotKey,
    /// There are more keys than the group has.
    Incomplete,
    /// The effect depends on the options given.
    VariableFlags,
}

impl KeyFlag {
    /// In the order of Redis's replies.
    pub(crate) const ALL: [Self; 7] =
        [Self::Access, Self::Insert, Self::Update, Self::Delete, Self::NotKey, Self::Incomplete, Self::VariableFlags];
}

/// A word of up to 16 bytes that keys stand behind, in any case: `STREAMS`, `STORE`. Kept in place, so that a word that
/// another server names needs no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keyword([u8; 16]);

impl Keyword {
    /// `None` for a word that is empty, too long or not printable.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command served here has keys behind a word"))]
    pub(crate) fn new(word: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        bytes.get_mut(..word.len()).filter(|_| !word.is_empty())?.copy_from_slice(word);
        word.iter().all(u8::is_ascii_graphic).then_some(Self(bytes))
    }

    fn is(&self, argument: &[u8]) -> bool {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        self.0.get(..length).is_some_and(|word| word.eq_ignore_ascii_case(argument))
    }
}

/// The places of keys among the arguments of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPositions {
    first: usize,
    /// The first argument behind them.
    end: usize,
    step: usize,
}

impl KeyPositions {
    const NONE: Self = Self { first: 0, end: 0, step: 1 };

    pub(crate) fn len(self) -> usize {
        self.end.saturating_sub(self.first).div_ceil(self.step)
    }

    /// The keys themselves.
    pub(crate) fn keys(self, request: Request<'_>) -> impl Iterator<Item = &[u8]> {
        request.from(self.first).take(self.end.saturating_sub(self.first)).step_by(self.step)
    }
}

impl KeyUse {
    /// Argument `index` is a key.
    pub(crate) const fn at(index: u16, effect: KeyEffect, flags: &[KeyFlag]) -> Self {
        Self::new(KeyBegin::Argument(index), KeySpan::Range { last: 0, step: 1, limit: 0 }, effect, flags)
    }

    /// Each `step`th argument is a key, from the first to the last.
    pub(crate) const fn every(step: u16, effect: KeyEffect, flags: &[KeyFlag]) -> Self {
        Self::new(KeyBegin::Argument(1), KeySpan::Range { last: -1, step, limit: 0 }, effect, flags)
    }

    pub(crate) const fn new(begin: KeyBegin, span: KeySpan, effect: KeyEffect, flags: &[KeyFlag]) -> Self {
        let (mut set, mut rest) = (0, flags);
        while let [flag, tail @ ..] = rest {
            set |= 1 << *flag as u8;
            rest = tail;
        }
        Self { begin, span, effect, flags: set }
    }

    /// The arguments from the first to the `last`th behind it.
    pub(crate) const fn to(mut self, last: i16) -> Self {
        self.span = KeySpan::Range { last, step: 1, limit: 0 };
        self
    }

    pub(crate) const fn has(&self, flag: KeyFlag) -> bool {
        self.flags & (1 << flag as u8) != 0
    }

    /// Whether the command changes these keys.
    pub(crate) fn writes(&self) -> bool {
        self.effect != KeyEffect::Read
    }

    /// Whether the group may have as many keys as its request has arguments.
    pub(crate) fn is_open_ended(&self) -> bool {
        !matches!(self.span, KeySpan::Range { last: 0.., .. })
    }

    /// The places of the keys of this group in `request`; `None` if the request does not determine them. The name of a subcommand counts as an
    /// argument.
    pub(crate) fn positions(&self, request: &Request<'_>) -> Option<KeyPositions> {
        let begin = match self.begin {
            KeyBegin::Argument(index) => usize::from(index),
            KeyBegin::Keyword { word, from } => match find_word(request, word, from) {
                Some(found) => found + 1,
                None => return Some(KeyPositions::NONE),
            },
            KeyBegin::Unknown => return None,
        };
        let behind = request.len().saturating_sub(begin);
        let (first, end, step) = match self.span {
            KeySpan::Range { last: last @ 0.., step, .. } => {
                (begin, begin + usize::from(last.unsigned_abs()) + 1, step)
            }
            KeySpan::Range { last, step, limit } => {
                let part = behind / usize::from(limit.max(1));
                (begin, begin + (part + 1).saturating_sub(usize::from(last.unsigned_abs())), step)
            }
            KeySpan::Count { at, first, step } => {
                let count = parse_integer(request.get(begin + usize::from(at))?)?;
                let first = begin + usize::from(first);
                let arguments = usize::try_from(count).ok()?.checked_mul(usize::from(step.max(1)))?;
                let end = first.checked_add(arguments).filter(|&end| end <= request.len())?;
                (first, end, step)
            }
            KeySpan::Unknown => return None,
        };
        Some(KeyPositions { first, end: end.min(request.len()), step: usize::from(step).max(1) })
    }
}

/// The argument that is `word`, looked for as [`KeyBegin::Keyword`] says.
fn find_word(request: &Request<'_>, word: Keyword, from: i16) -> Option<usize> {
    let is_it = |index: &usize| request.get(*index).is_some_and(|argument| word.is(argument));
    let distance = usize::from(from.unsigned_abs());
    if from < 0 {
        (1..=request.len().checked_sub(distance)?).rev().find(is_it)
    } else {
        (distance..request.len()).find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::resp::{Arguments, Decoder, RequestLimits};

    fn keys(key_use: KeyUse, line: &str) -> Option<String> {
        let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
        let line = format!("{line}\r\n");
        let (request, _) = decoder.decode(line.as_bytes(), &RequestLimits::new(1000), &mut arguments).unwrap().unwrap();
        let positions = key_use.positions(&request)?;
        let keys: Vec<_> = positions.keys(request).map(String::from_utf8_lossy).collect();
        assert_eq!(keys.len(), positions.len(), "{line}");
        Some(keys.join(" "))
    }

    #[test]
    fn keys_stand_at_fixed_places() {
        let one = KeyUse::at(1, KeyEffect::Read, &[]);
        assert_eq!(keys(one, "get a"), Some("a".into()));
        assert_eq!(keys(one.to(1), "lcs a b len"), Some("a b".into()));
        assert_eq!(keys(KeyUse::at(2, KeyEffect::Read, &[]), "object encoding a"), Some("a".into()));
        let all = KeyUse::every(1, KeyEffect::Read, &[]);
        assert_eq!(keys(all, "mget a b c"), Some("a b c".into()));
        assert_eq!(keys(KeyUse::every(2, KeyEffect::Overwrite, &[]), "mset a 1 b 2"), Some("a b".into()));
        assert_eq!(keys(all.to(-2), "blpop a b 0"), Some("a b".into()), "the last argument is a time");
        assert_eq!(keys(all.to(-2), "blpop"), Some(String::new()));
    }

    #[test]
    fn an_argument_counts_the_keys() {
        let span = KeySpan::Count { at: 0, first: 1, step: 1 };
        let eval = KeyUse::new(KeyBegin::Argument(2), span, KeyEffect::ReadWrite, &[]);
        assert_eq!(keys(eval, "eval script 2 a b argument"), Some("a b".into()));
        assert_eq!(keys(eval, "eval script 0 argument"), Some(String::new()));
        for line in ["eval script 3 a b", "eval script -1 a", "eval script x a", "eval script 9223372036854775807 a"] {
            assert_eq!(keys(eval, line), None, "{line}");
        }
    }

    #[test]
    fn keys_stand_behind_a_word() {
        let streams = Keyword::new(b"STREAMS").unwrap();
        let span = KeySpan::Range { last: -1, step: 1, limit: 2 };
        let xread = KeyUse::new(KeyBegin::Keyword { word: streams, from: 1 }, span, KeyEffect::Read, &[]);
        assert_eq!(keys(xread, "xread count 2 streams a b 0 0"), Some("a b".into()));
        let begin = KeyBegin::Keyword { word: Keyword::new(b"store").unwrap(), from: 6 };
        let one = KeySpan::Range { last: 0, step: 1, limit: 0 };
        let store = KeyUse::new(begin, one, KeyEffect::Overwrite, &[]);
        assert_eq!(keys(store, "georadius a 1 2 3 km STORE b"), Some("b".into()));
        assert_eq!(keys(store, "georadius a 1 2 3 km"), Some(String::new()), "without the option there is no key");
        let begin = KeyBegin::Keyword { word: Keyword::new(b"KEYS").unwrap(), from: -2 };
        let migrate = KeyUse::new(begin, KeySpan::Range { last: -1, step: 1, limit: 0 }, KeyEffect::ReadWrite, &[]);
        assert_eq!(keys(migrate, "migrate host 6379 keys 0 5000 keys a b"), Some("a b".into()));
        assert_eq!([&b""[..], b"a word of seventeen", b"a b"].map(Keyword::new), [None; 3]);
    }

    #[test]
    fn keys_that_a_request_does_not_determine_are_unknown() {
        let one = KeySpan::Range { last: 0, step: 1, limit: 0 };
        assert_eq!(keys(KeyUse::new(KeyBegin::Unknown, one, KeyEffect::Overwrite, &[]), "sort a by b"), None);
        assert_eq!(keys(KeyUse::new(KeyBegin::Argument(1), KeySpan::Unknown, KeyEffect::Read, &[]), "sort a"), None);
    }
}
