//! Replies, appended to a connection's output.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::HttpError;
use super::request::KeepAlive;

/// The interim reply to [`DecodeProgress::Continue`](super::DecodeProgress::Continue) (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Below this many bytes gzip saves less than a packet. Python's server has the same threshold.
const GZIP_FROM: usize = 1400;
/// Compressing more than this would block the loop for longer than the saved bytes are worth (about 10 ms).
pub const GZIP_UP_TO: usize = 1 << 20;

/// A status code and its reason phrase (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpStatus {
    /// Three digits.
    pub code: u16,
    /// The reason phrase.
    pub reason: &'static str,
}

#[allow(missing_docs, reason = "each constant is named after its reason phrase")]
impl HttpStatus {
    pub const OK: Self = Self { code: 200, reason: "OK" };
    pub const NO_CONTENT: Self = Self { code: 204, reason: "No Content" };
    pub const BAD_REQUEST: Self = Self { code: 400, reason: "Bad Request" };
    pub const FORBIDDEN: Self = Self { code: 403, reason: "Forbidden" };
    pub const NOT_FOUND: Self = Self { code: 404, reason: "Not Found" };
    pub const METHOD_NOT_ALLOWED: Self = Self { code: 405, reason: "Method Not Allowed" };
    pub const REQUEST_TIMEOUT: Self = Self { code: 408, reason: "Request Timeout" };
    pub const LENGTH_REQUIRED: Self = Self { code: 411, reason: "Length Required" };
    pub const CONTENT_TOO_LARGE: Self = Self { code: 413, reason: "Content Too Large" };
    pub const URI_TOO_LONG: Self = Self { code: 414, reason: "URI Too Long" };
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self { code: 415, reason: "Unsupported Media Type" };
    pub const EXPECTATION_FAILED: Self = Self { code: 417, reason: "Expectation Failed" };
    pub const HEADER_FIELDS_TOO_LARGE: Self = Self { code: 431, reason: "Request Header Fields Too Large" };
    pub const NOT_IMPLEMENTED: Self = Self { code: 501, reason: "Not Implemented" };
    pub const SERVICE_UNAVAILABLE: Self = Self { code: 503, reason: "Service Unavailable" };
    pub const VERSION_NOT_SUPPORTED: Self = Self { code: 505, reason: "HTTP Version Not Supported" };
}

/// One reply.
#[derive(Clone, Debug)]
pub struct HttpReply<'a> {
    /// The status.
    pub status: HttpStatus,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body, not compressed.
    pub body: &'a [u8],
    /// Further header lines, each with its CRLF.
    pub fields: &'static str,
    /// What becomes of the connection after the reply.
    pub persistence: KeepAlive,
    /// Whether the client accepts a gzip body.
    pub accepts_gzip: bool,
    /// The reply is to HEAD: everything but the body.
    pub head_only: bool,
    /// The text of the Date field, if the clock is known.
    pub date: Option<&'a [u8]>,
}

impl<'a> HttpReply<'a> {
    /// A plain-text reply, as a base for others.
    #[must_use]
    pub fn text(body: &'a [u8], date: Option<&'a [u8]>) -> Self {
        HttpReply {
            status: HttpStatus::OK,
            content_type: "text/plain; charset=utf-8",
            body,
            fields: "",
            persistence: KeepAlive::Open,
            accepts_gzip: false,
            head_only: false,
            date,
        }
    }

    /// Appends the reply to `out`, without allocation unless the body is compressed.
    pub fn append(&self, out: &mut Vec<u8>) {
        let compressible = self.accepts_gzip && (GZIP_FROM..=GZIP_UP_TO).contains(&self.body.len());
        let compressed = if compressible { gzip(self.body) } else { None };
        let body = compressed.as_deref().unwrap_or(self.body);
        out.reserve(256 + body.len());
        self.append_start(out);
        // A 204 has no body and no Content-Length (RFC 9110 section 8.6).
        if self.status != HttpStatus::NO_CONTENT {
            out.extend_from_slice(b"Content-Length: ");
            append_number(out, body.len());
            out.extend_from_slice(b"\r\n");
        }
        if compressed.is_some() {
            out.extend_from_slice(b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
        }
        self.append_end(out);
        if !self.head_only {
            out.extend_from_slice(body);
        }
    }

    /// Appends the head of a reply whose body follows piece by piece, and returns where its length is to be written at
    /// the end.
    pub fn append_head(&self, out: &mut Vec<u8>) -> LengthField {
        self.append_start(out);
        out.extend_from_slice(b"Content-Length: ");
        let digits = out.len();
        out.extend_from_slice(&[b'0'; LengthField::DIGITS]);
        out.extend_from_slice(b"\r\n");
        self.append_end(out);
        LengthField { digits, body: out.len() }
    }

    /// Appends the fields before those that describe the body.
    fn append_start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        append_number(out, usize::from(self.status.code));
        out.push(b' ');
        out.extend_from_slice(self.status.reason.as_bytes());
        out.extend_from_slice(b"\r\nServer: latchkey\r\n");
        if let Some(date) = self.date {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        if self.status != HttpStatus::NO_CONTENT {
            out.extend_from_slice(b"Content-Type: ");
            out.extend_from_slice(self.content_type.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Appends the fields after those that describe the body.
    fn append_end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.fields.as_bytes());
        out.extend_from_slice(match self.persistence {
            KeepAlive::Open => b"\r\n",
            KeepAlive::Announced => b"Connection: keep-alive\r\n\r\n",
            KeepAlive::Close => b"Connection: close\r\n\r\n",
        });
    }
}

impl KeepAlive {
    /// The connection's fate according to a reply written by [`HttpReply::append`].
    #[must_use]
    pub fn of(reply: &[u8]) -> Self {
        let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(reply.len());
        let head = reply.get(..end).unwrap_or_default();
        let says = |field: &[u8]| head.ends_with(field);
        if says(b"\r\nConnection: close") {
            Self::Close
        } else if says(b"\r\nConnection: keep-alive") {
            Self::Announced
        } else {
            Self::Open
        }
    }
}

/// The place of the length of a body that is not complete yet. Leading zeros are valid digits (RFC 9110 section 8.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct LengthField {
    digits: usize,
    body: usize,
}

impl LengthField {
    /// Enough for the longest possible reply.
    const DIGITS: usize = 10;

    /// Writes the length; `reply` is the whole reply.
    pub fn fill(self, reply: &mut [u8]) {
        let length = format!("{:010}", reply.len().saturating_sub(self.body));
        let field = reply.get_mut(self.digits..self.digits + Self::DIGITS);
        if let Some(field) = field.filter(|_| length.len() == Self::DIGITS) {
            field.copy_from_slice(length.as_bytes());
        }
    }
}

/// Appends the error reply for a message that cannot be decoded. It also announces the end of the connection.
pub fn append_error(error: HttpError, date: Option<&[u8]>, out: &mut Vec<u8>) {
    let body = format!("{error}\n");
    // RFC 9110 section 15.5.16: a 415 for a content coding lists the supported ones.
    let fields = if error == HttpError::ContentCoding { "Accept-Encoding: gzip\r\n" } else { "" };
    let persistence = KeepAlive::Close;
    HttpReply { status: error.status(), fields, persistence, ..HttpReply::text(body.as_bytes(), date) }.append(out);
}

/// Compresses at the fastest level, as Python's server does; `None` if the encoder fails, and then the body is sent
/// plain.
fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

pub(super) fn append_number(out: &mut Vec<u8>, number: usize) {
    let written = write!(out, "{number}");
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
}
