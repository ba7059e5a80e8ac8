//! What is served: each built-in service is an ordinary [`Service`](crate::connection::Service).

pub mod admin;
mod builtin;
mod echo;
mod http;
pub mod resp;
mod splice;
pub mod xmlrpc;

pub use builtin::{Builtin, BuiltinOptions, BuiltinSession, Protocol};
pub use echo::Echo;
pub use http::HttpSession;
pub use splice::{Renewable, Splice, Untried, UpstreamSecurity};
