//! Transactions.

pub(crate) mod transaction;
