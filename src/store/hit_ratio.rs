//! The hit ratio of eviction, compared with an exact LRU of the same size.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::testing;

const KEYS: u32 = 20_000;
const READS: u32 = 300_000;

/// Reads with a Zipf distribution: the key of rank `n` is read in proportion to `1/n`.
struct Zipf {
    /// The share of reads of this rank or a lower one.
    below: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new() -> Self {
        let mut sum = 0.0;
        let mut below: Vec<f64> = (1..=KEYS)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        for share in &mut below {
            *share /= sum;
        }
        Self { below, state: 1 }
    }

    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let point = f64::from(u32::try_from(self.state >> 32).unwrap()) / f64::from(u32::MAX);
        u32::try_from(self.below.partition_point(|share| *share < point)).unwrap()
    }
}

/// Keys in the exact order of their last use.
#[derive(Default)]
struct Lru {
    used: HashMap<u32, u32>,
    order: BTreeMap<u32, u32>,
}

impl Lru {
    /// Reads a key at `time` and keeps it, evicting the least recently used. Returns whether it was there.
    fn read(&mut self, key: u32, time: u32, capacity: usize) -> bool {
        let before = self.used.insert(key, time);
        before.map(|time| self.order.remove(&time));
        self.order.insert(time, key);
        while self.used.len() > capacity {
            let (_, oldest) = self.order.pop_first().unwrap();
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}

#[test]
fn the_hit_ratio_of_eviction_is_near_that_of_an_exact_lru() {
    let now = testing::now(1);
    for eviction in [Eviction::AllKeys, Eviction::Volatile] {
        let max_memory = 400_000;
        let mut store = Store::new(StoreOptions {
            max_memory: Some(max_memory),
            eviction,
            hash_key: [7; 16],
            ..StoreOptions::default()
        });
        let (mut zipf, mut found) = (Zipf::new(), 0);
        let mut trace = Vec::new();
        for _ in 0..READS {
            let key = zipf.next();
            trace.push(key);
            if store.get(&key.to_be_bytes(), now).is_some() {
                found += 1;
            } else {
                store.set(&key.to_be_bytes(), Kind::Bytes, &[0; 100], Expiry::At(1000), now).unwrap();
            }
            assert!(store.memory() <= max_memory + 3 * 4096, "{}", store.memory());
        }
        let capacity = store.len();
        assert!(capacity > 2000 && capacity < 4000, "a part of all: {capacity}");
        let mut lru = Lru::default();
        let exact = (0..).zip(&trace).filter(|(time, key)| lru.read(**key, *time, capacity)).count();
        // Another secret of the hash function changes up to two in a hundred reads.
        assert!(found + trace.len() / 50 >= exact, "{found} found, {exact} by an exact LRU of {capacity} keys");
    }
}
