//! Buffers that one loop lends to all its connections.

use crate::tls::Outgoing;

/// Bytes read from a socket at once. Four records of the largest size, and still at home in a core's own cache.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Spare buffers kept; more are given back to the allocator.
const SPARES: usize = 256;

/// A spare larger than this came from an unusual request and is given back too.
const SPARE_BYTES: usize = 64 << 10;

/// The buffers of one loop: where input is read and decrypted, where output is encrypted, and small spares for what a
/// connection must hold between phases. An idle connection owns none of them.
#[derive(Debug)]
pub struct Scratch {
    pub(super) input: Vec<u8>,
    pub(super) output: Outgoing,
    spares: Vec<Vec<u8>>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; 2 * READ_BYTES], output: Outgoing::default(), spares: Vec::new() }
    }
}

impl Scratch {
    /// An empty buffer, with room in it if one is spare.
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

/// Gives back most of the room of a large buffer that has little left in it. Halving at least, it costs little for each
/// byte that was in it.
pub(super) fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > SPARE_BYTES && buffer.len() < buffer.capacity() / 4 {
        buffer.shrink_to(2 * buffer.len());
    }
}
