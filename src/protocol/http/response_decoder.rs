//! The client's half: a POST, and the response to it.

use std::borrow::Cow;
use std::ops::Range;

use super::body::{Body, BodyFraming, Chunks};
use super::fields::Fields;
use super::lines::Lines;
use super::request::version_minor;
use super::response::append_number;
use super::{HttpError, HttpLimits};

/// Appends a POST of an XML body to `path` on `host` (with its port, as in the Host field).
///
/// `host` and `path` come from the caller's configuration and must not contain control characters or spaces.
pub fn append_post(out: &mut Vec<u8>, host: &str, path: &str, body: &[u8]) {
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(
        b"\r\nUser-Agent: latchkey\r\nAccept-Encoding: gzip\r\nContent-Type: text/xml\r\nContent-Length: ",
    );
    append_number(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// One complete response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The reason phrase, which may be empty.
    pub reason: Cow<'a, str>,
    /// The body with transfer and content codings undone.
    pub body: Cow<'a, [u8]>,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// Bytes of the input that it takes, interim responses included.
    pub used: usize,
}

/// Decodes the responses to POSTs from the front of a connection's bytes.
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    lines: Lines,
    stage: Stage,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    StatusLine,
    Fields(StatusLine),
    Body(Head),
}

#[derive(Clone, Debug)]
struct StatusLine {
    code: u16,
    minor: u8,
    reason: Range<usize>,
    fields_start: usize,
}

#[derive(Clone, Debug)]
struct Head {
    line: StatusLine,
    keep_alive: bool,
    body: Body,
}

impl ResponseDecoder {
    /// Decodes the response at the front of `input`; `at_end`: no more bytes will come.
    ///
    /// After `Some` the caller removes [`used`](Response::used) bytes; after `None` the next call gets the same bytes
    /// with more after them. Interim responses (1xx) are skipped.
    ///
    /// # Errors
    ///
    /// The server's bytes are not HTTP/1, exceed a limit, or (with `at_end`) are incomplete.
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
        at_end: bool,
        bounds: &HttpLimits,
    ) -> Result<Option<Response<'a>>, HttpError> {
        const CUT_OFF: HttpError = HttpError::Malformed("the response is cut off");
        if !matches!(self.stage, Stage::Body(_)) && !self.decode_head(input, bounds)? {
            return if at_end { Err(CUT_OFF) } else { Ok(None) };
        }
        let Stage::Body(head) = &mut self.stage else { return Ok(None) };
        let Some(end) = head.body.end(input, at_end, bounds)? else {
            return if at_end { Err(CUT_OFF) } else { Ok(None) };
        };
        let response = head.complete(input, end, bounds)?;
        *self = Self::default();
        Ok(Some(response))
    }

    fn decode_head(&mut self, input: &[u8], bounds: &HttpLimits) -> Result<bool, HttpError> {
        loop {
            let Some(line) = self.lines.next(input.get(..bounds.head).unwrap_or(input))? else {
                return if input.len() > bounds.head { Err(HttpError::HeadTooLarge) } else { Ok(false) };
            };
            match &self.stage {
                Stage::StatusLine => self.stage = Stage::Fields(StatusLine::parse(input, line, self.lines.position)?),
                Stage::Fields(status) if line.is_empty() => {
                    let fields = input.get(status.fields_start..self.lines.position).unwrap_or_default();
                    let fields = Fields::parse_response(fields)?;
                    self.stage = match status.code {
                        100..200 => Stage::StatusLine,
                        _ => Stage::Body(Head::new(status.clone(), &fields, self.lines.position)),
                    };
                    if matches!(self.stage, Stage::Body(_)) {
                        return Ok(true);
                    }
                }
                Stage::Fields(_) | Stage::Body(_) => {}
            }
        }
    }
}

impl StatusLine {
    /// `HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4).
    fn parse(input: &[u8], line: Range<usize>, fields_start: usize) -> Result<Self, HttpError> {
        const SHAPE: HttpError = HttpError::Malformed("the status line is not `HTTP/1.1 200 OK`");
        let bytes = input.get(line.clone()).unwrap_or_default();
        let (version, rest) = bytes.split_at_checked(8).ok_or(SHAPE)?;
        let minor = version_minor(version)?;
        let (b" ", code) = rest.split_at_checked(1).ok_or(SHAPE)? else { return Err(SHAPE) };
        let (code, reason) = code.split_at_checked(3).ok_or(SHAPE)?;
        if !code.iter().all(u8::is_ascii_digit) || !(reason.is_empty() || reason.starts_with(b" ")) {
            return Err(SHAPE);
        }
        let code = code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        let reason_start = (line.end - reason.len() + 1).min(line.end);
        Ok(Self { code, minor, reason: reason_start..line.end, fields_start })
    }
}

impl Head {
    fn new(line: StatusLine, fields: &Fields, start: usize) -> Self {
        let framing = match fields.length {
            _ if matches!(line.code, 204 | 304) => BodyFraming::Length(0),
            Some(length) => BodyFraming::Length(length),
            None if fields.chunked => BodyFraming::Chunked(Chunks::at(start)),
            None => BodyFraming::UntilClose,
        };
        let persistent = !fields.close && (line.minor > 0 || fields.keep_alive);
        let keep_alive = persistent && !matches!(framing, BodyFraming::UntilClose);
        Self { line, keep_alive, body: Body { start, framing, gzip: fields.gzip } }
    }

    fn complete<'a>(&self, input: &'a [u8], end: usize, bounds: &HttpLimits) -> Result<Response<'a>, HttpError> {
        let body = self.body.decode(input, end, bounds)?;
        let reason = String::from_utf8_lossy(input.get(self.line.reason.clone()).unwrap_or_default());
        Ok(Response { status: self.line.code, reason, body, keep_alive: self.keep_alive, used: end })
    }
}
