//! HTTP/1.1 as far as an XML-RPC endpoint needs it (RFC 9110 and RFC 9112), sans I/O and over borrowed slices.
//!
//! The server's half decodes requests ([`RequestDecoder`]) and encodes replies ([`HttpReply`]); the client's half encodes a
//! POST ([`append_post`]) and decodes responses ([`ResponseDecoder`]). Both are strict where leniency lets two parties
//! read one byte stream as different messages: lines end with CRLF, a message has one framing, and numbers are digits.

mod body;
mod date;
mod fields;
mod lines;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod request;
mod response;
mod response_decoder;
#[cfg(test)]
mod tests;

pub use date::DateCache;
pub use request::{DecodeProgress, HttpRequest, KeepAlive, Method, RequestDecoder};
pub use response::{CONTINUE, GZIP_UP_TO, HttpReply, HttpStatus, LengthField, append_error};
pub use response_decoder::{Response, ResponseDecoder, append_post};

/// Limits on one message, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Start line and header fields together. nginx allows 32 KiB and Python 64 KiB a line; 16 KiB hold any cookie.
    pub head: usize,
    /// Head and body as they travel, chunk framing included.
    pub message: usize,
    /// A body after its gzip coding is undone. Python's server has the same 20 MiB.
    pub decoded: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { head: 16 << 10, message: 64 << 20, decoded: 20 << 20 }
    }
}

/// Why a message cannot be decoded. In each case the sender is at fault, and its connection cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not HTTP/1, or framing that two parsers could read differently.
    #[error("malformed HTTP: {0}")]
    Malformed(&'static str),
    /// A major version other than 1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// The request target alone is longer than the head may be.
    #[error("the request target is too long")]
    TargetTooLong,
    /// More header fields, or longer ones, than allowed.
    #[error("the header fields are too large")]
    HeadTooLarge,
    /// The body is longer than allowed, as sent or after decoding.
    #[error("the body is too large")]
    BodyTooLarge,
    /// A body in more chunks than allowed.
    #[error("the body comes in too many chunks: make them larger")]
    TooManyChunks,
    /// A POST without framing of its body.
    #[error("a POST needs Content-Length or Transfer-Encoding: chunked")]
    LengthRequired,
    /// An expectation other than `100-continue`.
    #[error("the only expectation known is 100-continue")]
    Expectation,
    /// A content coding other than gzip.
    #[error("the only content coding accepted is gzip")]
    ContentCoding,
    /// A transfer coding other than chunked.
    #[error("the only transfer coding known is chunked")]
    TransferCoding,
    /// A POST from a web page.
    #[error("calls from web pages are refused: the request names an Origin")]
    Origin,
    /// A body that is not a valid gzip stream although it is declared as one.
    #[error("error decoding gzip content")]
    Gzip,
}

impl HttpError {
    /// The status code of the error reply (RFC 9110 section 15, RFC 6585 section 5).
    #[must_use]
    pub fn status(self) -> HttpStatus {
        match self {
            Self::Malformed(_) | Self::Gzip => HttpStatus::BAD_REQUEST,
            Self::Version => HttpStatus::VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => HttpStatus::URI_TOO_LONG,
            Self::HeadTooLarge => HttpStatus::HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge | Self::TooManyChunks => HttpStatus::CONTENT_TOO_LARGE,
            Self::LengthRequired => HttpStatus::LENGTH_REQUIRED,
            Self::Origin => HttpStatus::FORBIDDEN,
            Self::Expectation => HttpStatus::EXPECTATION_FAILED,
            Self::ContentCoding => HttpStatus::UNSUPPORTED_MEDIA_TYPE,
            Self::TransferCoding => HttpStatus::NOT_IMPLEMENTED,
        }
    }

    /// Whether a limit was exceeded, as opposed to the protocol violated.
    #[must_use]
    pub fn is_too_large(self) -> bool {
        matches!(self, Self::TargetTooLong | Self::HeadTooLarge | Self::BodyTooLarge | Self::TooManyChunks)
    }
}
