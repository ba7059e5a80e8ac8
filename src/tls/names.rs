//! Distinguished names (X.501): as text, and in a form in which equal names have equal bytes.

use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Name};

/// The tag numbers of the ASN.1 string types in names that are read as UTF-8.
const UTF8: [u32; 5] = [12, 18, 19, 22, 26];
const GENERAL: [u32; 2] = [25, 27];
const UTF8_STRING: u32 = 12;
const TELETEX: u32 = 20;
/// PrintableString, TeletexString, IA5String and VisibleString.
const LATIN: [u32; 4] = [19, TELETEX, 22, 26];
const UNIVERSAL: u32 = 28;
const BMP: u32 = 30;

/// An attribute's value as text; `None` if it is not a string, or invalid for its type.
///
/// A TeletexString is read as ISO 8859-1: issuers write it so, and OpenSSL reads it so.
fn text(tag: u32, bytes: &[u8]) -> Option<String> {
    if UTF8.contains(&tag) || GENERAL.contains(&tag) {
        return std::str::from_utf8(bytes).ok().map(str::to_owned);
    }
    match tag {
        TELETEX => Some(bytes.iter().copied().map(char::from).collect()),
        UNIVERSAL => {
            let (units, rest) = bytes.as_chunks::<4>();
            let text = units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect();
            rest.is_empty().then_some(text)?
        }
        BMP => {
            let (units, rest) = bytes.as_chunks::<2>();
            let text = char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))).collect::<Result<_, _>>();
            rest.is_empty().then(|| text.ok())?
        }
        _ => None,
    }
}

/// The first common name. One with a NUL is left out: a comparison of C strings would see another name.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let value = name.iter_common_name().next()?.attr_value();
    text(value.tag().0, value.data).filter(|name| !name.contains('\0'))
}

/// The whole name, for messages.
pub(super) fn shown(name: &X509Name<'_>) -> String {
    let attributes = name.iter_rdn().map(|relative| {
        let attributes = relative.iter().map(|attribute| {
            let kind = oid2abbrev(attribute.attr_type(), oid_registry())
                .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
            let value = attribute.attr_value();
            let value = text(value.tag().0, value.data).unwrap_or_else(|| super::hex(value.data));
            format!("{kind}={value}")
        });
        attributes.collect::<Vec<_>>().join(" + ")
    });
    let text = attributes.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "(no name)".to_owned() } else { printable(&text) }
}

/// The text of an attribute's value as OpenSSL compares it (`asn1_string_canon`), for the types it normalises; types
/// with one octet a character are ISO 8859-1. `None` for types that are compared byte by byte.
pub(super) fn compared_text(tag: u32, bytes: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING | UNIVERSAL | BMP => text(tag, bytes),
        _ if LATIN.contains(&tag) => Some(bytes.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

/// A name in comparable form (RFC 5280, 7.1; OpenSSL's `X509_NAME_cmp`): the string types of attributes, the case of
/// ASCII letters and the amount of white space do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparable(Vec<Vec<(Vec<u8>, Value)>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Other(u32, Vec<u8>),
}

impl Comparable {
    /// Parses a name in DER; `None` if it is malformed.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, name) = X509Name::from_der(der).ok()?;
        rest.is_empty().then(|| Self::of(&name))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it begins with all relative names of `base`.
    pub(super) fn starts_with(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }

    pub(super) fn of(name: &X509Name<'_>) -> Self {
        let relative = name.iter_rdn().map(|relative| {
            let attributes = relative.iter().map(|attribute| {
                let value = attribute.attr_value();
                let value = match compared_text(value.tag().0, value.data) {
                    Some(text) => {
                        let words = text.split([' ', '\t', '\n', '\x0b', '\x0c', '\r']).filter(|word| !word.is_empty());
                        Value::Text(words.collect::<Vec<_>>().join(" ").to_ascii_lowercase())
                    }
                    None => Value::Other(value.tag().0, value.data.to_vec()),
                };
                (attribute.attr_type().as_bytes().to_vec(), value)
            });
            let mut attributes: Vec<_> = attributes.collect();
            // A SET is ordered by its encoding, which depends on the string type.
            attributes.sort();
            attributes
        });
        Self(relative.collect())
    }
}

/// Text from a peer, escaped for a terminal or a log.
pub(crate) fn printable(text: &str) -> String {
    crate::text::printable(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name with one common name, whose value has this tag.
    fn name(tag: u8, value: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).expect("short")], inner].concat();
        wrap(0x30, &wrap(0x31, &wrap(0x30, &[&[6, 3, 0x55, 4, 3][..], &wrap(tag, value)].concat())))
    }

    fn read(der: &[u8]) -> (Option<String>, String) {
        let (_, name) = X509Name::from_der(der).expect("a name");
        (common_name(&name), shown(&name))
    }

    #[test]
    fn a_common_name_is_equal_in_every_string_type() {
        let wide: Vec<u8> = "Zoë A".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        let bmp: Vec<u8> = "Zoë A".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf8 = name(12, "Zoë A".as_bytes());
        for der in [utf8.clone(), name(20, b"Zo\xeb A"), name(28, &wide), name(30, &bmp)] {
            assert_eq!(read(&der), (Some("Zoë A".to_owned()), "CN=Zoë A".to_owned()), "{der:?}");
            assert_eq!(Comparable::from_der(&der), Comparable::from_der(&utf8), "{der:?}");
        }
        assert_eq!(Comparable::from_der(&name(12, " zoë  a ".as_bytes())), Comparable::from_der(&utf8));
        assert_ne!(Comparable::from_der(&name(12, "zoëa".as_bytes())), Comparable::from_der(&utf8));
        for other in [4, 18, 25, 27] {
            assert_ne!(Comparable::from_der(&name(other, b"a")), Comparable::from_der(&name(12, b"a")), "type {other}");
        }
        assert_eq!(Comparable::from_der(&name(19, b"\xeb\x0bA")), Comparable::from_der(&name(12, "ë a".as_bytes())));
        assert_ne!(Comparable::from_der(&name(12, "a\u{a0}b".as_bytes())), Comparable::from_der(&name(12, b"a b")));
        let both = |first: &[u8], second: &[u8]| {
            let [first, second] = [first, second].map(|der| X509Name::from_der(der).expect("a name").1);
            Comparable::of(&first).starts_with(&Comparable::of(&second))
        };
        assert!(both(&utf8, &[0x30, 0]) && both(&utf8, &utf8) && !both(&[0x30, 0], &utf8));
    }

    #[test]
    fn invalid_text_and_nul_are_no_common_name() {
        for der in
            [name(12, b"\xff"), name(30, b"abc"), name(30, &[0xd8, 0]), name(28, &[0, 0x11, 0, 0]), name(4, b"a")]
        {
            assert_eq!(read(&der).0, None, "{der:?}");
            assert!(read(&der).1.starts_with("CN="), "{der:?}");
        }
        assert_eq!(read(&name(12, b"admin\0.example")), (None, "CN=admin\\u{0}.example".to_owned()));
        assert_eq!(read(&name(30, &[0, b'a', 0, 0])).0, None);
    }
}
