//! The serial numbers on a revocation list.

use std::collections::BTreeMap;

/// A set of serial numbers in few allocations: the list of a large CA has millions, and a set that allocates each takes
/// the loop a tenth of a second to free.
#[derive(Debug, Default)]
pub(super) struct Serials {
    /// By their length in bytes: all of that length, ascending, one after the other. None is longer than an entry.
    by_length: BTreeMap<usize, Vec<u8>>,
}

impl Serials {
    pub(super) fn contains(&self, serial: &[u8]) -> bool {
        let Some(all) = self.by_length.get(&serial.len()) else { return false };
        // The empty one, which is 0, is the only one of its length.
        let count = all.len().checked_div(serial.len()).unwrap_or(1);
        let at = |index: usize| all.get(index * serial.len()..(index + 1) * serial.len()).unwrap_or_default();
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match at(middle).cmp(serial) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }

    /// How many allocations it is.
    #[cfg(test)]
    fn allocations(&self) -> usize {
        self.by_length.len()
    }
}

impl<'a> FromIterator<&'a [u8]> for Serials {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(serials: I) -> Self {
        let mut sorted: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for serial in serials {
            sorted.entry(serial.len()).or_default().push(serial);
        }
        let joined = sorted.into_iter().map(|(length, mut serials)| {
            serials.sort_unstable();
            serials.dedup();
            (length, serials.concat())
        });
        Self { by_length: joined.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_serial_numbers_are_found_and_no_others() {
        let listed: [&[u8]; 7] = [&[], &[1], &[255], &[7, 0], &[7, 1], &[1], &[9; 20]];
        let serials: Serials = listed.into_iter().collect();
        for serial in listed {
            assert!(serials.contains(serial), "{serial:?}");
        }
        for serial in [&[2][..], &[7, 2], &[7], &[1, 1], &[9; 19], &[9; 21], &[8; 20], &[255; 20]] {
            assert!(!serials.contains(serial), "{serial:?}");
        }
        assert!(!Serials::default().contains(&[]));
        let even: Vec<[u8; 4]> = (0..50_000_u32).rev().map(|number| (2 * number).to_be_bytes()).collect();
        let serials: Serials = even.iter().map(<[u8; 4]>::as_slice).collect();
        assert!((0..100_000_u32).all(|number| serials.contains(&number.to_be_bytes()) == number.is_multiple_of(2)));
    }

    #[test]
    fn a_long_list_is_few_allocations() {
        let numbers: Vec<[u8; 16]> = (0..100_000_u128).map(u128::to_be_bytes).collect();
        let serials: Serials = numbers.iter().map(<[u8; 16]>::as_slice).collect();
        assert_eq!(serials.allocations(), 1);
    }
}
