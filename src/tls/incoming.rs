//! The buffer for encrypted input.

use super::reused_buffer::ReusedBuffer;

/// Bytes of one peer on their way to its [`Channel`](super::Channel). One buffer serves
/// all connections of a loop.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: ReusedBuffer,
    /// Invariant: at most the number of filled bytes.
    consumed: usize,
    /// An empty buffer for the next channel that retains bytes: one that has none to retain owns no memory.
    pub(super) spare: Vec<u8>,
}

impl Incoming {
    /// An empty buffer with memory for `size` bytes.
    #[must_use]
    pub fn with_size(size: usize) -> Self {
        Self { bytes: ReusedBuffer::with_size(size), ..Self::default() }
    }

    /// At least `size` writable bytes after the filled ones.
    pub fn space(&mut self, size: usize) -> &mut [u8] {
        self.bytes.space(size)
    }

    /// Marks `count` bytes of [`space`](Self::space) as filled.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.append(bytes);
    }

    /// The bytes that are not consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.filled_from(self.consumed)
    }

    /// The same bytes, to be decrypted in place.
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        self.bytes.filled_from_mut(self.consumed)
    }

    /// Marks `count` bytes from the front of [`unread`](Self::unread) as consumed.
    pub fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.bytes.len());
    }

    /// Discards all bytes; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.consumed = 0;
        self.bytes.clear();
    }
}
