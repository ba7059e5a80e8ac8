//! Why a call failed, and the fault for it.

use super::FaultStyle;
use super::methods::MethodSpec;
use super::python::{repr_bytes, repr_text};
use crate::protocol::xmlrpc::{Fault, ParseError};
use crate::store::StoreError;
use crate::value::Value;

/// Why a call failed. The texts reveal nothing of the server's internals.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum CallError {
    #[error("{0}")]
    Parse(#[from] ParseError),
    #[error("method \"{0}\" is not supported")]
    UnknownMethod(String),
    #[error("{}", arity_text(.method, *.given))]
    Arity { method: &'static MethodSpec, given: usize },
    #[error("a key is a string or base64, not {0}")]
    KeyType(&'static str),
    /// The key, as it was sent.
    #[error("no such key: {}", repr(.0))]
    MissingKey(Value),
    #[error("{0}")]
    Argument(&'static str),
    #[error("recursive system.multicall is not supported")]
    RecursiveMulticall,
    #[error("one system.multicall makes at most {0} calls")]
    TooManyCalls(usize),
    #[error("more than {0} keys to look through within system.multicall: call keys by itself")]
    TooManyKeys(usize),
    #[error("the reply would be larger than {0} bytes: ask for less at once, or over RESP")]
    ReplyTooLarge(usize),
    #[error("the value takes more than {0} bytes as XML, so it could not be got: set it over RESP")]
    ValueTooLarge(usize),
    #[error("this certificate's identity has no permission for {0}")]
    Denied(&'static str),
    #[error("this certificate's identity has no permission for {0} on this key")]
    DeniedKey(&'static str),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the call was made, and may not be kept: the data directory cannot be written to")]
    NotKept,
}

impl CallError {
    /// The fault for the client.
    pub(super) fn fault(&self, faults: FaultStyle) -> Fault {
        match faults {
            // Python's server always sends code 1, with the exception's class and text.
            FaultStyle::Python => {
                let text = match self {
                    Self::MissingKey(key) => repr(key),
                    other => other.to_string(),
                };
                Fault { code: 1, text: format!("<class '{}'>:{text}", self.class()) }
            }
            FaultStyle::Standard => Fault { code: self.code(), text: self.to_string() },
        }
    }

    /// The class of the exception that Python's server would raise.
    fn class(&self) -> &'static str {
        match self {
            Self::Parse(ParseError::NotWellFormed { .. } | ParseError::Character { .. }) => {
                "xml.parsers.expat.ExpatError"
            }
            Self::Parse(ParseError::Encoding(_)) => "LookupError",
            Self::Parse(ParseError::Invalid(_)) => "xmlrpc.client.ResponseError",
            Self::Parse(ParseError::Scalar(_) | ParseError::Bound(_))
            | Self::Store(StoreError::KeyTooLong | StoreError::ValueTooLarge) => "ValueError",
            Self::UnknownMethod(_) | Self::RecursiveMulticall => "Exception",
            Self::Arity { .. } | Self::KeyType(_) | Self::Argument(_) => "TypeError",
            Self::MissingKey(_) => "KeyError",
            Self::Denied(_) | Self::DeniedKey(_) => "PermissionError",
            Self::TooManyCalls(_) | Self::TooManyKeys(_) | Self::ReplyTooLarge(_) | Self::ValueTooLarge(_) => {
                "OverflowError"
            }
            Self::Store(StoreError::OutOfMemory) => "MemoryError",
            Self::Store(StoreError::ReadOnly) | Self::NotKept => "OSError",
        }
    }

    /// The code of the "Specification for Fault Code Interoperability, version 20010516".
    fn code(&self) -> i32 {
        match self {
            Self::Parse(ParseError::NotWellFormed { .. }) => -32700,
            Self::Parse(ParseError::Encoding(_)) => -32701,
            Self::Parse(ParseError::Character { .. }) => -32702,
            Self::Parse(ParseError::Invalid(_) | ParseError::Bound(_)) => -32600,
            Self::UnknownMethod(_) => -32601,
            Self::Parse(ParseError::Scalar(_))
            | Self::Arity { .. }
            | Self::KeyType(_)
            | Self::Argument(_)
            | Self::RecursiveMulticall
            | Self::TooManyCalls(_)
            | Self::ValueTooLarge(_)
            | Self::Store(StoreError::KeyTooLong | StoreError::ValueTooLarge) => -32602,
            Self::Denied(_)
            | Self::DeniedKey(_)
            | Self::MissingKey(_)
            | Self::TooManyKeys(_)
            | Self::ReplyTooLarge(_) => -32500,
            Self::Store(StoreError::OutOfMemory | StoreError::ReadOnly) | Self::NotKept => -32400,
        }
    }
}

fn repr(key: &Value) -> String {
    match key {
        Value::String(text) => repr_text(text),
        Value::Base64(bytes) => repr_bytes(bytes),
        // Values of other types are not keys.
        _ => String::new(),
    }
}

/// Python's message for a call with the wrong number of arguments.
fn arity_text(method: &MethodSpec, given: usize) -> String {
    let (name, wanted) = (method.name, method.params.len());
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    if given > wanted {
        let were = if given == 1 { "was" } else { "were" };
        return format!("{name}() takes {wanted} positional argument{} but {given} {were} given", plural(wanted));
    }
    let missing: Vec<String> = method.params.iter().skip(given).map(|param| format!("'{}'", param.name)).collect();
    let (count, s) = (missing.len(), plural(missing.len()));
    format!("{name}() missing {count} required positional argument{s}: {}", missing.join(" and "))
}
