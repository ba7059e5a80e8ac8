//! The buffer for encrypted input.

/// Bytes of one peer on their way to its [`Channel`](super::Channel). The memory is initialised once and reused, so
/// one buffer serves all connections of a loop.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Invariant: `consumed <= filled <= bytes.len()`; bytes after `filled` have no meaning.
    bytes: Vec<u8>,
    consumed: usize,
    filled: usize,
    /// An empty buffer for the next channel that retains bytes: one that has none to retain owns no memory.
    pub(super) spare: Vec<u8>,
}

impl Incoming {
    /// An empty buffer with memory for `size` bytes.
    #[must_use]
    pub fn with_size(size: usize) -> Self {
        Self { bytes: vec![0; size], ..Self::default() }
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

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()).get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
            self.advance(bytes.len());
        }
    }

    /// The bytes that are not consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.consumed..self.filled).unwrap_or_default()
    }

    /// The same bytes, to be decrypted in place.
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.consumed..self.filled).unwrap_or_default()
    }

    /// Marks `count` bytes from the front of [`unread`](Self::unread) as consumed.
    pub fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.filled);
    }

    /// Discards all bytes; keeps the memory.
    pub(super) fn clear(&mut self) {
        (self.consumed, self.filled) = (0, 0);
    }
}
