//! What is served: each built-in service is an ordinary [`Service`].

mod builtin;
mod echo;
pub mod resp;
pub mod xmlrpc;

pub use builtin::{Builtin, BuiltinOptions, Protocol, Session};
pub use echo::Echo;
