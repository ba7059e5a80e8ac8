//! Integers as Redis reads and writes them.

/// Parses a decimal 64-bit integer in its canonical form.
///
/// As in Redis, a `+` sign, `-0`, leading zeros and spaces are invalid, so a text that parses is equal to the text of
/// its number.
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    // Counted downwards, because the most negative number has no positive counterpart.
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// The decimal text of an integer, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    text: [u8; 20],
    start: usize,
}

impl Digits {
    /// Formats `value`.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "20 places hold any 64-bit integer")]
    pub fn new(value: i64) -> Self {
        let mut digits = Self { text: [0; 20], start: 20 };
        let mut rest = value.unsigned_abs();
        loop {
            digits.start -= 1;
            digits.text[digits.start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            digits.start -= 1;
            digits.text[digits.start] = b'-';
        }
        digits
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_parses() {
        for text in ["", "-", "+1", "01", "-0", "00", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "1\0"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_integer(b"-9223372036854775809"), None);
        assert_eq!(parse_integer(b"99999999999999999999999999"), None);
    }

    #[test]
    fn smallest_and_largest_integers_are_formatted_and_parsed() {
        for value in [0, 1, -1, 9, 10, 99, 100, i64::MAX, i64::MIN] {
            let digits = Digits::new(value);
            assert_eq!(digits.as_bytes(), value.to_string().as_bytes());
            assert_eq!(parse_integer(digits.as_bytes()), Some(value));
        }
    }

    proptest! {
        #[test]
        fn any_integer_survives_a_round_trip(value: i64) {
            let (digits, text) = (Digits::new(value), value.to_string());
            prop_assert_eq!(digits.as_bytes(), text.as_bytes());
            prop_assert_eq!(parse_integer(digits.as_bytes()), Some(value));
        }
    }
}
