//! XML 1.0 as pieces: tags, text, and what is skipped. Rejects everything that is not well-formed (section 2.1), and
//! every document type declaration.
//!
//! A general-purpose parser has no limit on its work: one tag may hold twenty million attributes. Here each step is a
//! piece, and pieces are counted; between two pieces bytes are searched at the speed of `memchr`.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2, memmem};

use super::encoding::end_of;
use super::{ParseError, XmlLimits};
use crate::value::is_xml_text;

/// The longest name in markup, and the longest number of a character. XML-RPC's names have 17 bytes at most. Each
/// character of a name is classified, which takes thirty times as long as a search, so a longer one is not read to its
/// end.
const NAME_BYTES: usize = 4 << 10;

const INVALID_TOKEN: &str = "not well-formed (invalid token)";
const UNCLOSED_TOKEN: &str = "unclosed token";
const MISMATCHED: &str = "mismatched tag";
const INVALID_NUMBER: &str = "reference to invalid character number";

/// One piece of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A start tag; an empty element is a start and an end.
    Start(&'a str),
    /// The end tag of the innermost open element.
    End,
    /// Character data with its line ends normalised (section 2.11).
    Text(Cow<'a, str>),
    /// A CDATA section, the same.
    CData(Cow<'a, str>),
    /// A reference to a character.
    Reference(char),
    /// A comment or a processing instruction.
    Passed,
    /// Nothing follows.
    Eof,
}

/// Reads a document from start to end.
pub(super) struct Scanner<'a> {
    text: &'a str,
    position: usize,
    /// Where the current piece begins.
    start: usize,
    /// The open elements, the innermost last.
    open: Vec<&'a str>,
    /// The innermost element was opened by an empty-element tag.
    is_empty_element: bool,
    pieces_left: usize,
    attributes_max: usize,
}

impl<'a> Scanner<'a> {
    /// Begins to read `text`, which XML can carry (see [`is_xml_text`]); its declaration is read.
    pub(super) fn new(text: &'a str, bounds: &XmlLimits) -> Result<Self, ParseError> {
        let mut scanner = Self {
            text,
            position: 0,
            start: 0,
            open: Vec::new(),
            is_empty_element: false,
            pieces_left: bounds.pieces,
            attributes_max: bounds.attributes,
        };
        if scanner.looks_at("<?xml") && !scanner.rest().get(5..).is_some_and(|rest| rest.starts_with(is_name_char)) {
            scanner.declaration()?;
        }
        Ok(scanner)
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Piece<'a>, ParseError> {
        if std::mem::take(&mut self.is_empty_element) {
            self.open.pop();
            return Ok(Piece::End);
        }
        self.start = self.position;
        self.count(1)?;
        let rest = self.rest().as_bytes();
        match (rest.first(), rest.get(1)) {
            (None, _) => Ok(Piece::Eof),
            (Some(b'<'), Some(b'/')) => self.end_tag(),
            (Some(b'<'), Some(b'?')) => self.instruction(),
            (Some(b'<'), Some(b'!')) => self.marked(),
            (Some(b'<'), _) => self.start_tag(),
            (Some(b'&'), _) => {
                self.position += 1;
                self.reference().map(Piece::Reference)
            }
            _ => self.characters(),
        }
    }

    /// An error at the piece that was returned last.
    pub(super) fn not_well_formed(&self, what: &'static str) -> ParseError {
        self.error_at(what, self.start)
    }

    fn error_at(&self, what: &'static str, at: usize) -> ParseError {
        let (line, column) = end_of(self.text.get(..at).unwrap_or(self.text));
        ParseError::NotWellFormed { what, line, column }
    }

    fn invalid(&self) -> ParseError {
        self.not_well_formed(INVALID_TOKEN)
    }

    /// Counts work that the sender has chosen.
    fn count(&mut self, pieces: usize) -> Result<(), ParseError> {
        self.pieces_left =
            self.pieces_left.checked_sub(pieces).ok_or(ParseError::Bound("too many pieces of markup"))?;
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn looks_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    /// Skips `text` if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let is_there = self.looks_at(text);
        if is_there {
            self.position += text.len();
        }
        is_there
    }

    /// Skips `text`, which must come next.
    fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.take(text) { Ok(()) } else { Err(self.broken_off()) }
    }

    /// The error for an unfinished piece, which may be cut off.
    fn broken_off(&self) -> ParseError {
        if self.rest().is_empty() { self.not_well_formed(UNCLOSED_TOKEN) } else { self.invalid() }
    }

    /// The text before `mark`; skips both.
    fn until(&mut self, mark: &str) -> Result<&'a str, ParseError> {
        let rest = self.rest();
        let found = memmem::find(rest.as_bytes(), mark.as_bytes());
        let at = found.ok_or_else(|| self.not_well_formed(UNCLOSED_TOKEN))?;
        self.position += at + mark.len();
        Ok(rest.get(..at).unwrap_or_default())
    }

    /// Skips white space; returns whether there was any.
    fn space(&mut self) -> bool {
        let rest = self.rest();
        let behind = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.position += rest.len() - behind.len();
        behind.len() < rest.len()
    }

    /// `Name` (section 2.3).
    fn name(&mut self) -> Result<&'a str, ParseError> {
        let rest = self.rest();
        let is_end = |(at, c): &(usize, char)| *at > NAME_BYTES || !is_name_char(*c);
        let end = rest.char_indices().find(is_end).map_or(rest.len(), |(at, _)| at);
        let name = rest.get(..end).unwrap_or_default();
        if !name.starts_with(is_name_start) {
            return Err(self.broken_off());
        }
        if end > NAME_BYTES {
            return Err(ParseError::Bound("a name in the markup is too long"));
        }
        self.position += end;
        Ok(name)
    }

    /// `S? '=' S?` and a quoted value (section 2.3); returns the text between the quotes.
    fn quoted(&mut self) -> Result<&'a str, ParseError> {
        self.space();
        self.expect("=")?;
        self.space();
        let quote = if self.take("'") { b'\'' } else { b'"' };
        if quote == b'"' {
            self.expect("\"")?;
        }
        let rest = self.rest();
        let end = memchr(quote, rest.as_bytes()).ok_or_else(|| self.not_well_formed(UNCLOSED_TOKEN))?;
        self.position += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// `XMLDecl` (section 2.8): the version, perhaps an encoding, perhaps `standalone`, in this order.
    fn declaration(&mut self) -> Result<(), ParseError> {
        const MALFORMED: &str = "XML declaration not well-formed";
        self.position += "<?xml".len();
        let mut known = ["version", "encoding", "standalone"].into_iter();
        let mut is_first = true;
        while self.space() && !self.looks_at("?>") {
            let name = self.name()?;
            let value = self.quoted()?;
            let is_next = if is_first { known.next() == Some(name) } else { known.any(|known| known == name) };
            let is_label = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b));
            let is_legal = match name {
                "standalone" => matches!(value, "yes" | "no"),
                "encoding" => value.starts_with(|c: char| c.is_ascii_alphabetic()) && is_label(value),
                _ => !value.is_empty() && is_label(value),
            };
            if !is_next || !is_legal {
                return Err(self.not_well_formed(MALFORMED));
            }
            is_first = false;
        }
        if is_first {
            return Err(self.not_well_formed(MALFORMED));
        }
        self.expect("?>")
    }

    fn start_tag(&mut self) -> Result<Piece<'a>, ParseError> {
        self.position += 1;
        let name = self.name()?;
        let mut attributes: Vec<&'a str> = Vec::new();
        loop {
            let has_space = self.space();
            if self.take(">") {
                break;
            }
            if self.take("/>") {
                self.is_empty_element = true;
                break;
            }
            if !has_space {
                return Err(self.broken_off());
            }
            if attributes.len() >= self.attributes_max {
                return Err(ParseError::Bound("an element has too many attributes"));
            }
            let attribute = self.name()?;
            if attributes.contains(&attribute) {
                return Err(self.invalid());
            }
            attributes.push(attribute);
            self.attribute_value()?;
        }
        self.open.push(name);
        Ok(Piece::Start(name))
    }

    /// `Eq AttValue` (section 3.1), which may hold references and no `<`.
    fn attribute_value(&mut self) -> Result<(), ParseError> {
        self.count(1)?;
        let value = self.quoted()?;
        let behind = self.position;
        if memchr(b'<', value.as_bytes()).is_some() {
            return Err(self.invalid());
        }
        let value_start = behind - 1 - value.len();
        for at in memchr_iter(b'&', value.as_bytes()) {
            self.count(1)?;
            self.position = value_start + at + 1;
            self.reference()?;
            if self.position >= behind {
                return Err(self.invalid());
            }
        }
        self.position = behind;
        Ok(())
    }

    fn end_tag(&mut self) -> Result<Piece<'a>, ParseError> {
        self.position += 2;
        let name = self.name()?;
        self.space();
        self.expect(">")?;
        if self.open.pop() != Some(name) {
            return Err(self.error_at(MISMATCHED, self.start + 2));
        }
        Ok(Piece::End)
    }

    /// A processing instruction (section 2.6), whose target is no spelling of `xml`.
    fn instruction(&mut self) -> Result<Piece<'a>, ParseError> {
        self.position += 2;
        let target = self.name()?;
        if target == "xml" {
            return Err(self.not_well_formed("XML declaration not at start of document"));
        }
        if target.eq_ignore_ascii_case("xml") {
            return Err(self.invalid());
        }
        if !self.take("?>") {
            if !self.space() {
                return Err(self.broken_off());
            }
            self.until("?>")?;
        }
        Ok(Piece::Passed)
    }

    /// A piece that begins with `<!`: a comment (section 2.5), a CDATA section (2.7) or a document type declaration.
    fn marked(&mut self) -> Result<Piece<'a>, ParseError> {
        if self.take("<!--") {
            self.until("--")?;
            self.expect(">")?;
            return Ok(Piece::Passed);
        }
        if self.take("<![CDATA[") {
            if self.open.is_empty() {
                return Err(self.invalid());
            }
            let text = self.until("]]>")?;
            return self.normalised(text).map(Piece::CData);
        }
        if self.take("<!DOCTYPE") {
            return Err(self.not_well_formed("document type declarations are refused"));
        }
        let is_cut_off = ["<!--", "<![CDATA[", "<!DOCTYPE"].iter().any(|whole| whole.starts_with(self.rest()));
        Err(if is_cut_off { self.not_well_formed(UNCLOSED_TOKEN) } else { self.invalid() })
    }

    /// Character data up to the next markup. It must not contain `]]>` (section 2.4).
    fn characters(&mut self) -> Result<Piece<'a>, ParseError> {
        let rest = self.rest();
        let end = memchr2(b'<', b'&', rest.as_bytes()).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        if let Some(at) = memmem::find(text.as_bytes(), b"]]>") {
            return Err(self.error_at(INVALID_TOKEN, self.start + at));
        }
        self.position += end;
        self.normalised(text).map(Piece::Text)
    }

    /// CR LF and CR become LF (section 2.11).
    fn normalised(&mut self, text: &'a str) -> Result<Cow<'a, str>, ParseError> {
        if memchr(b'\r', text.as_bytes()).is_none() {
            return Ok(Cow::Borrowed(text));
        }
        let mut normalised = String::with_capacity(text.len());
        let mut from = 0;
        for at in memchr_iter(b'\r', text.as_bytes()) {
            self.count(1)?;
            normalised.push_str(text.get(from..at).unwrap_or_default());
            from = at + 1;
            if text.as_bytes().get(from) != Some(&b'\n') {
                normalised.push('\n');
            }
        }
        normalised.push_str(text.get(from..).unwrap_or_default());
        Ok(Cow::Owned(normalised))
    }

    /// The rest of a reference (section 4.1) after its `&`.
    fn reference(&mut self) -> Result<char, ParseError> {
        let at = self.position;
        let invalid = |scanner: &Self| scanner.error_at(INVALID_TOKEN, at);
        if self.take("#") {
            let radix = if self.take("x") { 16 } else { 10 };
            let digits = self.rest();
            let is_end = |(at, c): &(usize, char)| *at > NAME_BYTES || !c.is_digit(radix);
            let end = digits.char_indices().find(is_end).map_or(digits.len(), |(at, _)| at);
            if end > NAME_BYTES {
                return Err(ParseError::Bound("a reference is too long"));
            }
            self.position += end;
            if end == 0 || !self.take(";") {
                return Err(invalid(self));
            }
            let significant = digits.get(..end).unwrap_or_default().trim_start_matches('0');
            let number = u32::from_str_radix(significant, radix).ok().and_then(char::from_u32);
            let legal = number.filter(|c| is_xml_text(c.encode_utf8(&mut [0; 4])));
            return legal.ok_or_else(|| self.error_at(INVALID_NUMBER, at - 1));
        }
        let name = self.name().map_err(|error| match error {
            ParseError::Bound(_) => error,
            _ => invalid(self),
        })?;
        if !self.take(";") {
            return Err(invalid(self));
        }
        match name {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            _ => Err(self.error_at("undefined entity", at - 1)),
        }
    }
}

/// `NameStartChar` (section 2.3).
fn is_name_start(c: char) -> bool {
    matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar` (section 2.3).
fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
