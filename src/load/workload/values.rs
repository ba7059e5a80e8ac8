//! The bytes of keys and values.

use super::Sizes;
use crate::load::random::{Random, mix};

/// The bytes of keys and values. A value follows from its key's number and the seed alone, so whoever reads it can tell
/// whether every byte is right.
#[derive(Clone, Debug)]
pub struct Values {
    sizes: Sizes,
    seed: u64,
    dataset: u32,
    /// Random printable text; every value is a slice of it, so making or checking one is a copy or a compare.
    text: Vec<u8>,
}

/// Values begin at this many different places of the text.
const OFFSETS: usize = 256 << 10;

impl Values {
    /// The values of a workload.
    #[must_use]
    pub fn new(sizes: &Sizes, seed: u64) -> Self {
        const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let mut random = Random::new(seed, u64::MAX);
        let mut text = Vec::new();
        while text.len() < sizes.longest() + OFFSETS {
            let letters = random.next_u64().to_le_bytes();
            text.extend(letters.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63))));
        }
        // Keys of runs with other seeds or other sizes must not meet, or a leftover would look like a wrong value.
        let dataset = format!("{sizes:?}").bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        Self { sizes: sizes.clone(), seed, dataset: (dataset >> 32) as u32, text }
    }

    /// The value of key number `key`: printable ASCII that needs no escaping in RESP, XML or JSON.
    #[must_use]
    pub fn value(&self, key: u64) -> &[u8] {
        let bits = mix(self.seed ^ mix(key));
        let offset = usize::try_from(bits).unwrap_or(0) % OFFSETS;
        let size = self.sizes.choose(mix(bits));
        self.text.get(offset..offset + size).unwrap_or_default()
    }

    /// Appends the name of key number `key`. Names are of equal length and differ between seeds and sizes.
    pub fn write_key(&self, key: u64, name: &mut Vec<u8>) {
        use std::io::Write;
        // Writing to a vector cannot fail.
        let _ = write!(name, "lk:{:08x}:{key:012}", self.dataset);
    }
}
