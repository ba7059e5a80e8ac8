//! XML-RPC's types in the store, and how RESP sees them.

use std::borrow::Cow;

use super::entry::{Entry, Kind};
use super::json;
use crate::value::{Json, Value, double_text, is_xml_text};

/// The kind and the stored bytes of a value.
///
/// Recursion is as deep as arrays and structs are nested; the protocol that decoded them bounds that.
pub(super) fn encode(value: Value) -> (Kind, Vec<u8>) {
    match value {
        Value::Nil => (Kind::Nil, b"null".to_vec()),
        Value::Int(number) => (Kind::Int, number.to_string().into_bytes()),
        Value::I8(number) => (Kind::I8, number.to_string().into_bytes()),
        Value::Boolean(flag) => (Kind::Boolean, flag.to_string().into_bytes()),
        Value::Double(number) => (Kind::Double, double_text(number).into_bytes()),
        Value::String(string) => (Kind::String, string.into_bytes()),
        Value::Base64(bytes) => (Kind::Base64, bytes),
        Value::DateTime(date) => (Kind::DateTime, date.into_bytes()),
        Value::Array(_) => (Kind::Array, compound(&value)),
        Value::Struct(_) => (Kind::Struct, compound(&value)),
    }
}

/// Postcard fails only on sequences of unknown length, which a `Value` does not contain.
fn compound(value: &Value) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

/// The value XML-RPC sees. Bytes that do not parse as their kind, such as a string to which RESP has appended bytes
/// that XML cannot carry, are returned as they are.
pub(super) fn decode(entry: &Entry<'_>) -> Value {
    typed(entry).unwrap_or_else(|| Value::Base64(entry.data.to_vec()))
}

fn typed(entry: &Entry<'_>) -> Option<Value> {
    let text = || std::str::from_utf8(entry.data).ok();
    Some(match entry.kind {
        Kind::Bytes | Kind::String => Value::String(text().filter(|text| is_xml_text(text))?.to_owned()),
        Kind::Base64 => Value::Base64(entry.data.to_vec()),
        Kind::Int => Value::Int(text()?.parse().ok()?),
        Kind::I8 => Value::I8(text()?.parse().ok()?),
        Kind::Boolean => Value::Boolean(text()?.parse().ok()?),
        Kind::Double => Value::Double(text()?.parse().ok()?),
        Kind::Nil => Value::Nil,
        Kind::DateTime => Value::DateTime(text()?.to_owned()),
        Kind::Array | Kind::Struct => postcard::from_bytes(entry.data).ok()?,
    })
}

/// What RESP `GET` sees: plain bytes as they are, every other kind as JSON text, a dateTime as its own text.
#[must_use]
pub fn plain_bytes<'a>(entry: &Entry<'a>) -> Cow<'a, [u8]> {
    match entry.kind {
        // Of the numbers, only nan and inf do not end with a digit.
        Kind::Double if !entry.data.last().is_some_and(u8::is_ascii_digit) => {
            Cow::Owned([b"\"", entry.data, b"\""].concat())
        }
        Kind::Array | Kind::Struct => {
            // Numbers and names are longer as text.
            let mut text = Vec::with_capacity(entry.data.len().saturating_mul(2));
            match json::write(entry.data, &mut text) {
                Ok(()) => Cow::Owned(text),
                Err(_) => serde_json::to_vec(&Json(&decode(entry))).map_or(Cow::Borrowed(entry.data), Cow::Owned),
            }
        }
        _ => Cow::Borrowed(entry.data),
    }
}

/// The length of [`plain_bytes`], without building them.
#[must_use]
pub fn plain_length(entry: &Entry<'_>) -> usize {
    let mut length = json::Length::default();
    match entry.kind {
        Kind::Array | Kind::Struct if json::write(entry.data, &mut length).is_ok() => length.0,
        _ => plain_bytes(entry).len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) -> (Value, String) {
        let (kind, data) = encode(value.clone());
        let entry = Entry { kind, data: &data, expires_ms: None };
        let plain = plain_bytes(&entry);
        assert_eq!(plain_length(&entry), plain.len());
        (decode(&entry), String::from_utf8_lossy(&plain).into_owned())
    }

    #[test]
    fn every_type_round_trips_and_reads_as_json() {
        let inner = vec![
            ("n".to_owned(), Value::Nil),
            ("d".to_owned(), Value::DateTime("20260101T00:00:00".to_owned())),
            ("b".to_owned(), Value::Base64(vec![0, 255])),
            ("f".to_owned(), Value::Double(f64::NEG_INFINITY)),
            ("a".to_owned(), Value::Array(vec![Value::I8(i64::MIN), Value::Boolean(false), Value::Double(0.5)])),
        ];
        let json = r#"{"n":null,"d":"20260101T00:00:00","b":"AP8=","f":"-inf","a":[-9223372036854775808,false,0.5]}"#;
        for (value, text) in [
            (Value::Nil, "null"),
            (Value::Int(-7), "-7"),
            (Value::I8(i64::MAX), "9223372036854775807"),
            (Value::Boolean(true), "true"),
            (Value::Double(1.0), "1.0"),
            (Value::Double(-0.0), "-0.0"),
            (Value::Double(5e-324), "5e-324"),
            (Value::Double(f64::INFINITY), "\"inf\""),
            (Value::String("q\"uote é".to_owned()), "q\"uote é"),
            (Value::Base64(b"raw".to_vec()), "raw"),
            (Value::DateTime("19980717T14:08:55".to_owned()), "19980717T14:08:55"),
            (Value::Array(vec![]), "[]"),
            (Value::Struct(inner), json),
        ] {
            assert_eq!(round_trip(&value), (value, text.to_owned()));
        }
        let (nan, text) = round_trip(&Value::Double(f64::NAN));
        assert!(matches!(nan, Value::Double(number) if number.is_nan()));
        assert_eq!(text, "\"nan\"");
    }

    #[test]
    fn resp_bytes_are_a_string_only_where_xml_can_carry_them() {
        let seen = |data: &[u8]| decode(&Entry { kind: Kind::Bytes, data, expires_ms: None });
        for text in ["", "plain", "tab\tand\r\n", "\u{D7FF}\u{E000}\u{FFFD}\u{10FFFF}"] {
            assert_eq!(seen(text.as_bytes()), Value::String(text.to_owned()));
        }
        for bytes in [&b"\0"[..], b"\x1f", b"\xff", "\u{FFFE}".as_bytes(), "\u{FFFF}".as_bytes(), b"\xed\xa0\x80"] {
            assert_eq!(seen(bytes), Value::Base64(bytes.to_vec()));
        }
    }

    #[test]
    fn bytes_that_do_not_parse_as_their_kind_are_returned_unchanged() {
        for kind in Kind::ALL {
            let entry = Entry { kind, data: b"\xff\xfe", expires_ms: None };
            if kind != Kind::Nil {
                assert_eq!(decode(&entry), Value::Base64(vec![0xff, 0xfe]), "{kind:?}");
            }
            assert_eq!(Kind::from_byte(kind as u8), Some(kind));
        }
    }
}
