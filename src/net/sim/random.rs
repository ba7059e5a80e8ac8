//! Repeatable random numbers.

use std::time::Duration;

/// A stream of numbers that depends only on its seed (splitmix64, for which every seed is good).
#[derive(Clone, Debug)]
pub struct SimRandom {
    state: u64,
}

impl SimRandom {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`; 0 when `bound` is 0. The bias of the remainder does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// A size of at least `low` and at most `high`, both included.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        let span = high.saturating_sub(low) as u64;
        low + usize::try_from(self.below(span.saturating_add(1))).unwrap_or(0)
    }

    /// A time shorter than `bound`, in whole microseconds.
    pub fn time(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)))
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        const STEPS: u32 = 1 << 24;
        let drawn = u32::try_from(self.below(u64::from(STEPS))).unwrap_or(0);
        f64::from(drawn) < probability * f64::from(STEPS)
    }

    /// One of `choices`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.size(0, choices.len().saturating_sub(1)))
    }

    /// One of `choices`, of which there is at least one.
    #[expect(clippy::indexing_slicing, reason = "the remainder is less than the number of choices")]
    pub fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        const { assert!(N > 0, "nothing to choose from") };
        choices[self.size(0, N - 1) % N]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_within_its_bounds() {
        let (mut one, mut two) = (SimRandom::new(7), SimRandom::new(7));
        for _ in 0..1000 {
            assert_eq!(one.bits(), two.bits());
            assert!((3..=5).contains(&one.size(3, 5)));
            assert!((3..=5).contains(&two.size(3, 5)));
        }
        assert_ne!(SimRandom::new(1).bits(), SimRandom::new(2).bits());
        assert!(!one.chance(0.0) && one.chance(1.0));
        assert_eq!(one.pick::<u8>(&[]), None);
    }
}
