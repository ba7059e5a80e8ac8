//! Ways to split a stream of bytes, for tests.

use proptest::prelude::*;

/// Positions where pieces may end, before [`sort`].
pub(crate) fn any_cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..1_000, 0..12)
}

/// The positions within `length` bytes, in order.
pub(crate) fn sort(mut cuts: Vec<usize>, length: usize) -> Vec<usize> {
    for cut in &mut cuts {
        *cut = cut.checked_rem(length).unwrap_or(0);
    }
    cuts.sort_unstable();
    cuts
}
