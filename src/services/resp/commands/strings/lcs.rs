//! `LCS`: the longest common subsequence of two strings.

use crate::protocol::resp::{Encoder, parse_integer};
use crate::services::resp::call::{Call, CommandError};
use crate::store::plain_bytes;

#[derive(Default)]
struct Options {
    length: bool,
    ranges: bool,
    with_lengths: bool,
    shortest: i64,
}

impl Options {
    fn parse(call: &Call<'_, '_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut arguments = call.request.from(3);
        while let Some(option) = arguments.next() {
            if option.eq_ignore_ascii_case(b"IDX") {
                options.ranges = true;
            } else if option.eq_ignore_ascii_case(b"LEN") {
                options.length = true;
            } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.with_lengths = true;
            } else if option.eq_ignore_ascii_case(b"MINMATCHLEN") {
                let shortest = arguments.next().ok_or(CommandError::SYNTAX)?;
                options.shortest = parse_integer(shortest).ok_or(CommandError::NOT_AN_INTEGER)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if options.length && options.ranges {
            return Err(CommandError::new("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

pub(crate) fn lcs(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now();
    let options = Options::parse(call)?;
    let most = call.core.options.lcs_cells;
    let too_long = || {
        CommandError::from(format!(
            "ERR the strings are too long for LCS: the product of their lengths may be at most {most}"
        ))
    };
    let mut read = |index: usize| {
        let key = call.request.get(index).unwrap_or_default();
        match call.store.get(key, now) {
            // Not copied: the other string would have to be empty.
            Some(entry) if entry.data.len() > most => Err(too_long()),
            entry => Ok(entry.map(|entry| plain_bytes(&entry).into_owned()).unwrap_or_default()),
        }
    };
    let (one, two) = (read(1)?, read(2)?);
    if one.len().saturating_mul(two.len()) > most {
        return Err(too_long());
    }
    let matches = Matches::find(&one, &two);
    let mut reply = call.reply();
    if options.ranges {
        matches.write_ranges(&mut reply, &options);
    } else if options.length {
        reply.count(matches.common.len());
    } else {
        reply.bulk(&matches.common);
    }
    Ok(())
}

/// The common subsequence and the runs it consists of, the last one first.
#[derive(Default)]
struct Matches {
    common: Vec<u8>,
    runs: Vec<Run>,
}

/// Where a run starts in either string, and its length.
struct Run {
    one: usize,
    two: usize,
    length: usize,
}

impl Matches {
    fn find(one: &[u8], two: &[u8]) -> Self {
        let table = Table::fill(one, two);
        let (mut matches, mut current) = (Self::default(), None::<Run>);
        let (mut i, mut j) = (one.len(), two.len());
        while let (Some(row), Some(column)) = (i.checked_sub(1), j.checked_sub(1)) {
            let byte = one.get(row);
            if byte == two.get(column) {
                matches.common.extend(byte);
                (i, j) = (row, column);
                let length = current.as_ref().map_or(0, |run| run.length) + 1;
                current = Some(Run { one: i, two: j, length });
            } else {
                matches.runs.extend(current.take());
                // Of two equally good ways back Redis takes the one that shortens the second string.
                if table.get(row, j) > table.get(i, column) {
                    i = row;
                } else {
                    j = column;
                }
            }
        }
        matches.runs.extend(current);
        matches.common.reverse();
        matches
    }

    fn write_ranges(&self, reply: &mut Encoder<'_>, options: &Options) {
        let long_enough = |run: &&Run| i64::try_from(run.length).is_ok_and(|length| length >= options.shortest);
        reply.map(2);
        reply.bulk(b"matches");
        reply.array(self.runs.iter().filter(long_enough).count());
        for run in self.runs.iter().filter(long_enough) {
            reply.array(if options.with_lengths { 3 } else { 2 });
            for start in [run.one, run.two] {
                reply.array(2);
                reply.count(start);
                reply.count(start + run.length - 1);
            }
            if options.with_lengths {
                reply.count(run.length);
            }
        }
        reply.bulk(b"len");
        reply.count(self.common.len());
    }
}

/// The length of the longest common subsequence of every pair of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn fill(one: &[u8], two: &[u8]) -> Self {
        let width = two.len() + 1;
        let mut cells = vec![0_u32; width];
        cells.reserve(one.len() * width);
        for byte in one {
            let above = cells.len() - width;
            cells.push(0);
            for (column, other) in two.iter().enumerate() {
                let at = |index: usize| cells.get(index).copied().unwrap_or_default();
                let cell = if byte == other {
                    at(above + column) + 1
                } else {
                    at(above + column + 1).max(at(above + width + column))
                };
                cells.push(cell);
            }
        }
        Self { cells, width }
    }

    fn get(&self, one: usize, two: usize) -> u32 {
        self.cells.get(one * self.width + two).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_subsequence_is_found() {
        for (one, two, expected) in [
            ("ohmytext", "mynewtext", "mytext"),
            ("", "abc", ""),
            ("abc", "", ""),
            ("abc", "xyz", ""),
            ("same", "same", "same"),
            ("ab", "ba", "b"),
        ] {
            let found = Matches::find(one.as_bytes(), two.as_bytes());
            assert_eq!(found.common.len(), expected.len(), "{one} {two}");
            assert_eq!(found.runs.iter().map(|run| run.length).sum::<usize>(), expected.len());
        }
    }
}
