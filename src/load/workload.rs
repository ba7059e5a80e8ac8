//! Operations, keys and values of a load. All of them follow from a seed.

#![expect(clippy::cast_precision_loss, reason = "key numbers and sizes stay far below 2^53")]

mod mix;
mod values;
mod zipf;

pub use mix::{Distribution, InvalidText, LONGEST_VALUE, Mix, Ratio, ValueSizes};
pub use values::Values;

use super::random::{LoadRandom, RandomPurpose};
use zipf::Zipf;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Set the key's value, or read it and verify it.
    pub kind: OperationKind,
    /// The number of the key, below [`Mix::keys`].
    pub key: u64,
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Get, and compare with the value that follows from the seed.
    Read,
    /// Set.
    Write,
}

/// The operations of one thread, without end.
#[derive(Clone, Debug)]
pub struct Workload {
    ratio: Ratio,
    keys: u64,
    chooser: Chooser,
    random: LoadRandom,
}

#[derive(Clone, Debug)]
enum Chooser {
    Uniform,
    Zipf(Zipf),
    Sequential { next: u64, step: u64 },
    HotSet { hot: u64, operations: f64 },
}

impl Workload {
    /// The operations of thread `index` of `of`: unrelated to the others', but for sequential keys, which interleave.
    #[must_use]
    pub fn new(mix: &Mix, index: u32, of: u32) -> Self {
        let keys = mix.keys.max(1);
        let chooser = match mix.distribution {
            Distribution::Uniform => Chooser::Uniform,
            Distribution::Zipf { exponent } => Chooser::Zipf(Zipf::new(keys, exponent)),
            Distribution::Sequential => Chooser::Sequential { next: u64::from(index), step: u64::from(of.max(1)) },
            Distribution::HotSet { keys: part, operations } => Chooser::HotSet { hot: part_of(keys, part), operations },
        };
        Self {
            ratio: mix.ratio,
            keys,
            chooser,
            random: LoadRandom::new(mix.seed, RandomPurpose::Workload.stream(index)),
        }
    }

    /// The next operation.
    pub fn next_operation(&mut self) -> Operation {
        let Ratio { writes, reads } = self.ratio;
        let write = self.random.below(u64::from(writes) + u64::from(reads)) < u64::from(writes);
        Operation { kind: if write { OperationKind::Write } else { OperationKind::Read }, key: self.next_key() }
    }

    fn next_key(&mut self) -> u64 {
        match &mut self.chooser {
            Chooser::Uniform => self.random.below(self.keys),
            Chooser::Zipf(zipf) => zipf.sample(&mut self.random),
            Chooser::Sequential { next, step } => {
                let key = *next % self.keys;
                *next = next.wrapping_add(*step);
                key
            }
            Chooser::HotSet { hot, operations } => {
                let cold = self.keys - *hot;
                if cold == 0 || (*hot > 0 && self.random.unit() < *operations) {
                    self.random.below(*hot)
                } else {
                    *hot + self.random.below(cold)
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part between 0 and 1 of a count")]
fn part_of(keys: u64, part: f64) -> u64 {
    ((keys as f64 * part).round() as u64).min(keys)
}

#[cfg(test)]
mod tests;
