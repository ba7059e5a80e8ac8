//! What is served: each built-in service is an ordinary [`Service`](crate::connection::Service).

mod builtin;
mod echo;
pub mod resp;
mod splice;
pub mod xmlrpc;

pub use builtin::{Builtin, BuiltinOptions, Protocol, Session};
pub use echo::Echo;
pub use splice::{Splice, Untried, UpstreamSecurity};
