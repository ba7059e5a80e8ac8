//! Bytes to requests.

use super::inline;
use super::number::parse_integer;

/// Limits on one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// A whole request, in bytes.
    pub request_bytes: usize,
    /// One argument, in bytes: Redis's `proto-max-bulk-len`.
    pub bulk_bytes: usize,
    /// Arguments, the command's name included.
    pub arguments: usize,
    /// An inline command, or the line that announces a length, in bytes without its end.
    pub line_bytes: usize,
}

impl RequestLimits {
    /// Redis's own limits, for requests of at most `request_bytes`.
    #[must_use]
    pub fn new(request_bytes: usize) -> Self {
        Self {
            // Positions are kept in 32 bits.
            request_bytes: request_bytes.min(u32::MAX as usize),
            bulk_bytes: 512 << 20,
            arguments: 1 << 20,
            line_bytes: 64 << 10,
        }
    }
}

/// Why bytes are not a request. The text is Redis's where Redis has one; an error reply puts `ERR ` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The announced number of arguments is not a number, or above [`RequestLimits::arguments`].
    #[error("Protocol error: invalid multibulk length")]
    ArgumentCount,
    /// The announced length of an argument is not a number, or above [`RequestLimits::bulk_bytes`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// An argument does not start with `$`.
    #[error("Protocol error: expected '$', got '{0}'")]
    ExpectedBulk(char),
    /// An argument is longer than announced, so the following bytes cannot be interpreted. (Redis skips two bytes
    /// unchecked.)
    #[error("Protocol error: expected CRLF after the argument")]
    BulkEnd,
    /// The line that announces the number of arguments does not end.
    #[error("Protocol error: too big mbulk count string")]
    ArgumentCountLine,
    /// The line that announces the length of an argument does not end.
    #[error("Protocol error: too big bulk count string")]
    BulkLengthLine,
    /// An inline command is longer than [`RequestLimits::line_bytes`].
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// An inline command opens a quote that it does not close, or continues right after closing one.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The first byte begins a TLS handshake record (RFC 8446, 5.1), which may never contain a line end.
    #[error("Protocol error: these bytes are a TLS handshake, and here plain RESP is spoken")]
    TlsHandshake,
    /// The request as a whole is longer than [`RequestLimits::request_bytes`].
    #[error("Protocol error: too big request")]
    TooLong,
}

impl RequestError {
    /// Whether a limit was exceeded, as opposed to the grammar violated.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, Self::TooLong | Self::InlineTooLong | Self::ArgumentCountLine | Self::BulkLengthLine)
    }
}

/// The positions of the arguments of one request. The caller reuses it for every request, so that decoding does not
/// allocate.
#[derive(Debug, Default)]
pub struct Arguments {
    spans: Vec<Span>,
    /// The words of an inline command, unquoted; empty otherwise.
    words: Vec<u8>,
}

/// Capacity retained for the next request, in arguments and in bytes of inline words; more is freed.
const KEPT: usize = 1024;

impl Arguments {
    fn clear(&mut self) {
        self.spans.clear();
        self.words.clear();
        if self.spans.capacity().max(self.words.capacity()) > KEPT {
            self.spans.shrink_to(KEPT);
            self.words.shrink_to(KEPT);
        }
    }
}

/// The position of one argument, counted from the first byte of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "a request is shorter than 2^32 bytes: RequestLimits::new")]
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// One request: borrowed slices of the input.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Request<'a> {
    /// A request decoded from `bytes` earlier, with its arguments at these [`spans`](Self::spans).
    pub(crate) fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// The positions of its arguments. For an inline command they refer to a copy, not to its bytes.
    pub(crate) fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The number of arguments, the command's name included. A request may be empty (a blank line, `*0`).
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the request is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`; the command's name is the first.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.slice(*span))
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let request = *self;
        self.spans.get(index..).unwrap_or_default().iter().map(move |span| request.slice(*span))
    }

    /// The request without its first `count` arguments.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(count..).unwrap_or_default() }
    }

    fn slice(&self, span: Span) -> &'a [u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}

/// Reads requests from the front of a growing buffer. Between requests it owns nothing.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// A request that has arrived in part.
#[derive(Debug)]
struct Partial {
    cursor: Cursor,
    arguments: Arguments,
}

impl Decoder {
    /// Heap bytes held for a request that has arrived in part, besides its bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let Some(partial) = &self.partial else { return 0 };
        let Arguments { spans, words } = &partial.arguments;
        size_of::<Partial>() + spans.capacity() * size_of::<Span>() + words.capacity()
    }

    /// Decodes the request at the front of `input`, and returns how many bytes it takes.
    ///
    /// `None` means that more bytes are needed: call again with the same bytes and more after them. Each byte is
    /// scanned once, and the result does not depend on how the bytes arrive.
    ///
    /// # Errors
    ///
    /// The bytes are not a request, or exceed `limits`. The start of the next request cannot be found: close the
    /// connection.
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
        limits: &RequestLimits,
        arguments: &'a mut Arguments,
    ) -> Result<Option<(Request<'a>, usize)>, RequestError> {
        let used = match self.partial.take() {
            None => {
                arguments.clear();
                let mut cursor = Cursor::default();
                let used = cursor.advance(input, limits, arguments)?;
                if used.is_none() && !input.is_empty() {
                    self.partial = Some(Box::new(Partial { cursor, arguments: std::mem::take(arguments) }));
                }
                used
            }
            Some(mut partial) => {
                let used = partial.cursor.advance(input, limits, &mut partial.arguments)?;
                if used.is_some() {
                    *arguments = partial.arguments;
                } else {
                    self.partial = Some(partial);
                }
                used
            }
        };
        let Some(used) = used else { return Ok(None) };
        let arguments = &*arguments;
        let bytes = if arguments.words.is_empty() { input } else { &arguments.words };
        Ok(Some((Request { bytes, spans: &arguments.spans }, used)))
    }
}

/// What is expected next.
#[derive(Clone, Copy, Debug, Default)]
enum Expect {
    /// The first byte, which distinguishes an array from an inline command.
    #[default]
    Start,
    Inline,
    ArgumentCount,
    BulkLength,
    Bulk(usize),
}

/// The position in an incomplete request. Invariant: `position <= searched`, and both are within the input.
#[derive(Debug, Default)]
struct Cursor {
    expect: Expect,
    /// Where the current line or argument starts.
    position: usize,
    /// Up to where the current line has been searched for its end.
    searched: usize,
    /// Arguments still to come.
    missing: usize,
}

impl Cursor {
    /// Continues as far as `input` allows. Returns the length of the request once it is complete.
    fn advance(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
        arguments: &mut Arguments,
    ) -> Result<Option<usize>, RequestError> {
        if matches!(self.expect, Expect::Start) {
            self.expect = match input.first() {
                None => return Ok(None),
                Some(b'*') => Expect::ArgumentCount,
                Some(22) => return Err(RequestError::TlsHandshake),
                Some(_) => Expect::Inline,
            };
        }
        if matches!(self.expect, Expect::Inline) {
            return self.inline(input, limits, arguments);
        }
        if matches!(self.expect, Expect::ArgumentCount) {
            let Some(count) = self.argument_count(input, limits)? else { return Ok(None) };
            self.missing = count;
            self.expect = Expect::BulkLength;
        }
        while self.missing > 0 {
            let length = match self.expect {
                Expect::Bulk(length) => length,
                _ => match self.bulk_length(input, limits)? {
                    None => return Ok(None),
                    Some(length) => length,
                },
            };
            let end = self.position.saturating_add(length);
            match input.get(end..end.saturating_add(2)) {
                None => {
                    self.expect = Expect::Bulk(length);
                    return Ok(None);
                }
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::BulkEnd),
            }
            arguments.spans.push(Span::new(self.position, end));
            self.go_to(end + 2);
            self.missing -= 1;
            self.expect = Expect::BulkLength;
        }
        Ok(Some(self.position))
    }

    fn inline(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
        arguments: &mut Arguments,
    ) -> Result<Option<usize>, RequestError> {
        let Some(line) = self.line(input, limits, RequestError::InlineTooLong)? else { return Ok(None) };
        let Arguments { spans, words } = arguments;
        inline::split(line, words, |start, end| spans.push(Span::new(start, end)))
            .ok_or(RequestError::UnbalancedQuotes)?;
        Ok(Some(self.position))
    }

    /// Marks everything before `position` as decoded.
    fn go_to(&mut self, position: usize) {
        self.position = position;
        self.searched = position;
    }

    /// The length in the line `$length`, once it is there.
    #[inline]
    fn bulk_length(&mut self, input: &[u8], limits: &RequestLimits) -> Result<Option<usize>, RequestError> {
        let line = input.get(self.position..).unwrap_or_default();
        if let Some((length, used)) = short_number(b'$', line, limits)
            && length <= limits.bulk_bytes
            && self.position.saturating_add(used).saturating_add(length).saturating_add(2) <= limits.request_bytes
        {
            self.go_to(self.position + used);
            return Ok(Some(length));
        }
        self.long_bulk_length(input, limits)
    }

    fn long_bulk_length(&mut self, input: &[u8], limits: &RequestLimits) -> Result<Option<usize>, RequestError> {
        match input.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            // A line break would end the error reply that quotes it.
            Some(b'\r' | b'\n') => return Err(RequestError::ExpectedBulk(' ')),
            Some(&byte) => return Err(RequestError::ExpectedBulk(char::from(byte))),
        }
        let Some(line) = self.line(input, limits, RequestError::BulkLengthLine)? else { return Ok(None) };
        let length = announced(line)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|&length| length <= limits.bulk_bytes)
            .ok_or(RequestError::BulkLength)?;
        if self.position.saturating_add(length).saturating_add(2) > limits.request_bytes {
            return Err(RequestError::TooLong);
        }
        Ok(Some(length))
    }

    /// The number of arguments in the line `*number`, once it is there. As in Redis, a request with zero or fewer
    /// arguments is empty.
    #[inline]
    fn argument_count(&mut self, input: &[u8], limits: &RequestLimits) -> Result<Option<usize>, RequestError> {
        if let Some((count, used)) = short_number(b'*', input, limits)
            && count <= limits.arguments
        {
            self.go_to(used);
            return Ok(Some(count));
        }
        let Some(line) = self.line(input, limits, RequestError::ArgumentCountLine)? else { return Ok(None) };
        let count = usize::try_from(announced(line).ok_or(RequestError::ArgumentCount)?).unwrap_or(0);
        if count > limits.arguments { Err(RequestError::ArgumentCount) } else { Ok(Some(count)) }
    }

    /// Takes the line at the current position, without its `\n`. A line that is too long is `error`.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        limits: &RequestLimits,
        error: RequestError,
    ) -> Result<Option<&'a [u8]>, RequestError> {
        let unseen = input.get(self.searched..).unwrap_or_default();
        let end = unseen.iter().position(|&byte| byte == b'\n').map(|offset| self.searched + offset);
        let length = end.unwrap_or(input.len()).saturating_sub(self.position);
        if length > limits.line_bytes {
            return Err(error);
        }
        let Some(end) = end else {
            self.searched = input.len();
            return Ok(None);
        };
        if end >= limits.request_bytes {
            return Err(RequestError::TooLong);
        }
        let line = input.get(self.position..end);
        self.position = end + 1;
        self.searched = self.position;
        Ok(line)
    }
}

/// The number in the line `*number\r` or `$number\r`, of which the first byte has been checked.
fn announced(line: &[u8]) -> Option<i64> {
    parse_integer(line.get(1..)?.strip_suffix(b"\r")?)
}

/// The number in the line `*number\r\n` or `$number\r\n` if it has one or two digits, as nearly all have, and the
/// length of that line. Searching for line ends three bytes away took a twentieth of a short request's time outside the
/// kernel.
#[inline]
fn short_number(sign: u8, line: &[u8], limits: &RequestLimits) -> Option<(usize, usize)> {
    let (number, length) = match *line {
        [first, ones @ b'0'..=b'9', b'\r', b'\n', ..] if first == sign => (usize::from(ones - b'0'), 4),
        [first, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] if first == sign => {
            (usize::from(tens - b'0') * 10 + usize::from(ones - b'0'), 5)
        }
        _ => return None,
    };
    (length <= limits.line_bytes.min(limits.request_bytes)).then_some((number, length))
}

#[cfg(test)]
mod tests {
    use super::super::properties::{Decoded, SMALL, decode_in_pieces};
    use super::*;

    fn decode(input: &[u8]) -> Decoded {
        decode_in_pieces(input, &[], &RequestLimits::new(64 << 20))
    }

    #[test]
    fn arrays_and_inline_commands_may_follow_each_other() {
        let (requests, error) = decode(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nset k \"a b\"\r\n\r\n*0\r\n*-1\r\nPING\n");
        assert_eq!(error, None);
        let expected: [&[&[u8]]; 6] = [&[b"GET", b"k"], &[b"set", b"k", b"a b"], &[], &[], &[], &[b"PING"]];
        assert_eq!(requests.len(), expected.len());
        for (request, expected) in requests.iter().zip(expected) {
            assert_eq!(request, expected);
        }
    }

    #[test]
    fn arguments_may_hold_any_bytes() {
        assert_eq!(decode(b"*2\r\n$0\r\n\r\n$4\r\n\r\n*\0\r\n").0, [[b"".to_vec(), b"\r\n*\0".to_vec()]]);
    }

    #[test]
    fn invalid_requests_get_the_errors_of_redis() {
        for (input, text) in [
            (&b"*abc\r\n"[..], "Protocol error: invalid multibulk length"),
            (b"*\r\n", "Protocol error: invalid multibulk length"),
            (b"*1048577\r\n", "Protocol error: invalid multibulk length"),
            (b"*20000000000\r\n", "Protocol error: invalid multibulk length"),
            (b"*1\r\nfoo\r\n", "Protocol error: expected '$', got 'f'"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "Protocol error: expected '$', got 'f'"),
            (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
            (b"*1\r\n$-10\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$2000000000\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$blabla\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$3\r\nPINGS", "Protocol error: expected CRLF after the argument"),
            (b"set \"k v\r\n", "Protocol error: unbalanced quotes in request"),
        ] {
            let error = decode(input).1.unwrap_or_else(|| panic!("{:?} was taken", String::from_utf8_lossy(input)));
            assert_eq!((error.to_string().as_str(), error.is_limit()), (text, false));
        }
    }

    #[test]
    fn lines_that_never_end_are_refused_at_their_limit() {
        for (prefix, error) in [
            (&b"x"[..], RequestError::InlineTooLong),
            (b"*1", RequestError::ArgumentCountLine),
            (b"*1\r\n$1", RequestError::BulkLengthLine),
        ] {
            let line = prefix.iter().rev().take_while(|&&byte| byte != b'\n').count();
            let mut input = prefix.to_vec();
            input.resize(prefix.len() + SMALL.line_bytes - line, b'1');
            assert_eq!(decode_in_pieces(&input, &[], &SMALL).1, None);
            input.push(b'1');
            assert_eq!(decode_in_pieces(&input, &[], &SMALL).1, Some(error));
            assert!(error.is_limit());
        }
    }

    #[test]
    fn limits_hold_exactly() {
        let request = |lengths: &[usize]| {
            let mut bytes = format!("*{}\r\n", lengths.len()).into_bytes();
            for length in lengths {
                bytes.extend_from_slice(format!("${length}\r\n{}\r\n", "v".repeat(*length)).as_bytes());
            }
            bytes
        };
        let error = |lengths: &[usize]| decode_in_pieces(&request(lengths), &[], &SMALL).1;
        assert_eq!((error(&[100]), error(&[101])), (None, Some(RequestError::BulkLength)));
        assert_eq!((error(&[1; 8]), error(&[1; 9])), (None, Some(RequestError::ArgumentCount)));
        assert_eq!(request(&[90, 92]).len(), SMALL.request_bytes);
        assert_eq!((error(&[90, 92]), error(&[90, 93])), (None, Some(RequestError::TooLong)));
    }

    #[test]
    fn an_announced_length_is_refused_before_it_arrives() {
        assert_eq!(decode(b"*2\r\n$67108865\r\n").1, Some(RequestError::TooLong));
        assert_eq!(decode(b"*2\r\n$1\r\nx\r\n$67108850\r\n").1, Some(RequestError::TooLong));
    }

    #[test]
    fn an_idle_decoder_owns_nothing() {
        let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
        let limits = RequestLimits::new(1 << 20);
        assert_eq!(size_of::<Decoder>(), 8);
        assert!(decoder.decode(b"*1\r\n$4\r\nPI", &limits, &mut arguments).unwrap().is_none());
        assert!(decoder.partial.is_some());
        assert!(decoder.decode(b"*1\r\n$4\r\nPING\r\n", &limits, &mut arguments).unwrap().is_some());
        assert!(decoder.partial.is_none());
        assert!(decoder.decode(b"", &limits, &mut arguments).unwrap().is_none());
        assert!(decoder.partial.is_none());
    }
}
