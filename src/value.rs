//! One typed value: an XML-RPC parameter, or a value in the store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// A value of one of the types that XML-RPC knows (xmlrpc.com/spec, with the `i8` and `nil` extensions).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// `<nil/>`.
    Nil,
    /// `<int>` or `<i4>`: 32 bits.
    Int(i32),
    /// `<i8>`: 64 bits.
    I8(i64),
    /// `<boolean>`.
    Boolean(bool),
    /// `<double>`.
    Double(f64),
    /// `<string>`, or text with no type element.
    String(String),
    /// `<base64>`, decoded.
    Base64(Vec<u8>),
    /// `<dateTime.iso8601>`, its text unchanged: the specification gives it no time zone.
    DateTime(String),
    /// `<array>`.
    Array(Vec<Value>),
    /// `<struct>`, members in the order they arrived; if a name is repeated, the last one counts.
    Struct(Vec<(String, Value)>),
}

/// A value as JSON. A type that JSON lacks (nan, inf, dates, bytes) becomes a string.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Nil => serializer.serialize_unit(),
            Value::Int(number) => serializer.serialize_i32(*number),
            Value::I8(number) => serializer.serialize_i64(*number),
            Value::Boolean(flag) => serializer.serialize_bool(*flag),
            Value::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Double(number) => serializer.serialize_str(&double_text(*number)),
            Value::String(text) | Value::DateTime(text) => serializer.serialize_str(text),
            Value::Base64(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Json)),
            Value::Struct(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, member) in members {
                    map.serialize_entry(name, &Json(member))?;
                }
                map.end()
            }
        }
    }
}

impl From<serde_json::Value> for Value {
    /// A whole number becomes `<int>` if 32 bits hold it, `<i8>` if 64 do, else `<double>`.
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as J;
        match json {
            J::Null => Self::Nil,
            J::Bool(flag) => Self::Boolean(flag),
            J::Number(number) => match number.as_i64() {
                Some(whole) => i32::try_from(whole).map_or(Self::I8(whole), Self::Int),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            J::String(text) => Self::String(text),
            J::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            J::Object(members) => {
                Self::Struct(members.into_iter().map(|(name, member)| (name, Self::from(member))).collect())
            }
        }
    }
}

/// The shortest text that reads back as the same number; JSON's form where JSON has the number.
#[must_use]
pub fn double_text(number: f64) -> String {
    if number.is_nan() { "nan".to_owned() } else { format!("{number:?}") }
}

/// Whether XML 1.0 can carry `text` (section 2.2): it has no form for most control characters, escaped or not.
#[must_use]
pub fn is_xml_text(text: &str) -> bool {
    // A fold that never stops early becomes vector instructions; nearly all text is legal, so stopping gains nothing.
    let control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    let controls = text.bytes().fold(false, |found, byte| found | control(byte));
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF. A search for them stops at each byte equal to their last one, which
    // can be half the bytes of a text.
    let bytes = text.as_bytes();
    let (second, third) = (bytes.get(1..).unwrap_or_default(), bytes.get(2..).unwrap_or_default());
    let noncharacters = bytes.iter().zip(second).zip(third).fold(0, |found, ((first, second), third)| {
        found | (u8::from(*first == 0xEF) & u8::from(*second == 0xBF) & u8::from(*third >= 0xBE))
    });
    !controls && noncharacters == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_the_narrowest_type_that_holds_it() {
        let value = |text: &str| Value::from(serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
        assert_eq!(value("2147483647"), Value::Int(i32::MAX));
        assert_eq!(value("2147483648"), Value::I8(2_147_483_648));
        assert_eq!(value("18446744073709551615"), Value::Double(18_446_744_073_709_551_615.0));
        assert_eq!(value("[1.5, null]"), Value::Array(vec![Value::Double(1.5), Value::Nil]));
        let back = serde_json::to_string(&Json(&value(r#"{"a":[true,"x"]}"#))).expect("JSON");
        assert_eq!(back, r#"{"a":[true,"x"]}"#);
    }

    #[test]
    fn xml_text_has_white_space_but_no_other_controls() {
        assert!(is_xml_text("a\tb\r\n\u{20ac}\u{10ffff}"));
        // The bytes of the two noncharacters, in other places.
        assert!(is_xml_text("\u{fffd}\u{43e}\u{43f}\u{1ffff}\u{ffbd}") && is_xml_text("") && is_xml_text("\u{fffd}"));
        for bad in ["\0", "\u{1f}", "\u{fffe}", "x\u{ffff}", "\u{fffd}\u{fffe}x", "\u{ffff}"] {
            assert!(!is_xml_text(bad), "{bad:?}");
        }
    }
}
