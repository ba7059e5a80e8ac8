//! The bytes of a document to text (XML 1.0 section 4.3.3 and appendix F).

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};
use memchr::memmem;

use super::{ParseError, XmlLimits};
use crate::value::is_xml_text;

/// The longest XML declaration whose encoding is read.
const DECLARATION_MAX: usize = 256;

/// Decodes a whole document and checks that XML can carry each of its characters.
pub(super) fn decode<'a>(bytes: &'a [u8], bounds: &XmlLimits) -> Result<Cow<'a, str>, ParseError> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest)?,
        [0xFE, 0xFF, rest @ ..] => Cow::Owned(utf16(rest, UTF_16BE, u16::from_be_bytes, bounds)?),
        [0xFF, 0xFE, rest @ ..] => Cow::Owned(utf16(rest, UTF_16LE, u16::from_le_bytes, bounds)?),
        _ => declared(bytes, bounds)?,
    };
    if is_xml_text(&text) {
        return Ok(text);
    }
    Err(character(text.get(..first_illegal(&text)).unwrap_or_default()))
}

/// The position of the first character that XML cannot carry.
fn first_illegal(text: &str) -> usize {
    let control = text.bytes().position(|byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r'));
    let noncharacters = ["\u{FFFE}", "\u{FFFF}"].iter().filter_map(|c| memmem::find(text.as_bytes(), c.as_bytes()));
    control.into_iter().chain(noncharacters).min().unwrap_or(text.len())
}

/// Without a byte order mark the declaration decides; without a declaration it is UTF-8.
fn declared<'a>(bytes: &'a [u8], bounds: &XmlLimits) -> Result<Cow<'a, str>, ParseError> {
    let Some(name) = declared_encoding(bytes) else { return utf8(bytes) };
    // Python writes the names of its codecs with underscores.
    let label = name.to_ascii_lowercase().replace('_', "-");
    match label.as_str() {
        "utf-8" | "utf8" => return utf8(bytes),
        "us-ascii" | "ascii" => {
            return match bytes.iter().position(|byte| !byte.is_ascii()) {
                Some(at) => Err(character(&String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()))),
                None => utf8(bytes),
            };
        }
        _ => {}
    }
    let encoding = match label.as_str() {
        "latin-1" | "latin" => WINDOWS_1252,
        _ => Encoding::for_label(label.as_bytes()).ok_or_else(|| ParseError::Encoding(name.clone()))?,
    };
    // As in expat, a character is one byte: decoding other encodings takes several times as long.
    if !encoding.is_single_byte() || encoding == X_USER_DEFINED {
        return Err(ParseError::Encoding(name));
    }
    single_byte(bytes, &upper_half(encoding, &label), bounds).map(Cow::Owned)
}

/// The characters of the bytes from 0x80 on.
///
/// The Encoding Standard decodes ISO 8859 labels as similar Windows code pages, in which bytes that the code page
/// leaves undefined are the control characters of ISO 8859. In XML the labels mean ISO 8859 itself.
fn upper_half(encoding: &'static Encoding, label: &str) -> [Option<char>; 128] {
    let is_code_page = label.contains("windows") || label.contains("cp12") || label.contains("dos-874");
    let mut characters = [None; 128];
    for (byte, character) in (0x80..=0xFF_u8).zip(characters.iter_mut()) {
        let bytes = [byte];
        let read = encoding.decode_without_bom_handling_and_without_replacement(&bytes);
        let read = read.and_then(|text| text.chars().next());
        let is_control = byte < 0xA0 && encoding.name().starts_with("windows-");
        *character = match read {
            _ if is_control && !is_code_page => Some(char::from(byte)),
            Some(c) if is_control && c == char::from(byte) => None,
            read => read,
        };
    }
    characters
}

fn single_byte(bytes: &[u8], upper_half: &[Option<char>; 128], bounds: &XmlLimits) -> Result<String, ParseError> {
    let mut text = String::with_capacity(bytes.len().min(bounds.converted) / 2 * 3);
    // Pieces of ASCII, nearly all, are copied whole; the others byte by byte.
    for piece in bytes.chunks(64) {
        if let Some(plain) = std::str::from_utf8(piece).ok().filter(|piece| piece.is_ascii()) {
            text.push_str(plain);
        } else {
            for byte in piece {
                let upper = || upper_half.get(usize::from(byte & 0x7F)).copied().flatten();
                let read = if byte.is_ascii() { Some(char::from(*byte)) } else { upper() };
                text.push(read.ok_or_else(|| character(&text))?);
            }
        }
        if text.len() > bounds.converted {
            return Err(TOO_LONG);
        }
    }
    Ok(text)
}

const TOO_LONG: ParseError = ParseError::Bound("a document in another encoding than UTF-8 is too long");

fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let start = bytes.get(..bytes.len().min(DECLARATION_MAX))?.strip_prefix(b"<?xml")?;
    let end = start.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(start.get(..end)?).ok()?;
    let (_, behind) = declaration.split_once("encoding")?;
    let value = behind.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value.get(1..)?.split_once(quote).map(|(name, _)| name.to_owned())
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => Err(character(&String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()))),
    }
}

fn utf16(
    bytes: &[u8],
    encoding: &'static Encoding,
    unit: fn([u8; 2]) -> u16,
    bounds: &XmlLimits,
) -> Result<String, ParseError> {
    // Half of that, if it is ASCII.
    if bytes.len() / 2 > bounds.converted {
        return Err(TOO_LONG);
    }
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) if text.len() > bounds.converted => Err(TOO_LONG),
        Some(text) => Ok(text.into_owned()),
        None => {
            let (pairs, _) = bytes.as_chunks::<2>();
            let decoded = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)));
            let legal: String = decoded.map_while(Result::ok).collect();
            Err(character(&legal))
        }
    }
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

    fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
        super::decode(bytes, &XmlLimits::default())
    }

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

    #[test]
    fn encodings_of_one_byte_are_read_as_python_reads_them() {
        for (name, byte, expected) in [
            ("iso-8859-15", 0xA4, "\u{20AC}"),
            ("ISO_8859-15", 0xA4, "\u{20AC}"),
            ("iso8859_2", 0xB1, "\u{105}"),
            ("iso-8859-9", 0xF0, "\u{11F}"),
            ("iso-8859-9", 0x80, "\u{80}"),
            ("iso-8859-1", 0x80, "\u{80}"),
            ("latin_1", 0xE9, "\u{E9}"),
            ("windows-1252", 0x80, "\u{20AC}"),
            ("cp1251", 0xE6, "\u{436}"),
            ("koi8-r", 0xD6, "\u{436}"),
            ("KOI8_R", 0xD6, "\u{436}"),
        ] {
            let document = [format!("<?xml version='1.0' encoding='{name}'?><a>").as_bytes(), &[byte]].concat();
            let decoded = decode(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(decoded.ends_with(&format!("<a>{expected}")), "{name}: {decoded}");
        }
        for (name, byte) in [("windows-1252", 0x81), ("cp1252", 0x8D), ("windows-1253", 0xAA)] {
            let document = [format!("<?xml version='1.0' encoding='{name}'?><a>").as_bytes(), &[byte]].concat();
            assert!(matches!(decode(&document), Err(ParseError::Character { line: 1, .. })), "{name}");
        }
        for name in ["gb18030", "shift_jis", "iso-2022-jp", "x-user-defined", "euc-kr"] {
            let document = format!("<?xml version='1.0' encoding='{name}'?><a/>");
            assert_eq!(decode(document.as_bytes()), Err(ParseError::Encoding(name.to_owned())));
        }
    }

    #[test]
    fn a_document_that_must_be_converted_is_bounded() {
        let bounds = XmlLimits { converted: 100, ..XmlLimits::default() };
        let latin = |length: usize| [&b"<?xml version='1.0' encoding='latin1'?>"[..], &vec![0xE9; length]].concat();
        assert!(super::decode(&latin(30), &bounds).is_ok());
        for document in
            [latin(31), latin(1000), "\u{FEFF}a".repeat(60).encode_utf16().flat_map(u16::to_le_bytes).collect()]
        {
            assert!(matches!(super::decode(&document, &bounds), Err(ParseError::Bound(_))));
        }
        // UTF-8 is not converted.
        assert!(super::decode(&[b' '; 1000], &bounds).is_ok());
    }
}
