//! Buffers that one loop lends to its connections.

use crate::tls::{Incoming, Outgoing};

/// Bytes read from a socket in one call: four records of the largest size, which still fit a core's own cache.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Spare buffers that are kept; more are freed.
const SPARES: usize = 256;

/// A larger spare came from an unusual request and is freed too.
const SPARE_BYTES: usize = 64 << 10;

/// The buffers of one loop: for reading and decrypting input, for encrypting output, and small spares for bytes that a
/// connection must keep between phases. An idle connection owns none of them.
#[derive(Debug)]
pub struct Scratch {
    pub(super) input: Incoming,
    pub(super) output: Outgoing,
    spares: Vec<Vec<u8>>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: Incoming::with_size(2 * READ_BYTES), output: Outgoing::default(), spares: Vec::new() }
    }
}

impl Scratch {
    /// An empty buffer, with capacity if there is a spare.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARES && (1..=SPARE_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.spares.push(buffer);
        }
    }
}

/// Frees most of the capacity of a large buffer with little left in it. It halves at least, so it costs little for each
/// byte that was in it.
pub(super) fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > SPARE_BYTES && buffer.len() < buffer.capacity() / 4 {
        buffer.shrink_to(2 * buffer.len());
    }
}
