//! The bytes of a document to text (XML 1.0 section 4.3.3 and appendix F).

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::ParseError;
use crate::value::is_xml_text;

/// An XML declaration is this short, or its encoding is not worth knowing.
const DECLARATION_MAX: usize = 256;

/// Decodes a whole document and checks that XML can carry each of its characters.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest)?,
        [0xFE, 0xFF, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)?),
        [0xFF, 0xFE, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)?),
        _ => declared(bytes)?,
    };
    if is_xml_text(&text) {
        return Ok(text);
    }
    let illegal = text.char_indices().find(|(_, c)| !is_xml_text(c.encode_utf8(&mut [0; 4])));
    Err(character(text.get(..illegal.map_or(0, |(at, _)| at)).unwrap_or_default()))
}

/// Without a byte order mark the declaration decides, and without that it is UTF-8.
fn declared(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    let Some(name) = declared_encoding(bytes) else { return utf8(bytes) };
    match name.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => utf8(bytes),
        "us-ascii" | "ascii" => match bytes.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => Err(character(&String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()))),
            None => utf8(bytes),
        },
        "iso-8859-1" | "iso_8859-1" | "latin1" | "latin-1" => Ok(bytes.iter().copied().map(char::from).collect()),
        _ => Err(ParseError::Encoding(name)),
    }
}

fn declared_encoding(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"<?xml") {
        return None;
    }
    let start = bytes.get(..bytes.len().min(DECLARATION_MAX))?;
    let end = start.windows(2).position(|pair| pair == b"?>")? + 2;
    let mut reader = Reader::from_str(std::str::from_utf8(start.get(..end)?).ok()?);
    let Ok(Event::Decl(declaration)) = reader.read_event() else { return None };
    declaration.encoding()?.ok().map(Cow::into_owned)
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => Err(character(&String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()))),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ParseError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(decoded.map_err(|_| character(&text))?);
    }
    if rest.is_empty() { Ok(text) } else { Err(character(&text)) }
}

/// The error for the character that follows `before`.
fn character(before: &str) -> ParseError {
    let (line, column) = end_of(before);
    ParseError::Character { line, column }
}

/// Line (from 1) and column (in characters, from 0) where `text` ends.
pub(super) fn end_of(text: &str) -> (usize, usize) {
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default();
    (lines + 1, last.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding() {
        let text = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\u{e9}</a>";
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("latin")).collect();
        assert_eq!(decode(&latin).expect("latin"), text);
        let with_clef = "<a>\u{1D11E}</a>";
        let big: Vec<u8> = "\u{FEFF}<a>\u{1D11E}</a>".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let little: Vec<u8> = "\u{FEFF}<a>\u{1D11E}</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&big, &little, &format!("\u{FEFF}{with_clef}").into_bytes()] {
            assert_eq!(decode(bytes).expect("unicode"), with_clef);
        }
        assert!(decode(big.get(..big.len() - 1).expect("shorter")).is_err());
        let ascii = b"<?xml version='1.0' encoding='us-ascii'?><a/>";
        assert!(matches!(decode(ascii), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn unknown_encodings_and_bad_characters() {
        for name in ["klingon", "UTF-16", "UTF-7"] {
            let document = format!("<?xml version='1.0' encoding='{name}'?><a/>");
            assert_eq!(decode(document.as_bytes()), Err(ParseError::Encoding(name.to_owned())));
        }
        for (bytes, line, column) in [
            (&b"<a>\n\xc3\xa9\x01"[..], 2, 1),
            (b"<a>\xff", 1, 3),
            (b"<a>\xef\xbf\xbf", 1, 3),
            (b"<?xml version='1.0' encoding='ascii'?>\n\xc3\xa9", 2, 0),
            (b"\xff\xfe<\0\0\xd8", 1, 1),
            (b"<\0a\0", 1, 1),
        ] {
            assert_eq!(decode(bytes), Err(ParseError::Character { line, column }), "{}", bytes.escape_ascii());
        }
    }
}
