//! A stored value as users of the store see it.

use super::{MAX_KEY, MAX_VALUE};

/// The type of a value: its XML-RPC type, and whether RESP commands may edit its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes set over RESP.
    Bytes = 0,
    /// `<string>`: UTF-8 text.
    String = 1,
    /// `<base64>`, decoded.
    Base64 = 2,
    /// `<int>`, as decimal text.
    Int = 3,
    /// `<i8>`, as decimal text.
    I8 = 4,
    /// `<boolean>`: `true` or `false`.
    Boolean = 5,
    /// `<double>`: shortest text that reads back as the same number, or `nan`, `inf`, `-inf`.
    Double = 6,
    /// `<nil/>`: `null`.
    Nil = 7,
    /// `<dateTime.iso8601>`, its text.
    DateTime = 8,
    /// `<array>`, a `Value` in postcard's encoding.
    Array = 9,
    /// `<struct>`, a `Value` in postcard's encoding.
    Struct = 10,
}

impl Kind {
    /// Every kind, each at the index that is its byte in storage.
    pub const ALL: [Self; 11] = [
        Self::Bytes,
        Self::String,
        Self::Base64,
        Self::Int,
        Self::I8,
        Self::Boolean,
        Self::Double,
        Self::Nil,
        Self::DateTime,
        Self::Array,
        Self::Struct,
    ];

    /// The kind whose byte in storage is `byte`.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Whether it contains other values.
    #[must_use]
    pub fn is_compound(self) -> bool {
        matches!(self, Self::Array | Self::Struct)
    }

    /// Whether the stored bytes are the value itself, so that string commands may edit them.
    #[must_use]
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Bytes | Self::String | Self::Base64)
    }
}

/// One value in the store, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The value's type.
    pub kind: Kind,
    /// The value, encoded as its [`Kind`] says.
    pub data: &'a [u8],
    /// Its expiry, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// What a write does to the expiry of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Unchanged; a new key never expires.
    Keep,
    /// The key no longer expires.
    Never,
    /// The key expires at this many milliseconds since the Unix epoch.
    At(u64),
}

/// Why a record from disk cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its kind is not one of [`Kind`].
    #[error("unknown kind of value")]
    Kind,
    /// It is longer than [`MAX_KEY`].
    #[error("a key is longer than {MAX_KEY} bytes")]
    Key,
    /// It is larger than [`MAX_VALUE`].
    #[error("a value is larger than {MAX_VALUE} bytes")]
    Value,
    /// The table is full.
    #[error("too many keys for the table")]
    Room,
}
