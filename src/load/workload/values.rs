//! The bytes of keys and values.

use super::mix::ValueSizes;
use crate::load::random::{LoadRandom, mix};

/// The bytes of keys and values. A value follows from its key's number and the seed alone, so a reader can tell
/// whether every byte is right.
#[derive(Clone, Debug)]
pub struct Values {
    sizes: ValueSizes,
    seed: u64,
    first_key: [u8; KEY_BYTES],
    /// Random printable text; every value is a slice of it, so making or checking one is a copy or a compare.
    text: Vec<u8>,
}

/// Bytes of a key's name.
const KEY_BYTES: usize = 24;

/// Values begin at this many different places of the text.
const OFFSETS: usize = 256 << 10;

impl Values {
    /// The values of a workload.
    #[must_use]
    pub fn new(sizes: &ValueSizes, seed: u64) -> Self {
        const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let mut random = LoadRandom::new(seed, u64::MAX);
        let mut text = Vec::new();
        while text.len() < sizes.longest() + OFFSETS {
            let letters = random.next_u64().to_le_bytes();
            text.extend(letters.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63))));
        }
        // Keys of runs with other seeds or other sizes must not meet, or a leftover would look like a wrong value.
        let dataset = format!("{sizes:?}").bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let mut first_key = *b"lk:00000000:000000000000";
        for (letter, digit) in first_key.iter_mut().skip(3).zip(format!("{:08x}", dataset >> 32).bytes()) {
            *letter = digit;
        }
        Self { sizes: sizes.clone(), seed, first_key, text }
    }

    /// The value of key number `key`: printable ASCII that needs no escaping in RESP, XML or JSON.
    #[must_use]
    pub fn value(&self, key: u64) -> &[u8] {
        let bits = mix(self.seed ^ mix(key));
        let offset = usize::try_from(bits).unwrap_or(0) % OFFSETS;
        let size = self.sizes.choose(mix(bits));
        self.text.get(offset..offset + size).unwrap_or_default()
    }

    /// What the names of all keys begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        let length = self.first_key.len() - 12;
        String::from_utf8_lossy(self.first_key.get(..length).unwrap_or_default()).into_owned()
    }

    /// The name of key number `key`: `lk:`, the mark of the data set, `:`, and the last twelve digits of the number.
    /// Names differ between seeds and sizes.
    #[must_use]
    pub fn key(&self, key: u64) -> [u8; KEY_BYTES] {
        let mut name = self.first_key;
        let mut rest = key;
        for digit in name.iter_mut().rev().take(12) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        name
    }
}
