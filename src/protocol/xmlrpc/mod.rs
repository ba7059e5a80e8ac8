//! XML-RPC documents: calls, responses and faults (xmlrpc.com/spec), server and client halves.
//!
//! [`parse_call`] and [`append_response`] are the server's, [`append_call`] and [`parse_response`] the client's. Types
//! survive a round trip: an `<i8>` stays one, and so does an empty `<base64>`. Accepted beyond the specification of
//! 1999: `<i8>`, `<nil/>`, the harmless ones of Apache's `ex:` types, untyped values, a missing `<params>`. Emitted:
//! always a type element, `<int>` for 32 bits, and never an `ex:` type, because every client understands that.

mod document;
mod encode;
mod encoding;
mod parse;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod scalar;
mod scan;
#[cfg(test)]
mod tests;

pub use encode::{append_call, append_fault, append_response, append_value, begin_array, encoded_bytes, end_array};
pub use parse::{parse_call, parse_response};

use crate::value::Value;

/// Limits on one document. They and the document's own size bound the memory it takes.
#[derive(Clone, Copy, Debug)]
pub struct XmlLimits {
    /// Nesting of arrays and structs. xmlrpc-c, the strictest of the common clients, allows 64 too.
    pub depth: usize,
    /// Values in all, containers included. The smallest struct member takes 32 bytes of document and at most 112 of
    /// memory, so this many take at most 112 MiB, however large a document may be.
    pub values: usize,
    /// Bytes of a method's name, or of a struct member's name.
    pub name_bytes: usize,
    /// Parameters of one call; no method takes more than a handful.
    pub params: usize,
    /// Attributes of one element. XML-RPC has none; Apache's client declares one namespace.
    pub attributes: usize,
    /// Pieces of markup in all: each tag, attribute, reference, comment, processing instruction, CDATA section, each
    /// text between two of them, and each CR, which becomes LF. A struct member takes eight. Pieces determine the time:
    /// the loop reads some thirty million a second.
    pub pieces: usize,
    /// Bytes of a document converted to UTF-8 from another encoding.
    pub converted: usize,
}

impl XmlLimits {
    /// What a server reads within one turn of its loop: half a million pieces, which take some 20 ms, and the number of
    /// values that makes half of them.
    pub const ONE_TURN: Self = Self {
        depth: 64,
        values: 1 << 16,
        name_bytes: 4 << 10,
        params: 64,
        attributes: 8,
        pieces: 1 << 19,
        converted: 8 << 20,
    };
}

impl Default for XmlLimits {
    fn default() -> Self {
        Self {
            depth: 64,
            values: 1 << 20,
            name_bytes: 4 << 10,
            params: 64,
            attributes: 8,
            pieces: 16 << 20,
            converted: 64 << 20,
        }
    }
}

/// A failed call: what a method returns instead of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {code}: {text}")]
pub struct Fault {
    /// `faultCode`.
    pub code: i32,
    /// `faultString`.
    pub text: String,
}

impl Fault {
    /// The struct that carries a fault, in `<fault>` and among the results of `system.multicall`.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Struct(vec![
            ("faultCode".to_owned(), Value::Int(self.code)),
            ("faultString".to_owned(), Value::String(self.text)),
        ])
    }
}

/// Why a document cannot be parsed. In each case its sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not XML, or with a document type declaration, which is always rejected: its entities can expand a small document
    /// beyond any bound.
    #[error("{what}: line {line}, column {column}")]
    NotWellFormed {
        /// The wording of expat, the parser that most clients know.
        what: &'static str,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 0.
        column: usize,
    },
    /// An encoding other than UTF-8, UTF-16, US-ASCII and the single-byte ones in the Encoding Standard.
    #[error("unknown encoding: {0}")]
    Encoding(String),
    /// A byte that is invalid in its encoding, or a character that is invalid in XML.
    #[error("not well-formed (invalid token): line {line}, column {column}")]
    Character {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 0.
        column: usize,
    },
    /// XML, but not the document that was expected.
    #[error("{0}")]
    Invalid(String),
    /// The text of a value is not one of its type.
    #[error("{0}")]
    Scalar(String),
    /// Over one of the [`XmlLimits`].
    #[error("{0}")]
    Bound(&'static str),
}

impl ParseError {
    /// The kind of the error for the log, which must not contain any of the document.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotWellFormed { .. } => "not_well_formed",
            Self::Encoding(_) => "encoding",
            Self::Character { .. } => "character",
            Self::Invalid(_) => "invalid",
            Self::Scalar(_) => "scalar",
            Self::Bound(_) => "bound",
        }
    }
}
