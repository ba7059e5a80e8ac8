//! A document as tags and text, with XML-RPC's few elements distinguished.

use std::borrow::Cow;

use super::scan::{Piece, Scanner};
use super::{ParseError, XmlLimits};

/// The elements of XML-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    MethodCall,
    MethodName,
    MethodResponse,
    Params,
    Param,
    Fault,
    Value,
    Array,
    Data,
    Struct,
    Member,
    Name,
    Scalar(Scalar),
}

/// The elements that hold the text of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Nil,
    Int,
    I8,
    Boolean,
    Double,
    String,
    Base64,
    DateTime,
}

impl Element {
    /// Apache's `ex:` types are recognised by their usual prefix. Those without a counterpart are unknown elements,
    /// above all `ex:serializable`, which asks its reader to run code of the sender's choice (CVE-2016-5003).
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "methodCall" => Self::MethodCall,
            "methodName" => Self::MethodName,
            "methodResponse" => Self::MethodResponse,
            "params" => Self::Params,
            "param" => Self::Param,
            "fault" => Self::Fault,
            "value" => Self::Value,
            "array" => Self::Array,
            "data" => Self::Data,
            "struct" => Self::Struct,
            "member" => Self::Member,
            "name" => Self::Name,
            "nil" | "ex:nil" => Self::Scalar(Scalar::Nil),
            "int" | "i4" | "ex:i1" | "ex:i2" => Self::Scalar(Scalar::Int),
            "i8" | "ex:i8" => Self::Scalar(Scalar::I8),
            "boolean" => Self::Scalar(Scalar::Boolean),
            "double" | "ex:float" => Self::Scalar(Scalar::Double),
            "string" => Self::Scalar(Scalar::String),
            "base64" => Self::Scalar(Scalar::Base64),
            "dateTime.iso8601" => Self::Scalar(Scalar::DateTime),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MethodCall => "methodCall",
            Self::MethodName => "methodName",
            Self::MethodResponse => "methodResponse",
            Self::Params => "params",
            Self::Param => "param",
            Self::Fault => "fault",
            Self::Value => "value",
            Self::Array => "array",
            Self::Data => "data",
            Self::Struct => "struct",
            Self::Member => "member",
            Self::Name => "name",
            Self::Scalar(Scalar::Nil) => "nil",
            Self::Scalar(Scalar::Int) => "int",
            Self::Scalar(Scalar::I8) => "i8",
            Self::Scalar(Scalar::Boolean) => "boolean",
            Self::Scalar(Scalar::Double) => "double",
            Self::Scalar(Scalar::String) => "string",
            Self::Scalar(Scalar::Base64) => "base64",
            Self::Scalar(Scalar::DateTime) => "dateTime.iso8601",
        })
    }
}

/// A tag, preceded by white space only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Open(Element),
    /// The end of the innermost open element: the reader has checked the name.
    Close,
}

/// The next item where both text and tags are allowed.
pub(super) enum Token {
    Open(Element),
    Close,
    Text,
}

/// A document that is read from start to end.
pub(super) struct Document<'a> {
    scanner: Scanner<'a>,
    /// The root element has been opened.
    begun: bool,
}

impl<'a> Document<'a> {
    /// Begins to read `text`, which XML can carry (see [`is_xml_text`](crate::value::is_xml_text)).
    pub(super) fn new(text: &'a str, bounds: &XmlLimits) -> Result<Self, ParseError> {
        Ok(Self { scanner: Scanner::new(text, bounds)?, begun: false })
    }

    /// The next tag; text other than white space is an error.
    pub(super) fn tag(&mut self) -> Result<Tag, ParseError> {
        loop {
            // Each piece is checked on its own: comments can cut white space into very many pieces.
            let mut text = Cow::Borrowed("");
            match self.token(&mut text)? {
                Token::Open(element) => return Ok(Tag::Open(element)),
                Token::Close => return Ok(Tag::Close),
                Token::Text if is_blank(&text) => {}
                Token::Text if self.begun => {
                    return Err(ParseError::Invalid("text where an element is expected".to_owned()));
                }
                Token::Text => return Err(self.scanner.not_well_formed("syntax error")),
            }
        }
    }

    /// The opening tag of `element` must come next.
    pub(super) fn open(&mut self, element: Element) -> Result<(), ParseError> {
        match self.tag()? {
            Tag::Open(found) if found == element => Ok(()),
            found => Err(unexpected(found, element)),
        }
    }

    /// The innermost element must be closed next.
    pub(super) fn close(&mut self) -> Result<(), ParseError> {
        match self.tag()? {
            Tag::Close => Ok(()),
            Tag::Open(element) => Err(ParseError::Invalid(format!("unexpected <{element}>"))),
        }
    }

    /// The rest of the innermost element, which contains text only.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let mut text = Cow::Borrowed("");
        loop {
            match self.token(&mut text)? {
                Token::Text => {}
                Token::Close => return Ok(text),
                Token::Open(element) => {
                    return Err(ParseError::Invalid(format!("<{element}> inside of text")));
                }
            }
        }
    }

    /// Nothing may follow the root element but white space, comments and processing instructions.
    pub(super) fn finish(&mut self) -> Result<(), ParseError> {
        loop {
            let junk = match self.scanner.next()? {
                Piece::Eof => return Ok(()),
                Piece::Passed => false,
                Piece::Text(text) => !is_blank(&text),
                _ => true,
            };
            if junk {
                return Err(self.scanner.not_well_formed("junk after document element"));
            }
        }
    }

    /// The next tag, or a piece of text, which is appended to `text`.
    pub(super) fn token(&mut self, text: &mut Cow<'a, str>) -> Result<Token, ParseError> {
        loop {
            match self.scanner.next()? {
                Piece::Start(name) => return self.start(name).map(Token::Open),
                Piece::End => return Ok(Token::Close),
                Piece::Text(piece) | Piece::CData(piece) => append(text, piece),
                Piece::Reference(_) if !self.begun => return Err(self.scanner.not_well_formed("syntax error")),
                Piece::Reference(character) => text.to_mut().push(character),
                Piece::Passed => continue,
                Piece::Eof => return Err(self.scanner.not_well_formed("no element found")),
            }
            return Ok(Token::Text);
        }
    }

    fn start(&mut self, name: &str) -> Result<Element, ParseError> {
        self.begun = true;
        Element::named(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            ParseError::Invalid(format!("unknown tag '{shown}'"))
        })
    }
}

pub(super) fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

pub(super) fn unexpected(found: Tag, wanted: Element) -> ParseError {
    ParseError::Invalid(match found {
        Tag::Open(element) => format!("<{element}> where <{wanted}> is expected"),
        Tag::Close => format!("<{wanted}> is missing"),
    })
}

/// Most text is one piece, borrowed from the document to the end.
fn append<'a>(text: &mut Cow<'a, str>, piece: Cow<'a, str>) {
    if text.is_empty() {
        *text = piece;
    } else {
        text.to_mut().push_str(&piece);
    }
}
