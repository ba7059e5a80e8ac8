//! The buffer for encrypted output.

use super::reused_buffer::ReusedBuffer;

/// Bytes to be sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: ReusedBuffer,
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
        self.bytes.filled_from(0)
    }

    /// Discards all bytes; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// At least `size` writable bytes after the filled ones.
    pub fn space(&mut self, size: usize) -> &mut [u8] {
        self.bytes.space(size)
    }

    /// Marks `count` bytes of [`space`](Self::space) as filled.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// Appends bytes unchanged.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.append(bytes);
    }

    /// Frees memory if an unusually large reply has grown the buffer beyond `limit`.
    pub fn shrink(&mut self, limit: usize) {
        self.bytes.shrink(limit);
    }
}
