//! The text of a value to the value.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::ParseError;
use super::document::Scalar;
use crate::value::Value;

/// Some encoders leave the padding out, and it carries no information.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parses `text` as a value of type `scalar`.
///
/// White space is data in a string and is ignored around numbers and dates; a boolean is exactly `0` or `1`.
pub(super) fn parse(scalar: Scalar, text: Cow<'_, str>) -> Result<Value, ParseError> {
    let trimmed = text.trim_ascii();
    match scalar {
        Scalar::Nil if trimmed.is_empty() => Ok(Value::Nil),
        Scalar::Nil => Err(error("nil holds nothing, not", &text)),
        Scalar::Int => trimmed.parse().map(Value::Int).map_err(|_| integer(trimmed, "int", 32)),
        Scalar::I8 => trimmed.parse().map(Value::I8).map_err(|_| integer(trimmed, "i8", 64)),
        Scalar::Boolean => match &*text {
            "0" => Ok(Value::Boolean(false)),
            "1" => Ok(Value::Boolean(true)),
            _ => Err(ParseError::Scalar("bad boolean value".to_owned())),
        },
        // Rust parses everything that Python writes: exponents, `inf` and `nan` included.
        Scalar::Double => {
            trimmed.parse().map(Value::Double).map_err(|_| error("could not convert string to float:", trimmed))
        }
        Scalar::String => Ok(Value::String(text.into_owned())),
        Scalar::Base64 => base64(&text).map(Value::Base64),
        Scalar::DateTime if is_date_time(trimmed.as_bytes()) => Ok(Value::DateTime(trimmed.to_owned())),
        Scalar::DateTime => Err(error("not a dateTime.iso8601:", trimmed)),
    }
}

fn base64(text: &str) -> Result<Vec<u8>, ParseError> {
    let is_packed = !text.bytes().fold(false, |found, byte| found | byte.is_ascii_whitespace());
    let decoded = if is_packed {
        BASE64.decode(text)
    } else {
        let mut packed = text.as_bytes().to_vec();
        packed.retain(|byte| !byte.is_ascii_whitespace());
        BASE64.decode(packed)
    };
    decoded.map_err(|_| ParseError::Scalar("invalid base64".to_owned()))
}

fn integer(text: &str, name: &str, bits: u32) -> ParseError {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return ParseError::Scalar(format!("{name} exceeds {bits} bits"));
    }
    error("invalid literal for int() with base 10:", text)
}

fn error(what: &str, text: &str) -> ParseError {
    let shown: String = text.chars().take(64).collect();
    ParseError::Scalar(format!("{what} '{shown}'"))
}

/// Whether `text` has the shape of `19980717T14:08:55` or a variant: dates with hyphens, times without colons,
/// fractions, `Z` or an offset.
///
/// Only the shape is checked. The specification defines no time zone and no calendar, so the text itself is the value.
fn is_date_time(text: &[u8]) -> bool {
    let Some(separator) = text.iter().position(|byte| matches!(byte, b'T' | b't' | b' ')) else { return false };
    let (date, time) = text.split_at_checked(separator).unwrap_or_default();
    let time = time.get(1..).unwrap_or_default();
    let zone_start = time.iter().position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone_start).unwrap_or_default();
    let (clock, fraction) = match time.iter().position(|byte| matches!(byte, b'.' | b',')) {
        Some(point) => (time.get(..point), time.get(point + 1..)),
        None => (Some(time), None),
    };
    let is_fraction = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    (has_shape(date, b"dddddddd") || has_shape(date, b"dddd-dd-dd"))
        && clock.is_some_and(|clock| has_shape(clock, b"dd:dd:dd") || has_shape(clock, b"dddddd"))
        && fraction.is_none_or(is_fraction)
        && is_zone(zone)
}

fn is_zone(zone: &[u8]) -> bool {
    match zone.split_first() {
        None => true,
        Some((b'Z' | b'z', rest)) => rest.is_empty(),
        Some((_, offset)) => [&b"dd:dd"[..], b"dddd", b"dd"].into_iter().any(|shape| has_shape(offset, shape)),
    }
}

/// Whether `text` has digits where `shape` has `d`, and equal bytes elsewhere.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.iter().zip(shape).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scalar: Scalar, text: &str) -> Option<Value> {
        parse(scalar, Cow::Borrowed(text)).ok()
    }

    #[test]
    fn integers() {
        for (text, value) in [("0", 0), ("-7", -7), ("+7", 7), (" 7\n", 7), ("007", 7), ("-2147483648", i32::MIN)] {
            assert_eq!(read(Scalar::Int, text), Some(Value::Int(value)), "{text}");
        }
        assert_eq!(read(Scalar::I8, "9223372036854775807"), Some(Value::I8(i64::MAX)));
        for text in ["", "-", "1.0", "0x1", "1 2", "1_000", "x", "\u{661}"] {
            assert_eq!(read(Scalar::Int, text), None, "{text}");
        }
        let too_long = parse(Scalar::Int, Cow::Borrowed("2147483648"));
        assert_eq!(too_long, Err(ParseError::Scalar("int exceeds 32 bits".to_owned())));
    }

    #[test]
    fn booleans_are_strict() {
        assert_eq!(read(Scalar::Boolean, "1"), Some(Value::Boolean(true)));
        assert_eq!(read(Scalar::Boolean, "0"), Some(Value::Boolean(false)));
        for text in ["", "true", "2", "01", " 1"] {
            assert_eq!(read(Scalar::Boolean, text), None, "{text}");
        }
    }

    #[test]
    fn doubles_as_python_writes_them() {
        for (text, value) in [("1e+16", 1e16), ("-0.0", -0.0), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY)] {
            assert_eq!(read(Scalar::Double, text), Some(Value::Double(value)), "{text}");
        }
        assert!(matches!(read(Scalar::Double, "nan"), Some(Value::Double(number)) if number.is_nan()));
        assert_eq!(read(Scalar::Double, "1,5"), None);
        assert_eq!(read(Scalar::Double, ""), None);
    }

    #[test]
    fn base64_may_be_broken_into_lines() {
        assert_eq!(read(Scalar::Base64, "\nAAEC\r\n /w==\n"), Some(Value::Base64(vec![0, 1, 2, 255])));
        assert_eq!(read(Scalar::Base64, "/w"), Some(Value::Base64(vec![255])));
        assert_eq!(read(Scalar::Base64, ""), Some(Value::Base64(Vec::new())));
        for text in ["!", "A", "AA=A", "\u{e9}"] {
            assert_eq!(read(Scalar::Base64, text), None, "{text}");
        }
    }

    #[test]
    fn dates_keep_their_text() {
        for text in [
            "19980717T14:08:55",
            "1998-07-17T14:08:55",
            "19980717T140855",
            "19980717T14:08:55Z",
            "1998-07-17T14:08:55.123456+02:00",
            "19980717T14:08:55-0330",
            "00000000T00:00:00",
        ] {
            assert_eq!(read(Scalar::DateTime, text), Some(Value::DateTime(text.to_owned())), "{text}");
        }
        for text in
            ["", "T", "19980717", "14:08:55", "19980717T14:08", "19980717T14:08:55.", "19980717T14:08:55+1", "x"]
        {
            assert_eq!(read(Scalar::DateTime, text), None, "{text}");
        }
    }
}
