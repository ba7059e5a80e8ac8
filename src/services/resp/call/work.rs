//! The cost of work in a client's share of the turn, in requests.

use crate::store::Entry;

/// The cost of a byte of an array or a struct that is read and written as text, in bytes that are copied.
pub(crate) const TYPED_FACTOR: usize = 8;

/// The cost of copying so many bytes: the loop moves some 16 KiB while another request is served.
pub(crate) fn copying(bytes: usize) -> usize {
    bytes >> 14
}

/// The cost of writing a value as its text, which only those of another protocol's types need.
pub(crate) fn rewriting(entry: &Entry<'_>) -> usize {
    if entry.kind.is_plain() { 0 } else { copying(entry.data.len().saturating_mul(TYPED_FACTOR)) }
}
