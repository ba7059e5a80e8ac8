//! Patterns of KEYS and SCAN with Redis's syntax, matched in one pass over the key.

/// A glob pattern: `*`, `?`, `[abc]`, `[^a]`, `[a-z]` and `\x` for a literal `x`, over bytes.
///
/// The pattern becomes a set of states that advance together, one bit each, so matching costs the length of the key
/// times the number of 64-bit words of the pattern. Backtracking over stars would be quadratic or worse for hostile
/// patterns.
#[derive(Clone, Debug)]
pub struct Glob {
    /// Words of state: bit `i` means that the first `i` characters of the pattern are matched.
    words: usize,
    /// For each byte, the states that it advances: 256 rows of `words`.
    advance: Vec<u64>,
    /// The states that a star keeps alive.
    stars: Vec<u64>,
    /// Number of the last state, which is also the length of the shortest match.
    last: usize,
    /// The current states.
    alive: Vec<u64>,
}

/// One step of a pattern that is not a star.
enum Step {
    Any,
    Byte(u8),
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Step {
    fn accepts(&self, byte: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Byte(own) => *own == byte,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != *negated
            }
        }
    }
}

impl Glob {
    /// Parses a pattern; every pattern is valid.
    #[must_use]
    pub fn new(mut pattern: &[u8]) -> Self {
        let mut steps = Vec::new();
        let mut stars = Vec::new();
        while let Some((&first, rest)) = pattern.split_first() {
            let (step, rest) = match (first, rest) {
                (b'*', _) => {
                    stars.push(steps.len());
                    pattern = rest;
                    continue;
                }
                (b'?', _) => (Step::Any, rest),
                (b'[', _) => class(rest),
                (b'\\', [literal, rest @ ..]) => (Step::Byte(*literal), rest),
                (literal, _) => (Step::Byte(literal), rest),
            };
            steps.push(step);
            pattern = rest;
        }
        let words = steps.len() / 64 + 1;
        let mut glob = Self {
            words,
            advance: vec![0; 256 * words],
            stars: vec![0; words],
            last: steps.len(),
            alive: vec![0; words],
        };
        for state in stars {
            set_bit(&mut glob.stars, state);
        }
        glob.fill(&steps);
        glob
    }

    /// Records for each byte which steps accept it. Nearly all steps accept one byte or all bytes.
    fn fill(&mut self, steps: &[Step]) {
        let mut any = vec![0; self.words];
        for (state, step) in steps.iter().enumerate() {
            match step {
                Step::Any => set_bit(&mut any, state),
                Step::Byte(byte) => self.accept(*byte, state),
                Step::Class { .. } => {
                    (0..=u8::MAX).filter(|byte| step.accepts(*byte)).for_each(|byte| self.accept(byte, state));
                }
            }
        }
        for row in self.advance.chunks_exact_mut(self.words) {
            row.iter_mut().zip(&any).for_each(|(word, any)| *word |= any);
        }
    }

    fn accept(&mut self, byte: u8, state: usize) {
        let start = usize::from(byte) * self.words;
        if let Some(row) = self.advance.get_mut(start..start + self.words) {
            set_bit(row, state);
        }
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&mut self, text: &[u8]) -> bool {
        self.run(text).0
    }

    /// The result, and how many words of state were advanced.
    fn run(&mut self, text: &[u8]) -> (bool, usize) {
        if text.len() < self.last {
            return (false, 0);
        }
        self.alive.fill(0);
        set_bit(&mut self.alive, 0);
        let mut work = 0;
        for byte in text {
            let row = self.advance.chunks_exact(self.words).nth(usize::from(*byte)).unwrap_or_default();
            let (mut carry, mut any) = (0, 0);
            for ((alive, advance), star) in self.alive.iter_mut().zip(row).zip(&self.stars) {
                let moved = *alive & advance;
                *alive = (moved << 1) | carry | (*alive & star);
                carry = moved >> 63;
                any |= *alive;
            }
            work += self.words;
            if any == 0 {
                return (false, work);
            }
        }
        let matched = self.alive.get(self.last / 64).is_some_and(|word| word >> (self.last % 64) & 1 == 1);
        (matched, work)
    }
}

fn set_bit(words: &mut [u64], bit: usize) {
    if let Some(word) = words.get_mut(bit / 64) {
        *word |= 1 << (bit % 64);
    }
}

/// Parses a class after its `[`. An unclosed class ends with the pattern, as in Redis.
fn class(mut pattern: &[u8]) -> (Step, &[u8]) {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = pattern.get(1..).unwrap_or_default();
    }
    let mut ranges = Vec::new();
    loop {
        match pattern {
            [b'\\', literal, rest @ ..] => {
                ranges.push((*literal, *literal));
                pattern = rest;
            }
            [b']', rest @ ..] => return (Step::Class { negated, ranges }, rest),
            [start, b'-', end, rest @ ..] => {
                ranges.push((*start.min(end), *start.max(end)));
                pattern = rest;
            }
            [literal, rest @ ..] => {
                ranges.push((*literal, *literal));
                pattern = rest;
            }
            [] => return (Step::Class { negated, ranges }, pattern),
        }
    }
}

/// A property of any pattern and text, for tests and the fuzz target: the result equals that of backtracking, in one
/// pass. Panics if it is violated.
#[allow(clippy::missing_panics_doc, reason = "a panic reports a violated property")]
#[cfg(any(test, fuzzing))]
pub fn property(pattern: &[u8], text: &[u8]) {
    let mut glob = Glob::new(pattern);
    let (matched, work) = glob.run(text);
    assert_eq!(matched, tried(pattern, text), "{:?} {:?}", pattern.escape_ascii(), text.escape_ascii());
    assert!(work <= text.len() * (pattern.len() / 64 + 1), "{work} words for {} bytes", text.len());
    assert_eq!(glob.matches(text), matched, "a glob remembers its last text");
}

/// The ends of `text` that the pattern can reach, by simple and slower matching.
#[cfg(any(test, fuzzing))]
fn tried(mut pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    while let Some((&first, rest)) = pattern.split_first() {
        let (step, rest) = match (first, rest) {
            (b'*', _) => {
                let start = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
                reached.iter_mut().skip(start).for_each(|end| *end = true);
                pattern = rest;
                continue;
            }
            (b'?', _) => (Step::Any, rest),
            (b'[', _) => class(rest),
            (b'\\', [literal, rest @ ..]) => (Step::Byte(*literal), rest),
            (literal, _) => (Step::Byte(literal), rest),
        };
        let moved = reached.iter().zip(text).map(|(reached, byte)| *reached && step.accepts(*byte));
        reached = [false].into_iter().chain(moved).collect();
        pattern = rest;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("**", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "hllo", true),
            ("h*llo", "heeeello!", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("[\\]]", "]", true),
            ("[]x", "x", false),
            ("[^]x", "yx", true),
            ("[abc", "b", true),
            ("[a-", "-", true),
            ("[a-]", "c", false),
            ("[a-]", "^", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a\\", "a\\", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes()).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_one_pass() {
        let text = [b'a'; 5000];
        for pattern in [&b"a*".repeat(40)[..], b"*a*a*a*a*a*a*a*a*a*a*a*a*b", &b"*a".repeat(60)] {
            let mut glob = Glob::new(pattern);
            let (_, work) = glob.run(&text);
            assert!(work <= text.len() * glob.words, "{work}");
        }
        assert!(!Glob::new(&[&b"*"[..], &b"a".repeat(2000), b"b"].concat()).matches(&text));
        assert!(Glob::new(&[&b"*"[..], &b"a".repeat(2000), b"*"].concat()).matches(&text));
    }

    proptest! {
        #[test]
        fn agrees_with_backtracking(pattern in "[ab*?\\[\\]^\\\\-]{0,90}", text in "[ab\\]^-]{0,100}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            property(pattern, text);
        }

        #[test]
        fn carries_between_words(text in "[ab]{0,300}", at in 0usize..300, from in 0usize..300) {
            let text = text.as_bytes();
            let (from, at) = (from.min(at).min(text.len()), at.min(text.len()));
            let pattern = [&text[..from], b"*", &text[at..]].concat();
            prop_assert!(Glob::new(&pattern).matches(text));
            let pattern = [&text[..from], b"*c", &text[at..]].concat();
            prop_assert!(!Glob::new(&pattern).matches(text));
        }
    }
}
