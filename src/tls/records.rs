//! The record layer of TLS, parsed before rustls sees it: where records end (RFC 8446, 5.1) and what a ClientHello
//! offers (RFC 8446, 4.1.2).
//!
//! Anyone on the path can choose how a peer's bytes are split into packets, so nothing may depend on it. A handshake is
//! therefore processed record by record, however many bytes have arrived, and lengths are checked where they are
//! declared.

use rustls::NamedGroup;

/// Content type, version and length.
const HEADER: usize = 5;
/// The longest payload, protection included, that rustls accepts.
const PAYLOAD: usize = 16_384 + 2_048;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// The bytes at a place where a record should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Less than a header.
    Begun,
    /// A header whose record ends at `end`, and not all bytes of that record.
    Partial {
        /// The content type.
        kind: u8,
        /// The position after its last byte.
        end: usize,
    },
    /// A complete record.
    Whole {
        /// The content type.
        kind: u8,
        /// The position after its last byte.
        end: usize,
    },
    /// Not a TLS record; rustls reports the error.
    Foreign,
}

/// The record that begins at `from`.
pub(super) fn record_at(input: &[u8], from: usize) -> Record {
    let bytes = input.get(from..).unwrap_or_default();
    let is_foreign = bytes.first().is_some_and(|kind| !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(kind))
        || bytes.get(1).is_some_and(|major| *major != 3);
    if is_foreign {
        return Record::Foreign;
    }
    let Some(&[kind, _, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Record::Begun };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PAYLOAD {
        return Record::Foreign;
    }
    let end = from + HEADER + length;
    if end <= input.len() { Record::Whole { kind, end } } else { Record::Partial { kind, end } }
}

/// The content types of the records in `output`, which contains complete ones.
pub(super) fn kinds(output: &[u8]) -> impl Iterator<Item = u8> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let Record::Whole { kind, end } = record_at(output, from) else { return None };
        from = end;
        Some(kind)
    })
}

/// A ClientHello that is still arriving. Each byte is examined once, however small the pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hello {
    /// Where the next record begins.
    scanned: usize,
    /// Bytes of the message in the records before that.
    gathered: usize,
    /// The first bytes of the message: its type, and its length in 24 bits.
    head: [u8; 4],
}

/// The state of a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// More bytes are needed.
    NeedMore,
    /// The handshake can begin with the records before this position: they contain the whole hello, or something else.
    Start(usize),
    /// Its declared length, or that of its records, exceeds the limit.
    TooLong,
}

impl Hello {
    /// Examines `input`, all bytes that the client has sent so far. `longest` limits the message, `most` the records
    /// that carry it.
    pub(super) fn look(&mut self, input: &[u8], longest: usize, most: usize) -> Look {
        loop {
            let record = record_at(input, self.scanned);
            let (Record::Whole { kind, end } | Record::Partial { kind, end }) = record else {
                return if record == Record::Begun { Look::NeedMore } else { Look::Start(self.scanned) };
            };
            if kind != HANDSHAKE {
                return Look::Start(self.scanned);
            }
            let payload = input.get(self.scanned + HEADER..end.min(input.len())).unwrap_or_default();
            let (mut head, known) = (self.head, self.gathered + payload.len());
            for (to, from) in head.iter_mut().skip(self.gathered).zip(payload) {
                *to = *from;
            }
            let [_, length @ ..] = head;
            let declared = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if end > most || known >= head.len() && declared > longest {
                return Look::TooLong;
            }
            if matches!(record, Record::Partial { .. }) {
                return Look::NeedMore;
            }
            *self = Self { scanned: end, gathered: known, head };
            // Anything but a ClientHello is left to rustls to reject; bytes after a ClientHello are not examined before
            // it is answered.
            if head.first() != Some(&CLIENT_HELLO) && known > 0 || known >= head.len() + declared && known >= head.len()
            {
                return Look::Start(end);
            }
        }
    }
}

const CLIENT_HELLO: u8 = 1;

/// Whether the ClientHello in `records` offers X25519MLKEM768, at any place in its list. False for anything else, which
/// rustls then answers.
pub(super) fn offers_post_quantum(records: &[u8]) -> bool {
    let mut message = Vec::with_capacity(records.len());
    let mut from = 0;
    while let Record::Whole { kind: HANDSHAKE, end } = record_at(records, from) {
        message.extend_from_slice(records.get(from + HEADER..end).unwrap_or_default());
        from = end;
    }
    groups(&message).is_some_and(|mut groups| groups.any(|group| group == NamedGroup::X25519MLKEM768))
}

/// The supported groups in a ClientHello (RFC 8446, 4.1.2 and 4.2.7).
fn groups(message: &[u8]) -> Option<impl Iterator<Item = NamedGroup>> {
    const SUPPORTED_GROUPS: usize = 10;
    let (kind, mut rest) = message.split_first()?;
    if *kind != CLIENT_HELLO {
        return None;
    }
    let mut body = sized(&mut rest, 3)?;
    // Version and random; then session, suites and compression.
    body = body.get(2 + 32..)?;
    for width in [1, 2, 1] {
        sized(&mut body, width)?;
    }
    let mut extensions = sized(&mut body, 2)?;
    loop {
        let kind = number(&mut extensions, 2)?;
        let mut content = sized(&mut extensions, 2)?;
        if kind == SUPPORTED_GROUPS {
            let list = sized(&mut content, 2)?;
            return Some(list.as_chunks().0.iter().map(|pair| NamedGroup::from(u16::from_be_bytes(*pair))));
        }
    }
}

/// Takes a number of `width` bytes from the front.
fn number(from: &mut &[u8], width: usize) -> Option<usize> {
    let (bytes, rest) = from.split_at_checked(width)?;
    *from = rest;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Takes a vector whose length precedes it in `width` bytes.
fn sized<'a>(from: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = number(from, width)?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
