//! The family of commands that Redis calls `strings`.

pub(crate) mod extended;
pub(crate) mod lcs;
pub(crate) mod numbers;
pub(crate) mod values;
