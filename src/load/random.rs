//! A small seeded generator: the same seed gives the same run on every machine.

#![expect(clippy::cast_precision_loss, reason = "random numbers are cut to the 53 bits that a double holds")]

/// One step of SplitMix64's output function (Steele, Lea and Flood, 2014): spreads every input bit over the word.
#[must_use]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The use of random numbers. Two uses never share a stream: operations must not follow from arrival times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomPurpose {
    /// Operations and their keys.
    Workload,
    /// The gaps between arrivals.
    Arrivals,
}

impl RandomPurpose {
    /// The stream of thread number `thread`.
    #[must_use]
    pub fn stream(self, thread: u32) -> u64 {
        (self as u64) << 32 | u64::from(thread)
    }
}

/// SplitMix64. Not for secrets: load needs speed and repeatability.
#[derive(Clone, Debug)]
pub struct LoadRandom {
    state: u64,
}

impl LoadRandom {
    /// A generator for one purpose (see [`RandomPurpose::stream`]): equal seeds with different `stream`s give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { state: mix(seed ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15))) }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in `0.0..1.0`, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0. The bias of at most `bound` in 2^64 is far below what any run can see.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponentially distributed with mean 1: the gap between arrivals of a Poisson process of rate 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_with_their_seed_and_differ_between_streams() {
        let take = |seed, stream| {
            let mut random = LoadRandom::new(seed, stream);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn bounded_numbers_are_uniform() {
        let mut random = LoadRandom::new(7, 0);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[usize::try_from(random.below(10)).expect("below ten")] += 1;
        }
        // Expected 10,000 each with a standard deviation of 95: six of them.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 570), "{counts:?}");
        assert_eq!(random.below(0), 0);
    }
}
