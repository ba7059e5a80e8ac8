//! Arguments that commands of several families parse alike.

use super::error::CommandError;
use crate::protocol::resp::parse_integer;
use crate::services::resp::description::Command;
use crate::store::Glob;
use crate::timer::Now;

/// The longest pattern. Reading one takes time and memory in proportion, and many kilobytes of it.
const PATTERN_BYTES: usize = 256;

/// Reads a pattern of `KEYS`, `SCAN`, `CONFIG GET` or `COMMAND LIST`.
pub(crate) fn glob(pattern: &[u8]) -> Result<Glob, CommandError> {
    if pattern.len() > PATTERN_BYTES {
        return Err(CommandError::from(format!("ERR the pattern is longer than {PATTERN_BYTES} bytes")));
    }
    Ok(Glob::new(pattern))
}

/// Text of an argument for an error reply, shortened as Redis does.
pub(crate) fn quoted(argument: &[u8], longest: usize) -> &[u8] {
    let shortened = argument.get(..longest).unwrap_or(argument);
    shortened.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// There is one database, 0.
pub(crate) fn check_database(index: &[u8]) -> Result<(), CommandError> {
    match parse_integer(index).map(i32::try_from) {
        None => Err(CommandError::NOT_AN_INTEGER),
        Some(Ok(0)) => Ok(()),
        Some(Ok(_)) => Err(CommandError::new("ERR DB index is out of range")),
        Some(Err(_)) => {
            Err(CommandError::new("ERR value is out of range, value must between -2147483648 and 2147483647"))
        }
    }
}

/// How an argument gives a time: in seconds or milliseconds, from now or since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since the epoch.
    ExAt,
    /// Milliseconds since the epoch.
    PxAt,
}

impl Deadline {
    /// The option of `SET` and `GETEX` of that name.
    pub(crate) fn named(option: &[u8]) -> Option<Self> {
        [(&b"EX"[..], Self::Ex), (b"PX", Self::Px), (b"EXAT", Self::ExAt), (b"PXAT", Self::PxAt)]
            .into_iter()
            .find_map(|(name, deadline)| option.eq_ignore_ascii_case(name).then_some(deadline))
    }

    /// Milliseconds since the epoch, if they can be counted. Before 1970 they are negative.
    pub(crate) fn resolve(self, time: i64, now_ms: u64) -> Option<i64> {
        let milliseconds = match self {
            Self::Ex | Self::ExAt => time.checked_mul(1000)?,
            Self::Px | Self::PxAt => time,
        };
        match self {
            Self::Ex | Self::Px => milliseconds.checked_add(i64::try_from(now_ms).ok()?),
            Self::ExAt | Self::PxAt => Some(milliseconds),
        }
    }
}

/// The time, in milliseconds since the epoch, that an option of `SET` or `GETEX` asks for. It must be positive as
/// given, though it may have passed.
pub(crate) fn deadline(command: &Command, now: Now, unit: Deadline, text: &[u8]) -> Result<u64, CommandError> {
    let time = parse_integer(text).ok_or(CommandError::NOT_AN_INTEGER)?;
    let at = unit.resolve(time, now.unix_ms).filter(|_| time > 0);
    at.and_then(|at| u64::try_from(at).ok()).ok_or_else(|| CommandError::expire_time(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_cannot_be_counted_are_refused() {
        assert_eq!(Deadline::Ex.resolve(5, 100), Some(5100));
        assert_eq!(Deadline::Px.resolve(-5, 100), Some(95));
        assert_eq!(Deadline::ExAt.resolve(5, 100), Some(5000));
        assert_eq!(Deadline::PxAt.resolve(5, 100), Some(5));
        assert_eq!(Deadline::Ex.resolve(i64::MAX / 1000 + 1, 0), None);
        assert_eq!(Deadline::Px.resolve(i64::MAX, 1), None);
        assert_eq!(Deadline::PxAt.resolve(i64::MAX, 1), Some(i64::MAX));
    }
}
