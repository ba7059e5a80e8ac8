//! The buffer for encrypted output.

/// Bytes to be sent. The memory is initialised once and reused, so that room for a record costs no zeroing.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Invariant: `filled <= bytes.len()`; bytes after `filled` have no meaning.
    bytes: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    /// The largest plaintext of one record (RFC 8446, 5.1).
    pub(super) const RECORD_BYTES: usize = 16_384;

    /// The most that a record adds to its plaintext in the offered suites: header 5, explicit nonce 8, content type 1,
    /// tag 16.
    const RECORD_OVERHEAD: usize = 30;

    /// An upper bound on the encrypted size of `plaintext` bytes, a preceding key update included.
    #[must_use]
    pub fn encrypted_size(plaintext: usize) -> usize {
        plaintext + (plaintext / Self::RECORD_BYTES + 2) * Self::RECORD_OVERHEAD
    }

    /// The bytes to be sent.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Discards all bytes; keeps the memory.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// At least `size` writable bytes after the filled ones.
    pub fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.filled < size {
            self.bytes.resize(self.filled + size, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Marks `count` bytes of [`space`](Self::space) as filled.
    pub fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// Appends bytes unchanged.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()).get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            self.advance(bytes.len());
        }
    }

    /// Frees memory if an unusually large reply has grown the buffer beyond `limit`.
    pub fn shrink(&mut self, limit: usize) {
        if self.filled == 0 && self.bytes.len() > limit {
            self.bytes.truncate(limit);
            self.bytes.shrink_to_fit();
        }
    }
}
