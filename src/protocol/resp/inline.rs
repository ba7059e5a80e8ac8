//! Inline commands: a line of words, as typed at a terminal.

/// Splits `line` into words by Redis's quoting rules, appending their bytes to `words` and calling `word` with the
/// position of each. Returns `None` if quotes are unbalanced.
///
/// Within double quotes `\xHH`, `\n`, `\r`, `\t`, `\b` and `\a` are escapes and any other character after a backslash
/// is itself; within single quotes only `\'` is an escape. A closing quote ends its word, so a space must follow. A NUL
/// ends the line, as in Redis, whose lines are C strings.
pub(super) fn split(line: &[u8], words: &mut Vec<u8>, mut word: impl FnMut(usize, usize)) -> Option<()> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut rest = line;
    loop {
        rest = trim(rest);
        if rest.is_empty() {
            return Some(());
        }
        let start = words.len();
        rest = take_word(rest, words)?;
        word(start, words.len());
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn trim(mut rest: &[u8]) -> &[u8] {
    while let [first, tail @ ..] = rest {
        if !is_space(*first) {
            break;
        }
        rest = tail;
    }
    rest
}

/// Appends one word and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(rest),
            [b'"', tail @ ..] => return after_quote(double_quoted(tail, words)?),
            [b'\'', tail @ ..] => return after_quote(single_quoted(tail, words)?),
            [byte, tail @ ..] => {
                words.push(*byte);
                rest = tail;
            }
        }
    }
}

fn after_quote(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&byte| is_space(byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        words.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        words.push(byte);
        rest = tail;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        split(line, &mut bytes, |start, end| spans.push(start..end))?;
        Some(spans.into_iter().map(|span| bytes[span].to_vec()).collect())
    }

    #[test]
    fn words_are_split_at_spaces() {
        assert_eq!(words(b"  set  k\tv\r").unwrap(), [b"set".to_vec(), b"k".to_vec(), b"v".to_vec()]);
        assert_eq!(words(b" \r").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words(b"ping\0ignored").unwrap(), [b"ping".to_vec()]);
    }

    #[test]
    fn quotes_and_escapes_follow_redis() {
        assert_eq!(words(br#""a b" 'c d'"#).unwrap(), [b"a b".to_vec(), b"c d".to_vec()]);
        assert_eq!(words(br#""\x41\n\q\"" '\'\n'"#).unwrap(), [b"A\nq\"".to_vec(), b"'\\n".to_vec()]);
        assert_eq!(words(br#""\xZZ""#).unwrap(), [b"xZZ".to_vec()]);
        assert_eq!(words(br#"ab"c d""#).unwrap(), [b"abc d".to_vec()]);
        assert_eq!(words(br#""""#).unwrap(), [b"".to_vec()]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [&br#""abc"#[..], b"'abc", br#""a"b"#, b"'a'b", br#""abc\""#, b"\"a\0b\""] {
            assert_eq!(words(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
