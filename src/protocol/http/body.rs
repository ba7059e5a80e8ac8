//! Bodies: chunked framing (RFC 9112 section 7.1) and the gzip content coding.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use flate2::bufread::GzDecoder;

use super::lines::Lines;
use super::{HttpError, HttpLimits};

/// The longest chunk-size line with its extensions, or trailer field, in bytes. No client needs longer ones.
const LINE_MAX: usize = 256;
/// Chunks of one body. The smallest take six bytes each, so a body of framing alone costs time without data. A quarter
/// of a million take some 5 ms to scan, and carry 20 MiB in chunks of 80 bytes.
const CHUNKS_MAX: u32 = 1 << 18;
/// All trailer fields together, in bytes: they are skipped, never used.
const TRAILER_MAX: usize = 4 << 10;
/// Deflate can reach 1000:1, but text hardly ever passes 100:1.
const RATIO_MAX: usize = 100;
/// Below this decoded size no ratio is a threat.
const RATIO_FREE: usize = 1 << 20;

/// How the end of a body is determined (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug)]
pub(super) enum BodyFraming {
    Length(usize),
    Chunked(Chunks),
    /// Neither a length nor chunks: the response ends with its connection.
    UntilClose,
}

/// The body of a message whose head has been read.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Where the body begins in the input.
    pub(super) start: usize,
    pub(super) framing: BodyFraming,
    /// The body is compressed.
    pub(super) gzip: bool,
}

impl Body {
    /// Where the body ends, once its last byte has arrived; `at_end`: no more bytes will come.
    ///
    /// Rejects the message as soon as it is known to be too large.
    pub(super) fn end(&mut self, input: &[u8], at_end: bool, bounds: &HttpLimits) -> Result<Option<usize>, HttpError> {
        let (end, least) = match &mut self.framing {
            BodyFraming::Length(length) => {
                let end = self.start.saturating_add(*length);
                ((end <= input.len()).then_some(end), end)
            }
            BodyFraming::Chunked(chunks) => {
                // Bytes beyond the limit are not looked at, so that the error does not depend on how much has arrived.
                let end = chunks.end(input.get(..bounds.message).unwrap_or(input))?;
                (end, end.unwrap_or(chunks.least().max(input.len())))
            }
            BodyFraming::UntilClose => (at_end.then_some(input.len()), input.len()),
        };
        if least > bounds.message {
            return Err(HttpError::BodyTooLarge);
        }
        Ok(end)
    }

    /// The body that ends at `end`, with its codings undone; borrowed from `input` if it has none.
    pub(super) fn decode<'a>(
        &self,
        input: &'a [u8],
        end: usize,
        bounds: &HttpLimits,
    ) -> Result<Cow<'a, [u8]>, HttpError> {
        let body = match self.framing {
            BodyFraming::Chunked(_) => Cow::Owned(Chunks::collect(self.start, input)?),
            BodyFraming::Length(_) | BodyFraming::UntilClose => {
                Cow::Borrowed(input.get(self.start..end).unwrap_or_default())
            }
        };
        if self.gzip { gunzip(&body, bounds).map(Cow::Owned) } else { Ok(body) }
    }
}

/// A scan over chunked framing that can stop anywhere and continue when more bytes have arrived.
///
/// It keeps positions only. While the body arrives, the scan looks for its end; then [`collect`](Chunks::collect) scans
/// once more and copies the data. Chunk headers are few, so the second scan costs little more than the copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    lines: Lines,
    part: Part,
    trailer_start: usize,
    seen: u32,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// A line with a chunk size.
    Size,
    /// This many bytes of data are left.
    Data(usize),
    /// The CRLF after the data.
    DataEnd,
    Trailer,
}

/// The next part of the body in the scan.
enum Piece {
    /// Data, possibly only a part of its chunk.
    Data(Range<usize>),
    /// The end of the body: the position after its last byte.
    End(usize),
}

impl Chunks {
    /// A scan whose first chunk begins at `position`.
    pub(super) fn at(position: usize) -> Self {
        Self { lines: Lines::at(position), part: Part::Size, trailer_start: position, seen: 0 }
    }

    /// Scans the new bytes; returns the position after the body once its end is there.
    fn end(&mut self, input: &[u8]) -> Result<Option<usize>, HttpError> {
        while let Some(piece) = self.next(input)? {
            if let Piece::End(end) = piece {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The least length of the message, by the chunks announced so far.
    fn least(&self) -> usize {
        match self.part {
            Part::Data(left) => self.lines.position.saturating_add(left),
            Part::Size | Part::DataEnd | Part::Trailer => self.lines.position,
        }
    }

    /// The data of a complete body that begins at `position`.
    fn collect(position: usize, input: &[u8]) -> Result<Vec<u8>, HttpError> {
        let mut walk = Self::at(position);
        let mut data = Vec::new();
        while let Some(Piece::Data(range)) = walk.next(input)? {
            data.extend_from_slice(input.get(range).unwrap_or_default());
        }
        Ok(data)
    }

    fn next(&mut self, input: &[u8]) -> Result<Option<Piece>, HttpError> {
        loop {
            match self.part {
                Part::Data(left) => {
                    let start = self.lines.position;
                    let taken = left.min(input.len().saturating_sub(start));
                    if taken == 0 {
                        return Ok(None);
                    }
                    self.lines = Lines::at(start + taken);
                    self.part = if taken == left { Part::DataEnd } else { Part::Data(left - taken) };
                    return Ok(Some(Piece::Data(start..start + taken)));
                }
                Part::Size | Part::DataEnd | Part::Trailer => {
                    let Some(line) = self.line(input)? else { return Ok(None) };
                    if let Some(end) = self.take_line(input.get(line).unwrap_or_default())? {
                        return Ok(Some(Piece::End(end)));
                    }
                }
            }
        }
    }

    fn line(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, HttpError> {
        let most = self.lines.position.saturating_add(LINE_MAX + 2);
        match self.lines.next(input.get(..most).unwrap_or(input))? {
            None if input.len() >= most => Err(HttpError::Malformed("a line of chunked framing is too long")),
            line => Ok(line),
        }
    }

    /// Handles one line of framing; returns the end of the body if this was its last line.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<usize>, HttpError> {
        match self.part {
            Part::Size => {
                let size = chunk_size(line)?;
                self.seen += 1;
                if self.seen > CHUNKS_MAX {
                    return Err(HttpError::TooManyChunks);
                }
                self.trailer_start = self.lines.position;
                self.part = if size == 0 { Part::Trailer } else { Part::Data(size) };
            }
            Part::DataEnd if line.is_empty() => self.part = Part::Size,
            Part::DataEnd => return Err(HttpError::Malformed("a chunk is longer than its size")),
            Part::Trailer if line.is_empty() => return Ok(Some(self.lines.position)),
            Part::Trailer if self.lines.position - self.trailer_start > TRAILER_MAX => {
                return Err(HttpError::HeadTooLarge);
            }
            Part::Trailer | Part::Data(_) => {}
        }
        Ok(None)
    }
}

/// `1*HEXDIG [ chunk-ext ]`; extensions are ignored but must not contain control characters.
fn chunk_size(line: &[u8]) -> Result<usize, HttpError> {
    const MALFORMED: HttpError = HttpError::Malformed("a chunk size is not hexadecimal");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at_checked(digits).ok_or(MALFORMED)?;
    let extension = extension.trim_ascii();
    let legal = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    if digits.is_empty() || !(extension.is_empty() || extension.starts_with(b";") && extension.iter().all(legal)) {
        return Err(MALFORMED);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| MALFORMED)?;
    usize::from_str_radix(digits, 16).map_err(|_| HttpError::BodyTooLarge)
}

/// Undoes the gzip coding of a whole body, within limits on the result's size and on its ratio to the compressed size.
fn gunzip(body: &[u8], bounds: &HttpLimits) -> Result<Vec<u8>, HttpError> {
    let most = bounds.decoded.min(body.len().saturating_mul(RATIO_MAX).max(RATIO_FREE));
    let mut gzip = GzDecoder::new(body);
    let mut decoded = Vec::new();
    // One byte above the limit distinguishes a body that fits exactly from one that goes on.
    let read = gzip.by_ref().take(most as u64 + 1).read_to_end(&mut decoded).map_err(|_| HttpError::Gzip)?;
    if read > most {
        return Err(HttpError::BodyTooLarge);
    }
    // Only one member: a chain of empty ones would cost far more time than bytes.
    if !gzip.get_ref().is_empty() {
        return Err(HttpError::Gzip);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).expect("writes to memory");
        encoder.finish().expect("writes to memory")
    }

    fn read(input: &[u8]) -> Result<Option<(usize, Vec<u8>)>, HttpError> {
        let end = Chunks::at(0).end(input)?;
        end.map(|end| Ok((end, Chunks::collect(0, input)?))).transpose()
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let body = b"4\r\nWiki\r\n6 ; name=\"value\"\r\npedia \r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nnext";
        assert_eq!(read(body), Ok(Some((body.len() - 4, b"Wikipedia 0123456789".to_vec()))));
        assert_eq!(read(b"0\r\n\r\n"), Ok(Some((5, Vec::new()))));
        for cut in 0..body.len() - 4 {
            assert_eq!(read(&body[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for body in [
            &b"\r\n"[..],
            b"-1\r\n",
            b"0x4\r\nWiki\r\n",
            b"4 4\r\nWiki\r\n",
            b"4\r\nWikip\r\n",
            b"4\nWiki\r\n",
            b"4\r\nWiki\n",
            b"4;a=\x01\r\n",
            b";a\r\n",
        ] {
            assert!(matches!(read(body), Err(HttpError::Malformed(_))), "{:?}", String::from_utf8_lossy(body));
        }
        assert_eq!(read(b"fffffffffffffffff\r\n"), Err(HttpError::BodyTooLarge));
        assert!(read(format!("4;{}", "a".repeat(300)).as_bytes()).is_err());
        let small = |count: u32| format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(usize::try_from(count).expect("small")));
        assert!(read(small(CHUNKS_MAX - 1).as_bytes()).is_ok());
        assert_eq!(read(small(CHUNKS_MAX).as_bytes()), Err(HttpError::TooManyChunks));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(1000));
        assert_eq!(read(trailers.as_bytes()), Err(HttpError::HeadTooLarge));
    }

    #[test]
    fn gzip_is_bounded_in_size_and_ratio() {
        let bounds = HttpLimits { decoded: 8 << 20, ..HttpLimits::default() };
        let text = b"<methodCall/>".repeat(5000);
        assert_eq!(gunzip(&gzip(&text), &bounds), Ok(text));
        assert_eq!(gunzip(&gzip(&vec![0; RATIO_FREE]), &bounds), Ok(vec![0; RATIO_FREE]));
        assert_eq!(gunzip(&gzip(&vec![0; 4 << 20]), &bounds), Err(HttpError::BodyTooLarge));
        assert_eq!(gunzip(&gzip(b"12345"), &HttpLimits { decoded: 4, ..bounds }), Err(HttpError::BodyTooLarge));
        assert_eq!(gunzip(&gzip(b"1234"), &HttpLimits { decoded: 4, ..bounds }), Ok(b"1234".to_vec()));
    }

    #[test]
    fn broken_gzip_is_refused() {
        let bounds = HttpLimits::default();
        let good = gzip(b"hello hello hello");
        let mut trailing = good.clone();
        trailing.extend_from_slice(&gzip(b""));
        let mut flipped = good.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        for body in [&b""[..], b"not gzip", &good[..good.len() - 1], &trailing, &flipped] {
            assert_eq!(gunzip(body, &bounds), Err(HttpError::Gzip));
        }
    }
}
