//! The composition of a load: writes and reads, keys, and sizes of values, each with its text.

use std::fmt;
use std::str::FromStr;

/// The composition of the load.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Writes to reads.
    pub ratio: Ratio,
    /// How many keys there are; at least one.
    pub keys: u64,
    /// How often each key is chosen.
    pub distribution: Distribution,
    /// How long values are.
    pub sizes: ValueSizes,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Writes to reads, `1:10` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Parts that write.
    pub writes: u32,
    /// Parts that read.
    pub reads: u32,
}

/// How often each key is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All equally often.
    Uniform,
    /// The k-th most popular key in proportion to 1/k^s; key 0 is the most popular.
    Zipf {
        /// The exponent, more than zero.
        exponent: f64,
    },
    /// One after the other, over and over.
    Sequential,
    /// The first part of the keys gets its own part of the operations; within both parts all are equally likely.
    HotSet {
        /// Part of the keys, 0 to 1.
        keys: f64,
        /// Part of the operations, 0 to 1.
        operations: f64,
    },
}

/// How long values are, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSizes {
    /// All the same.
    Fixed(usize),
    /// Uniform between the two, both included.
    Range(usize, usize),
    /// Each size with its weight; not empty, and the weights are more than zero.
    Weighted(Vec<(usize, u32)>),
}

/// The longest value a workload may use.
pub const LONGEST_VALUE: usize = 64 << 20;

/// Text that names no ratio, distribution or size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidText(&'static str);

impl FromStr for Ratio {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const EXPECTED: InvalidText = InvalidText("WRITES:READS, not both zero, such as 1:10");
        let (writes, reads) = text.split_once(':').ok_or(EXPECTED)?;
        let parts = (writes.parse(), reads.parse());
        match parts {
            (Ok(writes), Ok(reads)) if (writes, reads) != (0, 0) => Ok(Self { writes, reads }),
            _ => Err(EXPECTED),
        }
    }
}

impl FromStr for Distribution {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const EXPECTED: InvalidText = InvalidText(
            "uniform, sequential, zipf:EXPONENT or hot:KEYS%:OPERATIONS%, such as zipf:0.99 or hot:10%:90%",
        );
        let percent = |text: &str| {
            let number: f64 = text.strip_suffix('%')?.parse().ok()?;
            (0.0..=100.0).contains(&number).then_some(number / 100.0)
        };
        match (text, text.split_once(':')) {
            ("uniform", _) => Ok(Self::Uniform),
            ("sequential", _) => Ok(Self::Sequential),
            (_, Some(("zipf", exponent))) => match exponent.parse() {
                Ok(exponent) if exponent > 0.0 && exponent <= 10.0 => Ok(Self::Zipf { exponent }),
                _ => Err(EXPECTED),
            },
            (_, Some(("hot", parts))) => {
                let (keys, operations) = parts.split_once(':').ok_or(EXPECTED)?;
                let (keys, operations) = percent(keys).zip(percent(operations)).ok_or(EXPECTED)?;
                Ok(Self::HotSet { keys, operations })
            }
            _ => Err(EXPECTED),
        }
    }
}

impl FromStr for ValueSizes {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const EXPECTED: InvalidText = InvalidText("bytes up to 64 MiB: SIZE, LOW-HIGH or SIZE:WEIGHT,SIZE:WEIGHT...");
        let size = |text: &str| text.parse().ok().filter(|size| *size <= LONGEST_VALUE).ok_or(EXPECTED);
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (size(low)?, size(high)?);
            return if low <= high { Ok(Self::Range(low, high)) } else { Err(EXPECTED) };
        }
        if !text.contains(':') {
            return size(text).map(Self::Fixed);
        }
        let weighted = text.split(',').map(|item| {
            let (bytes, weight) = item.split_once(':').ok_or(EXPECTED)?;
            let weight = weight.parse().ok().filter(|weight| *weight > 0).ok_or(EXPECTED)?;
            Ok((size(bytes)?, weight))
        });
        weighted.collect::<Result<_, _>>().map(Self::Weighted)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Sequential => f.write_str("sequential"),
            Self::Zipf { exponent } => write!(f, "zipf:{exponent}"),
            Self::HotSet { keys, operations } => write!(f, "hot:{}%:{}%", keys * 100.0, operations * 100.0),
        }
    }
}

impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Range(low, high) => write!(f, "{low}-{high}"),
            Self::Weighted(items) => {
                let items: Vec<_> = items.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                f.write_str(&items.join(","))
            }
        }
    }
}

impl ValueSizes {
    /// The shortest value.
    #[must_use]
    pub fn shortest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Range(size, _) => *size,
            Self::Weighted(items) => items.iter().map(|(size, _)| *size).min().unwrap_or(0),
        }
    }

    /// The longest value.
    #[must_use]
    pub fn longest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Range(_, size) => *size,
            Self::Weighted(items) => items.iter().map(|(size, _)| *size).max().unwrap_or(0),
        }
    }

    /// The size that 64 random bits choose.
    pub(super) fn choose(&self, bits: u64) -> usize {
        let below = |bound: u64| ((u128::from(bits) * u128::from(bound)) >> 64) as u64;
        match self {
            Self::Fixed(size) => *size,
            Self::Range(low, high) => low + usize::try_from(below((high - low) as u64 + 1)).unwrap_or(0),
            Self::Weighted(items) => {
                let total = items.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut left = below(total);
                for (size, weight) in items {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(rest) => left = rest,
                        None => return *size,
                    }
                }
                0
            }
        }
    }
}
