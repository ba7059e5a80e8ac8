//! `--threads`: how many loops serve.

use std::fmt;
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use crate::net::mio::MioNet;

/// The most loops: beyond the cores of large machines, more only cost memory.
const MOST: usize = 512;

/// The number of loops, each on its own thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Threads(usize);

impl Threads {
    /// Parses a number, or `auto` for one per processor that this process may use.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let count = match text {
            "auto" => available_parallelism().map_or(1, NonZero::get).min(MOST),
            number => number.parse().map_err(|_| "a number or 'auto'".to_owned())?,
        };
        if (1..=MOST).contains(&count) { Ok(Self(count)) } else { Err(format!("must be from 1 to {MOST}")) }
    }

    pub(super) fn count(self) -> usize {
        self.0
    }

    /// A poller for the first loop, and one for each further loop.
    pub(super) fn pollers(self) -> io::Result<(MioNet, Vec<MioNet>)> {
        let others: io::Result<_> = (1..self.0).map(|_| MioNet::new()).collect();
        Ok((MioNet::new()?, others?))
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_is_bounded_and_auto_is_at_least_one() {
        assert_eq!(Threads::parse("3"), Ok(Threads(3)));
        assert!(Threads::parse("auto").is_ok_and(|threads| threads.count() >= 1));
        for bad in ["0", "-1", "513", "many", ""] {
            assert!(Threads::parse(bad).is_err(), "{bad}");
        }
    }
}
