//! Text from others, escaped for terminals and logs.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every character escaped that does more than show itself: control characters, which move a cursor or end
/// a line, and characters that reorder or hide the text around them.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// As [`printable`], but for text of several lines: line ends and tabs stay.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && acts(c))
}

/// JSON with the same characters escaped in JSON's way. They can occur in strings only, where the escape means the
/// same.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn escaped(text: &str, acts: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character changes how other text is shown: controls (C0, DEL, C1), line separators, and Unicode's
/// Bidi_Control, with which one text can be displayed as another.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_escaped() {
        assert_eq!(printable("plain \u{e9}\u{4e2d}\u{1f600}"), "plain \u{e9}\u{4e2d}\u{1f600}");
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
        assert_eq!(printable("\x1b[2J\r\n\t\x07\x7f"), "\\u{1b}[2J\\r\\n\\t\\u{7}\\u{7f}");
        assert_eq!(printable("\u{9b}31m\u{202e}evil\u{2066}"), "\\u{9b}31m\\u{202e}evil\\u{2066}");
        assert_eq!(printable_lines("a\n\tb\x1b\r"), "a\n\tb\\u{1b}\\r");
        assert_eq!(printable_json("[\"\u{9b}\u{7f}\u{202e}\"]"), "[\"\\u009b\\u007f\\u202e\"]");
    }
}
