//! The client's half: commands to bytes, bytes to replies.

use super::number::{Digits, parse_integer};

/// Appends a command and its arguments to `output`.
pub fn encode_command<A: AsRef<[u8]>>(output: &mut Vec<u8>, arguments: &[A]) {
    head(output, b'*', arguments.len());
    for argument in arguments {
        let argument = argument.as_ref();
        head(output, b'$', argument.len());
        output.extend_from_slice(argument);
        output.extend_from_slice(b"\r\n");
    }
}

fn head(output: &mut Vec<u8>, kind: u8, length: usize) {
    output.push(kind);
    output.extend_from_slice(Digits::new(i64::try_from(length).unwrap_or(i64::MAX)).as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// A reply of either version of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+`: a word such as `OK`.
    Simple(Vec<u8>),
    /// `-` or `!`: a failure, its code first.
    Error(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`: any bytes.
    Bulk(Vec<u8>),
    /// `_`, and the null string and null array of version 2.
    Null,
    /// `*`.
    Array(Vec<Reply>),
    /// `%`, in the order sent.
    Map(Vec<(Reply, Reply)>),
    /// `~`.
    Set(Vec<Reply>),
    /// `>`: a push message, which answers no request.
    Push(Vec<Reply>),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `=`: text with its three-letter format.
    Verbatim([u8; 3], Vec<u8>),
    /// `(`: the digits of an integer of any size.
    BigNumber(Vec<u8>),
}

/// Why bytes are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No reply starts with this byte.
    #[error("no reply starts with byte {0:#04x}")]
    Kind(u8),
    /// A length, number or boolean that cannot be parsed, or a string not followed by a line end.
    #[error("malformed reply")]
    Malformed,
    /// A line longer than 64 KiB, a length above 2^30, or replies nested deeper than 32.
    #[error("reply too large or nested too deeply")]
    TooLarge,
}

/// The longest line of a reply (a simple string, an error, a number), in bytes.
const MAX_LINE: usize = 64 << 10;
/// The longest string and the most elements announced in a reply.
const MAX_LENGTH: i64 = 1 << 30;
/// The deepest nesting of replies. Redis's own stop at five.
const MAX_DEPTH: usize = 32;

/// One element of a reply: a value, or the head of an aggregate.
enum Element<'a> {
    /// A value within its line.
    Line(u8, &'a [u8]),
    /// A string of bytes.
    String(u8, &'a [u8]),
    Null,
    /// The head of an aggregate: how many elements follow.
    Aggregate(u8, usize),
}

/// Reads the element at `position`, searching for line ends from `searched` on. Returns it and the position of the next
/// one, or `None` while it is incomplete.
fn element<'a>(
    input: &'a [u8],
    position: usize,
    searched: &mut usize,
) -> Result<Option<(Element<'a>, usize)>, ReplyError> {
    let Some(&kind) = input.get(position) else { return Ok(None) };
    if !b"+-:$*_%~>,#=!(|".contains(&kind) {
        return Err(ReplyError::Kind(kind));
    }
    let from = (*searched).max(position);
    let end = input.get(from..).unwrap_or_default().iter().position(|&byte| byte == b'\n').map(|offset| from + offset);
    let length = end.unwrap_or(input.len()) - position;
    if length > MAX_LINE {
        return Err(ReplyError::TooLarge);
    }
    let Some(end) = end else {
        *searched = input.len();
        return Ok(None);
    };
    let line = input.get(position + 1..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ReplyError::Malformed)?;
    let next = end + 1;
    match kind {
        b'_' => Ok(Some((Element::Null, next))),
        b'$' | b'=' | b'!' => {
            let Some(length) = announced(line)? else { return Ok(Some((Element::Null, next))) };
            let Some(string) = input.get(next..next + length + 2) else {
                // When more arrives, the head is found again at once: its line is short, and the search starts at its
                // end.
                *searched = end;
                return Ok(None);
            };
            let string = string.strip_suffix(b"\r\n").ok_or(ReplyError::Malformed)?;
            Ok(Some((Element::String(kind, string), next + length + 2)))
        }
        b'*' | b'%' | b'~' | b'>' | b'|' => {
            let Some(count) = announced(line)? else { return Ok(Some((Element::Null, next))) };
            let pairs = matches!(kind, b'%' | b'|');
            Ok(Some((Element::Aggregate(kind, if pairs { count * 2 } else { count }), next)))
        }
        _ => Ok(Some((Element::Line(kind, line), next))),
    }
}

/// A length; `None` is the `-1` that stands for null in version 2.
fn announced(line: &[u8]) -> Result<Option<usize>, ReplyError> {
    match parse_integer(line) {
        Some(-1) => Ok(None),
        Some(length) if length > MAX_LENGTH => Err(ReplyError::TooLarge),
        Some(length) => usize::try_from(length).map(Some).map_err(|_| ReplyError::Malformed),
        None => Err(ReplyError::Malformed),
    }
}

/// Finds the end of one reply in a growing buffer without building the reply.
///
/// Nesting costs nothing: the state of an incomplete reply is one number, the elements still to come.
#[derive(Clone, Copy, Debug)]
pub struct ReplyScanner {
    position: usize,
    searched: usize,
    missing: usize,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self { position: 0, searched: 0, missing: 1 }
    }
}

impl ReplyScanner {
    /// The length of the reply at the front of `input`, once it is complete; the scanner is then ready for the next
    /// one. Until then, call again with the same bytes and more after them; each byte is scanned once.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, ReplyError> {
        while self.missing > 0 {
            let Some((element, next)) = element(input, self.position, &mut self.searched)? else { return Ok(None) };
            let more = match element {
                // An attribute stands before the element it describes.
                Element::Aggregate(b'|', elements) => elements + 1,
                Element::Aggregate(_, elements) => elements,
                Element::Line(..) | Element::String(..) | Element::Null => 0,
            };
            self.missing = (self.missing - 1).checked_add(more).ok_or(ReplyError::TooLarge)?;
            self.position = next;
            self.searched = next;
        }
        let length = self.position;
        *self = Self::default();
        Ok(Some(length))
    }
}

impl Reply {
    /// Builds the reply at the front of `input` and returns how many bytes it takes; `None` while it is incomplete.
    /// Attributes are dropped. Each call starts from the beginning: for a long reply, ask [`ReplyScanner`] first
    /// whether it is complete.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, ReplyError> {
        let mut position = 0;
        Ok(Self::build(input, &mut position, MAX_DEPTH)?.map(|reply| (reply, position)))
    }

    /// Recursion is bounded by `depth`.
    fn build(input: &[u8], position: &mut usize, depth: usize) -> Result<Option<Self>, ReplyError> {
        let depth = depth.checked_sub(1).ok_or(ReplyError::TooLarge)?;
        loop {
            let mut searched = *position;
            let Some((element, next)) = element(input, *position, &mut searched)? else { return Ok(None) };
            *position = next;
            let (kind, count) = match element {
                Element::Line(kind, line) => return Self::from_line(kind, line).map(Some),
                Element::String(kind, string) => return Self::from_string(kind, string).map(Some),
                Element::Null => return Ok(Some(Self::Null)),
                Element::Aggregate(kind, count) => (kind, count),
            };
            // No allocation in advance: the count is only announced.
            let mut elements = Vec::new();
            for _ in 0..count {
                let Some(element) = Self::build(input, position, depth)? else { return Ok(None) };
                elements.push(element);
            }
            match kind {
                b'*' => return Ok(Some(Self::Array(elements))),
                b'~' => return Ok(Some(Self::Set(elements))),
                b'>' => return Ok(Some(Self::Push(elements))),
                b'%' => return Ok(Some(Self::Map(pairs(elements)))),
                // An attribute: the reply that it describes follows.
                _ => {}
            }
        }
    }

    fn from_line(kind: u8, line: &[u8]) -> Result<Self, ReplyError> {
        let text = || std::str::from_utf8(line).map_err(|_| ReplyError::Malformed);
        match (kind, line) {
            (b'+', _) => Ok(Self::Simple(line.to_vec())),
            (b'-', _) => Ok(Self::Error(line.to_vec())),
            (b':', _) => parse_integer(line).map(Self::Integer).ok_or(ReplyError::Malformed),
            (b'#', b"t") => Ok(Self::Boolean(true)),
            (b'#', b"f") => Ok(Self::Boolean(false)),
            (b',', _) => text()?.parse().map(Self::Double).map_err(|_| ReplyError::Malformed),
            (b'(', _) => Ok(Self::BigNumber(line.to_vec())),
            _ => Err(ReplyError::Malformed),
        }
    }

    fn from_string(kind: u8, string: &[u8]) -> Result<Self, ReplyError> {
        match (kind, string) {
            (b'$', _) => Ok(Self::Bulk(string.to_vec())),
            (b'!', _) => Ok(Self::Error(string.to_vec())),
            (_, [a, b, c, b':', text @ ..]) => Ok(Self::Verbatim([*a, *b, *c], text.to_vec())),
            _ => Err(ReplyError::Malformed),
        }
    }
}

fn pairs(elements: Vec<Reply>) -> Vec<(Reply, Reply)> {
    let mut elements = elements.into_iter();
    std::iter::from_fn(|| elements.next().zip(elements.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(input: &[u8]) -> Reply {
        let (reply, length) = Reply::decode(input).expect("well formed").expect("complete");
        assert_eq!(length, input.len());
        assert_eq!(ReplyScanner::default().advance(input), Ok(Some(input.len())));
        reply
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut output = Vec::new();
        encode_command(&mut output, &["SET", "k", ""]);
        assert_eq!(output, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn every_type_is_read() {
        let text = |text: &str| text.as_bytes().to_vec();
        for (input, expected) in [
            ("+OK\r\n", Reply::Simple(text("OK"))),
            ("-ERR no\r\n", Reply::Error(text("ERR no"))),
            ("!6\r\nERR no\r\n", Reply::Error(text("ERR no"))),
            (":-7\r\n", Reply::Integer(-7)),
            ("$2\r\n\r\n\r\n", Reply::Bulk(text("\r\n"))),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            ("_\r\n", Reply::Null),
            ("*2\r\n*0\r\n:1\r\n", Reply::Array(vec![Reply::Array(vec![]), Reply::Integer(1)])),
            ("%1\r\n+a\r\n:1\r\n", Reply::Map(vec![(Reply::Simple(text("a")), Reply::Integer(1))])),
            ("~1\r\n#t\r\n", Reply::Set(vec![Reply::Boolean(true)])),
            (">1\r\n#f\r\n", Reply::Push(vec![Reply::Boolean(false)])),
            (",1.5\r\n", Reply::Double(1.5)),
            (",-inf\r\n", Reply::Double(f64::NEG_INFINITY)),
            ("=6\r\ntxt:hi\r\n", Reply::Verbatim(*b"txt", text("hi"))),
            ("(123456789012345678901234567890\r\n", Reply::BigNumber(text("123456789012345678901234567890"))),
            ("|1\r\n+ttl\r\n:5\r\n+OK\r\n", Reply::Simple(text("OK"))),
            ("*1\r\n|1\r\n+ttl\r\n:5\r\n+OK\r\n", Reply::Array(vec![Reply::Simple(text("OK"))])),
        ] {
            assert_eq!(decode(input.as_bytes()), expected, "{input:?}");
        }
    }

    #[test]
    fn invalid_replies_are_refused() {
        for (input, error) in [
            (&b"HTTP/1.1 400\r\n"[..], ReplyError::Kind(b'H')),
            (b"$3\r\nabcde", ReplyError::Malformed),
            (b"$-2\r\n", ReplyError::Malformed),
            (b"$?\r\n", ReplyError::Malformed),
            (b"+OK\n", ReplyError::Malformed),
            (b"*99999999999\r\n", ReplyError::TooLarge),
        ] {
            assert_eq!(Reply::decode(input), Err(error));
            assert_eq!(ReplyScanner::default().advance(input), Err(error));
        }
        assert_eq!(Reply::decode(b":x\r\n"), Err(ReplyError::Malformed));
    }

    #[test]
    fn nesting_is_bounded_where_it_would_recurse() {
        let nested = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(Reply::decode(&nested(MAX_DEPTH - 1)).is_ok_and(|reply| reply.is_some()));
        assert_eq!(Reply::decode(&nested(MAX_DEPTH)), Err(ReplyError::TooLarge));
        let deep = nested(100_000);
        assert_eq!(ReplyScanner::default().advance(&deep), Ok(Some(deep.len())));
    }

    proptest! {
        #[test]
        fn a_reply_ends_at_the_same_byte_however_it_arrives(
            strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
            cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            let mut input = format!("%1\r\n+k\r\n*{}\r\n", strings.len()).into_bytes();
            for string in &strings {
                head(&mut input, b'$', string.len());
                input.extend_from_slice(string);
                input.extend_from_slice(b"\r\n");
            }
            let length = input.len();
            input.extend_from_slice(b"+next\r\n");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < length).collect();
            cuts.sort_unstable();
            let mut scanner = ReplyScanner::default();
            for cut in cuts {
                prop_assert_eq!(scanner.advance(&input[..cut]), Ok(None));
                prop_assert_eq!(Reply::decode(&input[..cut]), Ok(None));
            }
            prop_assert_eq!(scanner.advance(&input), Ok(Some(length)));
            prop_assert_eq!(scanner.advance(&input[length..]), Ok(Some(7)));
            prop_assert_eq!(Reply::decode(&input).unwrap().unwrap().1, length);
        }
    }
}
