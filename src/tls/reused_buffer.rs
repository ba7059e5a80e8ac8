//! A buffer whose memory is initialised once and reused.

/// Bytes at the front of memory that stays initialised, so that room for more costs no zeroing.
#[derive(Debug, Default)]
pub(super) struct ReusedBuffer {
    /// Invariant: `filled <= bytes.len()`; bytes after `filled` have no meaning.
    bytes: Vec<u8>,
    filled: usize,
}

impl ReusedBuffer {
    /// An empty buffer with memory for `size` bytes.
    pub(super) fn with_size(size: usize) -> Self {
        Self { bytes: vec![0; size], filled: 0 }
    }

    /// The number of filled bytes.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// The filled bytes from `start` on.
    pub(super) fn filled_from(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.filled).unwrap_or_default()
    }

    /// The same, writable.
    pub(super) fn filled_from_mut(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start..self.filled).unwrap_or_default()
    }

    /// At least `size` writable bytes after the filled ones.
    pub(super) fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.filled < size {
            self.bytes.resize(self.filled + size, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Marks `count` bytes of [`space`](Self::space) as filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()).get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            self.advance(bytes.len());
        }
    }

    /// Discards all bytes; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Frees memory beyond `limit` if no byte is filled.
    pub(super) fn shrink(&mut self, limit: usize) {
        if self.filled == 0 && self.bytes.len() > limit {
            self.bytes.truncate(limit);
            self.bytes.shrink_to_fit();
        }
    }
}
