//! From a request to its handler.

pub(crate) mod authorize;
