//! Arrays and structs as JSON, written while their stored bytes are decoded: building a value first would cost an
//! allocation for each of up to a million members.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor};

use crate::value::double_text;

/// Writes a [`Value`](crate::value::Value) in postcard's encoding as the JSON of [`Json`](crate::value::Json).
///
/// Recursion is as deep as the value is nested; the protocol that decoded it bounds that.
///
/// # Errors
///
/// The bytes are not such a value, or `output` fails.
pub(super) fn write(encoded: &[u8], output: &mut impl Write) -> Result<(), postcard::Error> {
    Json(output).deserialize(&mut postcard::Deserializer::from_bytes(encoded))
}

/// Counts the bytes written.
#[derive(Default)]
pub(super) struct Length(pub(super) usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes one value.
struct Json<'w, W>(&'w mut W);

/// The elements of an array.
struct Items<'w, W>(&'w mut W);

/// The members of a struct.
struct Members<'w, W>(&'w mut W);

/// A member: its name and its value.
struct Member<'w, W>(&'w mut W);

impl<'de, W: Write> DeserializeSeed<'de> for Json<'_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_enum("Value", &[], self)
    }
}

impl<'de, W: Write> Visitor<'de> for Json<'_, W> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let Self(output) = self;
        let (number, variant) = data.variant::<u32>()?;
        // Values are stored with the indexes of their types in the enum.
        match number {
            0 => {
                variant.unit_variant()?;
                output.write_all(b"null").map_err(A::Error::custom)
            }
            1 => encode(output, &variant.newtype_variant::<i32>()?),
            2 => encode(output, &variant.newtype_variant::<i64>()?),
            3 => {
                let text = if variant.newtype_variant::<bool>()? { "true" } else { "false" };
                output.write_all(text.as_bytes()).map_err(A::Error::custom)
            }
            4 => {
                let number = variant.newtype_variant::<f64>()?;
                if number.is_finite() { encode(output, &number) } else { encode(output, &double_text(number)) }
            }
            5 | 7 => encode(output, variant.newtype_variant::<&str>()?),
            6 => {
                let bytes = variant.newtype_variant::<&[u8]>()?;
                write!(output, "\"{}\"", Base64Display::new(bytes, &STANDARD)).map_err(A::Error::custom)
            }
            8 => variant.newtype_variant_seed(Items(output)),
            9 => variant.newtype_variant_seed(Members(output)),
            _ => Err(A::Error::custom("no such type")),
        }
    }
}

fn encode<E: Error>(output: &mut impl Write, value: &(impl serde::Serialize + ?Sized)) -> Result<(), E> {
    serde_json::to_writer(output, value).map_err(E::custom)
}

impl<'de, W: Write> DeserializeSeed<'de> for Items<'_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Items<'_, W> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(output) = self;
        each(output, [b"[", b"]"], items.size_hint(), |output| items.next_element_seed(Json(output)))
    }
}

impl<'de, W: Write> DeserializeSeed<'de> for Members<'_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Members<'_, W> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("members")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(output) = self;
        each(output, [b"{", b"}"], members.size_hint(), |output| members.next_element_seed(Member(output)))
    }
}

/// Writes `count` elements in brackets, separated by commas. In this encoding the number precedes them.
fn each<W: Write, E: Error>(
    output: &mut W,
    [open, close]: [&[u8]; 2],
    count: Option<usize>,
    mut write: impl FnMut(&mut W) -> Result<Option<()>, E>,
) -> Result<(), E> {
    output.write_all(open).map_err(E::custom)?;
    for index in 0..count.ok_or_else(|| E::custom("no length"))? {
        if index > 0 {
            output.write_all(b",").map_err(E::custom)?;
        }
        write(output)?.ok_or_else(|| E::custom("too few elements"))?;
    }
    output.write_all(close).map_err(E::custom)
}

impl<'de, W: Write> DeserializeSeed<'de> for Member<'_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de, W: Write> Visitor<'de> for Member<'_, W> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a member")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let Self(output) = self;
        let missing = || A::Error::custom("half a member");
        encode(output, parts.next_element::<&str>()?.ok_or_else(missing)?)?;
        output.write_all(b":").map_err(A::Error::custom)?;
        parts.next_element_seed(Json(output))?.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{self, Value};

    fn written(value: &Value) -> String {
        let (mut text, mut length) = (Vec::new(), Length::default());
        let encoded = postcard::to_stdvec(value).unwrap();
        write(&encoded, &mut text).unwrap();
        write(&encoded, &mut length).unwrap();
        assert_eq!(length.0, text.len());
        String::from_utf8(text).unwrap()
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::I8),
            any::<bool>().prop_map(Value::Boolean),
            any::<f64>().prop_map(Value::Double),
            ".*".prop_map(Value::String),
            any::<Vec<u8>>().prop_map(Value::Base64),
            "[0-9T:]*".prop_map(Value::DateTime),
        ];
        leaf.prop_recursive(4, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec((".*", inner), 0..8).prop_map(Value::Struct),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_json_equals_that_of_the_decoded_value(value in values()) {
            prop_assert_eq!(written(&value), serde_json::to_string(&value::Json(&value)).unwrap());
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
            let is_written = write(&bytes, &mut Vec::new()).is_ok();
            prop_assert_eq!(is_written, postcard::from_bytes::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        // An array of 2^32 values with none of them present.
        let mut output = Length::default();
        assert!(write(&[8, 0xff, 0xff, 0xff, 0xff, 0x0f], &mut output).is_err());
        assert!(output.0 < 10);
    }
}
