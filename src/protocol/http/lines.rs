//! Lines of a head or of chunked framing, each byte scanned once however the bytes arrive.

use std::ops::Range;

use super::HttpError;

/// A position in a buffer whose front does not move between calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Where the next line begins.
    pub(super) position: usize,
    /// No byte before this one ends that line.
    scanned: usize,
}

impl Lines {
    /// A cursor whose next line begins at `position`.
    pub(super) fn at(position: usize) -> Self {
        Self { position, scanned: position }
    }

    /// The next line without its CRLF, or `None` if its end has not arrived.
    ///
    /// RFC 9112 section 2.2 lets a recipient accept a bare LF as the end of a line. This one does not: an intermediary
    /// that does not end the line there would frame the message differently.
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, HttpError> {
        let unseen = input.get(self.scanned..).unwrap_or_default();
        let Some(offset) = unseen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            self.scanned = input.len();
            return Ok(None);
        };
        let end = self.scanned + offset;
        if input.get(end) == Some(&b'\n') {
            return Err(HttpError::Malformed("a line ends without CR"));
        }
        match input.get(end + 1) {
            None => {
                self.scanned = end;
                Ok(None)
            }
            Some(b'\n') => {
                let line = self.position..end;
                *self = Self::at(end + 2);
                Ok(Some(line))
            }
            Some(_) => Err(HttpError::Malformed("a CR without LF")),
        }
    }
}
