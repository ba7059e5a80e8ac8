//! The measurements second by second, of a run that may take days.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::histogram::DIGITS;

/// One second of the measured part.
#[derive(Clone, Debug)]
pub struct Second {
    /// From the intended time; of the answered requests, and of those that were given up.
    pub latency: Histogram<u32>,
    /// From the send; of the answered requests only.
    pub service: Histogram<u32>,
    /// Requests that failed.
    pub errors: u64,
}

impl Default for Second {
    fn default() -> Self {
        Self { latency: growing(), service: growing(), errors: 0 }
    }
}

/// One that starts small and grows with the largest value.
fn growing() -> Histogram<u32> {
    Histogram::new(DIGITS).expect("the number of digits is one the crate accepts")
}

/// All seconds of a run. Only the one in hand is kept as it is recorded into, some tens of kilobytes; the others are packed
/// to a few hundred bytes each, since there is one every second.
#[derive(Clone, Debug, Default)]
pub struct Seconds {
    packed: Vec<Packed>,
    /// The second in hand, and which it is.
    open: Option<(usize, Second)>,
}

impl Seconds {
    /// The second at `at` since the measured part began, to record into.
    pub fn at(&mut self, at: Duration) -> &mut Second {
        /// A day. A later second joins the last one, so that no clock can make the list long.
        const MOST: usize = 86_400;
        let index = usize::try_from(at.as_secs()).unwrap_or(MOST).min(MOST);
        if self.packed.len() <= index {
            self.packed.resize_with(index + 1, Packed::default);
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            self.close();
            self.open = self.packed.get(index).map(|packed| (index, packed.unpack()));
        }
        &mut self.open.get_or_insert_with(Default::default).1
    }

    fn close(&mut self) {
        if let Some((index, second)) = self.open.take()
            && let Some(packed) = self.packed.get_mut(index)
        {
            *packed = Packed::of(&second);
        }
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = Second> + '_ {
        self.packed.iter().enumerate().map(|(index, packed)| match &self.open {
            Some((open, second)) if *open == index => second.clone(),
            _ => packed.unpack(),
        })
    }

    /// Adds the measurements of others in the same seconds.
    pub fn merge(&mut self, other: &Self) {
        for (index, theirs) in (0..).zip(other.iter()) {
            let mine = self.at(Duration::from_secs(index));
            // They grow: adding cannot fail.
            let _ = mine.latency.add(&theirs.latency);
            let _ = mine.service.add(&theirs.service);
            mine.errors += theirs.errors;
        }
    }
}

/// A second that is over: its histograms without the zeros.
#[derive(Clone, Debug, Default)]
struct Packed {
    latency: Box<[u8]>,
    service: Box<[u8]>,
    errors: u64,
}

impl Packed {
    fn of(second: &Second) -> Self {
        Self { latency: pack(&second.latency), service: pack(&second.service), errors: second.errors }
    }

    fn unpack(&self) -> Second {
        Second { latency: unpack(&self.latency), service: unpack(&self.service), errors: self.errors }
    }
}

fn pack(histogram: &Histogram<u32>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    if !histogram.is_empty() {
        let packed = V2Serializer::new().serialize(histogram, &mut bytes);
        packed.expect("counts of 32 bits are within the format, and memory takes every byte");
    }
    bytes.into()
}

fn unpack(mut bytes: &[u8]) -> Histogram<u32> {
    if bytes.is_empty() {
        return growing();
    }
    let mut histogram: Histogram<u32> = Deserializer::new().deserialize(&mut bytes).expect("it was packed here");
    histogram.auto(true);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_are_over_take_little_and_are_the_same_and_can_be_added_to() {
        let mut seconds = Seconds::default();
        let mut expected = vec![Second::default(); 50];
        // Two thousand values between 0.1 and 40 ms, a late value of an earlier second, and an empty second.
        for number in (0..100_000_u64).filter(|number| number / 2000 != 7) {
            let second = if number % 1000 == 999 { number / 2000 / 2 } else { number / 2000 };
            let us = 100 + number.wrapping_mul(0x9e37_79b9) % 40_000;
            for second in
                [seconds.at(Duration::from_secs(second)), &mut expected[usize::try_from(second).expect("few")]]
            {
                second.latency.record(us).expect("it grows");
                second.service.record(us / 2).expect("it grows");
                second.errors += u64::from(us < 110);
            }
        }
        let found: Vec<Second> = seconds.iter().collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.latency == expected.latency && found.service == expected.service);
            assert_eq!(found.errors, expected.errors);
        }
        let size: usize = seconds.packed.iter().map(|packed| packed.latency.len() + packed.service.len()).sum();
        assert!(size < 50 * 6000, "{size} bytes");
        let mut sum = seconds.clone();
        sum.merge(&seconds);
        assert!(sum.iter().zip(&expected).all(|(sum, one)| sum.latency.len() == 2 * one.latency.len()));
    }
}
