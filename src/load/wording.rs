//! Texts of errors that a server answers with: enough to know the reason, and no more than fits on a screen.

/// Different texts that are kept: a run rarely fails for more reasons, and texts that differ in each reply (the name of a
/// key, a number) must not fill the report.
const KEPT: usize = 5;

/// Characters of one that are kept: more than the first lines of any server's errors have.
const LONGEST: usize = 160;

/// The words of an error, as they may be shown: on one line, without what could move a terminal's cursor or turn the
/// direction of writing, and cut where they are long.
#[must_use]
pub fn words(bytes: &[u8]) -> String {
    // A character is four bytes at most: the bytes after these need not be decoded.
    let some = bytes.get(..4 * (LONGEST + 1)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(some);
    let mut shown: String = text.trim().chars().take(LONGEST).map(visible).collect();
    if text.trim().chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn visible(character: char) -> char {
    let turns =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    match character {
        '\r' | '\n' | '\t' => ' ',
        _ if character.is_control() || turns => '\u{fffd}',
        _ => character,
    }
}

/// The first few different texts in their order, and how often each came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wordings {
    kept: Vec<(String, u64)>,
}

impl Wordings {
    /// Counts `times` errors of this wording.
    pub fn add(&mut self, words: &str, times: u64) {
        if let Some((_, count)) = self.kept.iter_mut().find(|(kept, _)| kept == words) {
            *count += times;
        } else if self.kept.len() < KEPT {
            self.kept.push((words.to_owned(), times));
        }
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(words, times)| self.add(words, times));
    }

    /// The wordings with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.kept.iter().map(|(words, times)| (words.as_str(), *times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_do_nothing_to_a_terminal() {
        assert_eq!(words(b"ERR unknown command\r\n"), "ERR unknown command");
        assert_eq!(words(b"a\x1b[2Jb\x07\nc\xff"), "a\u{fffd}[2Jb\u{fffd} c\u{fffd}");
        assert_eq!(words("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        let long = "ä".repeat(10_000);
        assert_eq!(words(long.as_bytes()), format!("{}…", "ä".repeat(LONGEST)));
        assert_eq!(words("ä".repeat(LONGEST).as_bytes()), "ä".repeat(LONGEST));
        assert_eq!(words(b""), "");
    }

    #[test]
    fn the_first_few_wordings_are_kept_and_counted() {
        let mut wordings = Wordings::default();
        for number in 0..100 {
            wordings.add(&format!("error {number}"), 1);
            wordings.add("error 1", 1);
        }
        let found: Vec<_> = wordings.iter().collect();
        assert_eq!(found, [("error 0", 1), ("error 1", 101), ("error 2", 1), ("error 3", 1), ("error 4", 1)]);
        let mut other = Wordings::default();
        other.add("error 2", 4);
        other.add("another", 1);
        wordings.merge(&other);
        assert_eq!(wordings.iter().nth(2), Some(("error 2", 5)));
        assert_eq!(wordings.iter().count(), KEPT);
    }
}
