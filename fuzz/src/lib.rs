//! Shared by the fuzz targets.
#![forbid(unsafe_code)]

/// Where the pieces of `input` end, in order. The places are derived from the input and not part of it, so that seeds
/// stay what was on the wire, and the same input is always split in the same way.
pub fn cuts(input: &[u8]) -> Vec<usize> {
    // FNV-1a, which is enough to spread them.
    let mut hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut cuts = Vec::new();
    for _ in 0..hash % 6 {
        hash = hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        cuts.push(usize::try_from(hash >> 33).unwrap_or(0) % (input.len() + 1));
    }
    cuts.sort_unstable();
    cuts
}
