//! Requests: bytes to method, target and body.

use std::borrow::Cow;
use std::ops::Range;

use super::body::{Body, BodyFraming, Chunks};
use super::fields::{Fields, is_authority};
use super::lines::Lines;
use super::{HttpError, HttpLimits};

/// A request method, as far as this endpoint distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`: answered like GET, without the body.
    Head,
    /// `OPTIONS`.
    Options,
    /// `POST`.
    Post,
    /// Any other method.
    Other,
}

/// What becomes of the connection after the reply (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It stays open, as is usual in HTTP/1.1.
    Open,
    /// It stays open, and the reply must announce that to an HTTP/1.0 client that asked for it.
    Announced,
    /// It is closed.
    Close,
}

/// One complete request.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query, of the origin or the absolute form; `*` of the asterisk form (RFC 9112 section 3.2).
    pub target: &'a str,
    /// The body with transfer and content codings undone; empty when there is none.
    pub body: Cow<'a, [u8]>,
    /// What the client wants for its connection.
    pub persistence: KeepAlive,
    /// Whether the reply may be compressed with gzip.
    pub accepts_gzip: bool,
    /// Bytes of the input that the request takes.
    pub used: usize,
}

/// The state of the request at the front.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeProgress<'a> {
    /// More bytes are needed.
    Incomplete,
    /// More bytes are needed, and the client waits for [`CONTINUE`](super::CONTINUE) before it sends them. Returned
    /// once for each request.
    Continue,
    /// The request is complete.
    Complete(HttpRequest<'a>),
}

/// Decodes requests from the front of a connection's bytes.
///
/// Between calls it keeps positions only, and those only while a request arrives: an idle connection costs one word,
/// and each byte of a head or of chunked framing is scanned once however the bytes arrive.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    begun: Option<Box<Decoding>>,
}

/// The state of decoding one request.
#[derive(Debug, Default)]
struct Decoding {
    lines: Lines,
    stage: Stage,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    RequestLine,
    Fields(RequestLine),
    Body(Head),
}

#[derive(Clone, Debug)]
struct RequestLine {
    method: Method,
    target: Range<usize>,
    minor: u8,
    fields_start: usize,
}

#[derive(Clone, Debug)]
struct Head {
    method: Method,
    target: Range<usize>,
    persistence: KeepAlive,
    accepts_gzip: bool,
    /// The client still expects 100 Continue.
    expects_continue: bool,
    body: Body,
}

impl RequestDecoder {
    /// Decodes the request at the front of `input`.
    ///
    /// After [`DecodeProgress::Complete`] the caller removes [`used`](HttpRequest::used) bytes and the next call begins
    /// a new request; after any other result the next call gets the same bytes with more after them. After an error the
    /// connection cannot be used further, because the start of the next request is unknown.
    pub fn decode<'a>(&mut self, input: &'a [u8], bounds: &HttpLimits) -> Result<DecodeProgress<'a>, HttpError> {
        let mut fresh = Decoding::default();
        let progress = self.begun.as_deref_mut().unwrap_or(&mut fresh).decode(input, bounds)?;
        match progress {
            DecodeProgress::Complete(_) => self.begun = None,
            DecodeProgress::Incomplete | DecodeProgress::Continue if self.begun.is_none() && !input.is_empty() => {
                self.begun = Some(Box::new(fresh));
            }
            DecodeProgress::Incomplete | DecodeProgress::Continue => {}
        }
        Ok(progress)
    }

    /// Whether the head of a request is expected next, as opposed to its body.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        !self.begun.as_ref().is_some_and(|begun| matches!(begun.stage, Stage::Body(_)))
    }

    /// Heap bytes, in use only while a request arrives in parts.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.begun.as_ref().map_or(0, |_| size_of::<Decoding>())
    }

    /// Whether `rest`, the bytes at the end of the stream, holds no part of a request.
    #[must_use]
    pub fn is_between_requests(rest: &[u8]) -> bool {
        rest.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }
}

impl Decoding {
    fn decode<'a>(&mut self, input: &'a [u8], bounds: &HttpLimits) -> Result<DecodeProgress<'a>, HttpError> {
        if !matches!(self.stage, Stage::Body(_)) && !self.decode_head(input, bounds)? {
            return Ok(DecodeProgress::Incomplete);
        }
        let Stage::Body(head) = &mut self.stage else { return Ok(DecodeProgress::Incomplete) };
        match head.body.end(input, false, bounds)? {
            Some(end) => Ok(DecodeProgress::Complete(head.complete(input, end, bounds)?)),
            // A client that has sent bytes of the body is not waiting (RFC 9110 section 10.1.1).
            None if std::mem::take(&mut head.expects_continue) && input.len() <= head.body.start => {
                Ok(DecodeProgress::Continue)
            }
            None => Ok(DecodeProgress::Incomplete),
        }
    }

    /// Reads lines until the body begins; false if the head is incomplete.
    fn decode_head(&mut self, input: &[u8], bounds: &HttpLimits) -> Result<bool, HttpError> {
        const TLS_HANDSHAKE: u8 = 22;
        if matches!(self.stage, Stage::RequestLine) && input.first() == Some(&TLS_HANDSHAKE) {
            return Err(HttpError::Malformed("these bytes are a TLS handshake, and here plain HTTP is spoken"));
        }
        loop {
            self.check_beginning(input)?;
            // Bytes beyond the limit are not looked at, so that the error does not depend on how much has arrived.
            let Some(line) = self.lines.next(input.get(..bounds.head).unwrap_or(input))? else {
                return if input.len() > bounds.head { Err(self.head_too_large()) } else { Ok(false) };
            };
            match &self.stage {
                // Empty lines before a request are ignored (RFC 9112 section 2.2).
                Stage::RequestLine if line.is_empty() => {}
                // Parsed when it arrives, so that a peer with another protocol gets its error after its first line.
                Stage::RequestLine => {
                    self.stage = Stage::Fields(RequestLine::parse(input, line, self.lines.position)?);
                }
                Stage::Fields(request_line) if line.is_empty() => {
                    let fields = input.get(request_line.fields_start..self.lines.position).unwrap_or_default();
                    let head = Head::new(request_line, &Fields::parse(fields)?, self.lines.position)?;
                    self.stage = Stage::Body(head);
                    return Ok(true);
                }
                Stage::Fields(_) | Stage::Body(_) => {}
            }
        }
    }

    /// Checks the first bytes, so that a peer with another protocol gets its error at once.
    fn check_beginning(&self, input: &[u8]) -> Result<(), HttpError> {
        let is_strange = |byte: &u8| !matches!(byte, b'\r' | b'\n') && !is_token(*byte);
        if matches!(self.stage, Stage::RequestLine) && input.get(self.lines.position).is_some_and(is_strange) {
            return Err(HttpError::Malformed("a request begins with its method"));
        }
        Ok(())
    }

    fn head_too_large(&self) -> HttpError {
        match self.stage {
            Stage::RequestLine => HttpError::TargetTooLong,
            _ => HttpError::HeadTooLarge,
        }
    }
}

impl RequestLine {
    /// `method SP request-target SP HTTP-version` (RFC 9112 section 3), with exactly these spaces.
    fn parse(input: &[u8], line: Range<usize>, fields_start: usize) -> Result<Self, HttpError> {
        const SHAPE: HttpError = HttpError::Malformed("a request line is `METHOD target HTTP/1.1`");
        let bytes = input.get(line.clone()).unwrap_or_default();
        let mut words = bytes.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SHAPE);
        };
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return Err(SHAPE);
        }
        if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(HttpError::Malformed("a request target is visible ASCII"));
        }
        let minor = version_minor(version)?;
        let method = match method {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"OPTIONS" => Method::Options,
            b"POST" => Method::Post,
            _ => Method::Other,
        };
        let target_end = line.end - version.len() - 1;
        let target = target_end - target.len() + authority_length(target)?..target_end;
        Ok(Self { method, target, minor, fields_start })
    }
}

impl Head {
    fn new(line: &RequestLine, fields: &Fields, start: usize) -> Result<Self, HttpError> {
        // RFC 9112 section 3.2 requires a 400 for a missing or repeated Host.
        if fields.hosts > 1 || (fields.hosts == 0 && line.minor > 0) {
            return Err(HttpError::Malformed("exactly one Host is needed"));
        }
        if fields.is_host_malformed {
            return Err(HttpError::Malformed("the Host names no host"));
        }
        // A browser lets any page send a POST of a simple type to this machine or with its user's certificate, and adds
        // the page's origin. No page is served here, so every page is foreign.
        if fields.has_origin && line.method == Method::Post {
            return Err(HttpError::Origin);
        }
        let framing = match fields.length {
            Some(length) => BodyFraming::Length(length),
            None if fields.chunked && line.minor == 0 => {
                return Err(HttpError::Malformed("HTTP/1.0 has no transfer codings"));
            }
            None if fields.chunked => BodyFraming::Chunked(Chunks::at(start)),
            None if line.method == Method::Post => return Err(HttpError::LengthRequired),
            None => BodyFraming::Length(0),
        };
        let persistence = match (line.minor, fields.close, fields.keep_alive) {
            (1.., false, _) => KeepAlive::Open,
            (0, false, true) => KeepAlive::Announced,
            _ => KeepAlive::Close,
        };
        Ok(Self {
            method: line.method,
            target: line.target.clone(),
            persistence,
            accepts_gzip: fields.accepts_gzip,
            expects_continue: fields.expects_continue && line.minor > 0,
            body: Body { start, framing, gzip: fields.gzip },
        })
    }

    fn complete<'a>(&self, input: &'a [u8], end: usize, bounds: &HttpLimits) -> Result<HttpRequest<'a>, HttpError> {
        let target = input.get(self.target.clone()).and_then(|target| std::str::from_utf8(target).ok());
        Ok(HttpRequest {
            method: self.method,
            target: target.filter(|target| !target.is_empty()).unwrap_or("/"),
            body: self.body.decode(input, end, bounds)?,
            persistence: self.persistence,
            accepts_gzip: self.accepts_gzip,
            used: end,
        })
    }
}

/// The minor version of HTTP/1. RFC 9112 section 2.3 allows one digit each, and RFC 9110 section 2.5 treats an unknown
/// higher minor version as the highest known.
pub(super) fn version_minor(version: &[u8]) -> Result<u8, HttpError> {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] => Ok((minor - b'0').min(1)),
        [b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'] => Err(HttpError::Version),
        _ => Err(HttpError::Malformed("the HTTP version is not HTTP/1.1")),
    }
}

/// The length of what precedes the path in a target in absolute form; a server must accept that form (RFC 9112 3.2.2).
fn authority_length(target: &[u8]) -> Result<usize, HttpError> {
    let scheme = [&b"https://"[..], b"http://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else { return Ok(0) };
    let rest = target.get(scheme.len()..).unwrap_or_default();
    let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    // A query without a path and user information are not allowed there (RFC 9110 sections 4.2.1 and 4.2.4).
    if !is_authority(rest.get(..length).unwrap_or_default()) {
        return Err(HttpError::Malformed("the request target names no host"));
    }
    Ok(scheme.len() + length)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
