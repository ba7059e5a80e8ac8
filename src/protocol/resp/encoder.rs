//! Replies to bytes, in both versions of the protocol.

use super::number::Digits;

/// The version of the protocol that a client has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RespVersion {
    /// Version 2, which every connection starts with.
    #[default]
    Resp2,
    /// Version 3, which adds maps, sets, doubles, booleans, and a single null.
    Resp3,
}

/// Appends replies to a buffer. A type that version 2 lacks is written as Redis writes it.
#[derive(Debug)]
pub struct Encoder<'a> {
    output: &'a mut Vec<u8>,
    protocol: RespVersion,
}

impl<'a> Encoder<'a> {
    /// Appends to `output` as a client of `protocol` expects it.
    pub fn new(output: &'a mut Vec<u8>, protocol: RespVersion) -> Self {
        Self { output, protocol }
    }

    /// Bytes in the buffer so far, those of earlier replies included.
    #[must_use]
    pub fn position(&self) -> usize {
        self.output.len()
    }

    /// Removes everything written after `position`.
    pub fn rewind(&mut self, position: usize) {
        self.output.truncate(position);
    }

    fn head(&mut self, kind: u8, number: i64) {
        self.output.push(kind);
        self.output.extend_from_slice(Digits::new(number).as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.output.push(kind);
        // A line break would end the reply early and let a caller forge the next one.
        self.output.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.output.extend_from_slice(b"\r\n");
    }

    /// Appends replies, or elements of an array, that are encoded already.
    pub fn encoded(&mut self, replies: &[u8]) {
        self.output.extend_from_slice(replies);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.output.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. Line breaks in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error; `text` starts with its code, such as `ERR`. Line breaks in it become spaces.
    pub fn error(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.head(b':', value);
    }

    /// A length, a count or a size, as an integer.
    pub fn count(&mut self, value: usize) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A string of any bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', length(bytes.len()));
        self.output.extend_from_slice(bytes);
        self.output.extend_from_slice(b"\r\n");
    }

    /// Null, in the place of a string.
    pub fn null(&mut self) {
        self.output.extend_from_slice(match self.protocol {
            RespVersion::Resp2 => b"$-1\r\n",
            RespVersion::Resp3 => b"_\r\n",
        });
    }

    /// Null, in the place of an array.
    pub fn null_array(&mut self) {
        self.output.extend_from_slice(match self.protocol {
            RespVersion::Resp2 => b"*-1\r\n",
            RespVersion::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array; `elements` replies follow.
    pub fn array(&mut self, elements: usize) {
        self.head(b'*', length(elements));
    }

    /// The head of a map; twice `pairs` replies follow.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            RespVersion::Resp2 => self.head(b'*', length(pairs.saturating_mul(2))),
            RespVersion::Resp3 => self.head(b'%', length(pairs)),
        }
    }

    /// The head of a set; `elements` replies follow.
    pub fn set(&mut self, elements: usize) {
        let kind = if self.protocol == RespVersion::Resp2 { b'*' } else { b'~' };
        self.head(kind, length(elements));
    }

    /// The head of a push message, which answers no request; `elements` replies follow.
    pub fn push(&mut self, elements: usize) {
        let kind = if self.protocol == RespVersion::Resp2 { b'*' } else { b'>' };
        self.head(kind, length(elements));
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        match self.protocol {
            RespVersion::Resp2 => self.integer(i64::from(value)),
            RespVersion::Resp3 => self.output.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A floating-point number, in the shortest text that reads back as the same number.
    pub fn double(&mut self, value: f64) {
        let text = if value.is_nan() {
            String::from("nan")
        } else if value.is_infinite() {
            String::from(if value > 0.0 { "inf" } else { "-inf" })
        } else {
            value.to_string()
        };
        match self.protocol {
            RespVersion::Resp2 => self.bulk(text.as_bytes()),
            RespVersion::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// Text for people.
    pub fn verbatim(&mut self, text: &[u8]) {
        self.verbatim_head(text.len());
        self.output.extend_from_slice(text);
        self.output.extend_from_slice(b"\r\n");
    }

    /// The head of such a text of this many bytes; a line end follows the text.
    pub fn verbatim_head(&mut self, bytes: usize) {
        match self.protocol {
            RespVersion::Resp2 => self.head(b'$', length(bytes)),
            RespVersion::Resp3 => {
                self.head(b'=', length(bytes.saturating_add(4)));
                self.output.extend_from_slice(b"txt:");
            }
        }
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Encoder<'_>)) -> (String, String) {
        let [old, new] = [RespVersion::Resp2, RespVersion::Resp3].map(|protocol| {
            let mut output = Vec::new();
            write(&mut Encoder::new(&mut output, protocol));
            String::from_utf8(output).expect("ASCII")
        });
        (old, new)
    }

    #[test]
    fn types_common_to_both_versions_are_encoded_alike() {
        for (write, expected) in [
            ((|e| e.ok()) as fn(&mut Encoder<'_>), "+OK\r\n"),
            (|e| e.simple("QUEUED"), "+QUEUED\r\n"),
            (|e| e.error(b"ERR no"), "-ERR no\r\n"),
            (|e| e.integer(-42), ":-42\r\n"),
            (|e| e.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n"),
            (|e| e.bulk(b""), "$0\r\n\r\n"),
            (|e| e.array(0), "*0\r\n"),
        ] {
            assert_eq!(both(write), (expected.to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn version_3_types_have_a_version_2_form() {
        for (write, old, new) in [
            ((|e| e.null()) as fn(&mut Encoder<'_>), "$-1\r\n", "_\r\n"),
            (|e| e.null_array(), "*-1\r\n", "_\r\n"),
            (|e| e.map(2), "*4\r\n", "%2\r\n"),
            (|e| e.set(2), "*2\r\n", "~2\r\n"),
            (|e| e.push(2), "*2\r\n", ">2\r\n"),
            (|e| e.boolean(true), ":1\r\n", "#t\r\n"),
            (|e| e.boolean(false), ":0\r\n", "#f\r\n"),
            (|e| e.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|e| e.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
            (|e| e.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
            (|e| e.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n"),
            (|e| e.verbatim(b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ] {
            assert_eq!(both(write), (old.to_owned(), new.to_owned()));
        }
    }

    #[test]
    fn quoted_text_cannot_break_a_line() {
        assert_eq!(both(|e| e.error(b"ERR 'a\r\n+OK'")).0, "-ERR 'a  +OK'\r\n");
    }
}
