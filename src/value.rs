//! One typed value: what an XML-RPC parameter carries and what the store keeps.

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
    /// `<dateTime.iso8601>`, its text kept verbatim: the specification gives it no time zone.
    DateTime(String),
    /// `<array>`.
    Array(Vec<Value>),
    /// `<struct>`, members in the order they arrived; of a repeated name the last wins.
    Struct(Vec<(String, Value)>),
}
