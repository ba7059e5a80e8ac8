//! Python's `repr` of a key: clients of the recipe's server match the text of its faults.

use std::fmt::Write;

/// Longer keys, in characters, are cut: a fault must not multiply the request's size.
const SHOWN_MAX: usize = 4096;

/// `repr(text)` of a `str`.
pub(super) fn repr_text(text: &str) -> String {
    let quote = quote(text.contains('\''), text.contains('"'));
    let mut shown = String::with_capacity(text.len().min(SHOWN_MAX) + 2);
    shown.push(quote);
    for c in text.chars().take(SHOWN_MAX) {
        push_text(&mut shown, c, quote);
    }
    close(shown, quote, text.chars().nth(SHOWN_MAX).is_some())
}

/// `repr(bytes)` of a `bytes`.
pub(super) fn repr_bytes(bytes: &[u8]) -> String {
    let quote = quote(bytes.contains(&b'\''), bytes.contains(&b'"'));
    let mut shown = String::with_capacity(bytes.len().min(SHOWN_MAX) + 3);
    shown.push('b');
    shown.push(quote);
    for byte in bytes.iter().take(SHOWN_MAX) {
        match byte {
            b' '..=b'~' => push_text(&mut shown, char::from(*byte), quote),
            b'\t' | b'\n' | b'\r' => shown.extend(byte.escape_ascii().map(char::from)),
            _ => push_number(&mut shown, 'x', 2, u32::from(*byte)),
        }
    }
    close(shown, quote, bytes.len() > SHOWN_MAX)
}

/// Single quotes, unless the text has them and no double ones.
fn quote(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

fn close(mut shown: String, quote: char, cut: bool) -> String {
    shown.push(quote);
    if cut {
        shown.push_str("...");
    }
    shown
}

fn push_text(shown: &mut String, c: char, quote: char) {
    match c {
        '\t' => shown.push_str("\\t"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        _ if c == quote || c == '\\' => shown.extend(['\\', c]),
        _ if is_printable(c) => shown.push(c),
        _ => match u32::from(c) {
            number @ ..0x100 => push_number(shown, 'x', 2, number),
            number @ 0x100..0x1_0000 => push_number(shown, 'u', 4, number),
            number => push_number(shown, 'U', 8, number),
        },
    }
}

fn push_number(shown: &mut String, letter: char, digits: usize, number: u32) {
    let written = write!(shown, "\\{letter}{number:0digits$x}");
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
}

/// `str.isprintable` of one character.
///
/// Rust's own escaping uses the same Unicode categories, but also escapes an initial combining mark, so a letter is put
/// before it.
fn is_printable(c: char) -> bool {
    let mut pair = [b'a'; 5];
    let (_, rest) = pair.split_at_mut(1);
    let length = c.encode_utf8(rest).len();
    let pair = pair.get(..=length).and_then(|pair| std::str::from_utf8(pair).ok()).unwrap_or_default();
    matches!(c, '"' | '\'') || pair.escape_debug().eq(pair.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each expected text was printed by Python 3.11.
    #[test]
    fn text_as_python_shows_it() {
        for (text, expected) in [
            ("zz", "'zz'"),
            ("", "''"),
            ("it's", "\"it's\""),
            ("say \"hi\"", "'say \"hi\"'"),
            ("it's \"", "'it\\'s \"'"),
            ("a\\b\n\r\t", "'a\\\\b\\n\\r\\t'"),
            ("\u{1}\u{7f}\u{85}\u{a0}\u{ad}", "'\\x01\\x7f\\x85\\xa0\\xad'"),
            ("\u{e9}\u{4e2d}\u{1f600}", "'\u{e9}\u{4e2d}\u{1f600}'"),
            ("\u{301}x", "'\u{301}x'"),
            ("\u{200b}\u{3000}\u{fdd0}", "'\\u200b\\u3000\\ufdd0'"),
            ("\u{e0001}", "'\\U000e0001'"),
        ] {
            assert_eq!(repr_text(text), expected);
        }
    }

    #[test]
    fn bytes_as_python_shows_them() {
        for (bytes, expected) in [
            (&b"zer\xf2\xff\x00"[..], "b'zer\\xf2\\xff\\x00'"),
            (b"", "b''"),
            (b"it's", "b\"it's\""),
            (b"'\"\\\n\t\r", "b'\\'\"\\\\\\n\\t\\r'"),
        ] {
            assert_eq!(repr_bytes(bytes), expected);
        }
    }

    #[test]
    fn long_keys_are_cut() {
        assert_eq!(repr_text(&"a".repeat(SHOWN_MAX + 1)), format!("'{}'...", "a".repeat(SHOWN_MAX)));
        assert_eq!(repr_text(&"a".repeat(SHOWN_MAX)).len(), SHOWN_MAX + 2);
        assert_eq!(repr_bytes(&vec![b'a'; SHOWN_MAX + 1]).len(), SHOWN_MAX + 6);
    }
}
