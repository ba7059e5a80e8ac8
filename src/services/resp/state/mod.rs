//! What the service and its connections remember.

pub(crate) mod session;
