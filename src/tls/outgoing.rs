//! The buffer that encrypted bytes are written into.

/// Bytes on their way out: initialised once, then reused, so that room for a record costs no zeroing.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Invariant: `filled <= bytes.len()`; what lies behind `filled` is of no meaning.
    bytes: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    /// The largest plaintext of one record (RFC 8446, 5.1).
    pub(super) const RECORD_BYTES: usize = 16_384;

    /// What a record adds to its plaintext, at most, in the suites offered: header 5, explicit nonce 8, content type
    /// 1, tag 16.
    const RECORD_OVERHEAD: usize = 30;

    /// An upper bound on the encrypted size of `plaintext` bytes, a key update before them included.
    #[must_use]
    pub fn encrypted_size(plaintext: usize) -> usize {
        plaintext + (plaintext / Self::RECORD_BYTES + 2) * Self::RECORD_OVERHEAD
    }

    /// What is waiting to be sent.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Forgets all that is waiting; keeps the memory.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// At least `size` writable bytes behind what is filled.
    pub fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.filled < size {
            self.bytes.resize(self.filled + size, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// `count` bytes of [`space`](Self::space) have been written.
    pub fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// Adds bytes as they are.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()).get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            self.advance(bytes.len());
        }
    }

    /// Gives memory back when an unusual reply has made the buffer larger than `limit`.
    pub fn shrink(&mut self, limit: usize) {
        if self.filled == 0 && self.bytes.len() > limit {
            self.bytes.truncate(limit);
            self.bytes.shrink_to_fit();
        }
    }
}
