//! Ways to cut a stream of bytes, for tests.

use proptest::prelude::*;

/// Places where pieces may end, before [`sort`].
pub(crate) fn any_cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..1_000, 0..12)
}

/// The places within `length` bytes, in their order.
pub(crate) fn sort(mut cuts: Vec<usize>, length: usize) -> Vec<usize> {
    for cut in &mut cuts {
        *cut = cut.checked_rem(length).unwrap_or(0);
    }
    cuts.sort_unstable();
    cuts
}
