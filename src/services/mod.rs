//! The built-in services: each is an ordinary [`Service`](crate::connection::Service).

pub mod admin;
mod builtin;
mod echo;
mod http;
mod key_value;
pub mod resp;
mod splice;
pub mod xmlrpc;

pub use builtin::{Builtin, BuiltinOptions, BuiltinSession, Protocol, Protocols};
pub use echo::Echo;
pub use http::HttpSession;
pub use key_value::{KeyValue, StoreProtocol};
pub use splice::{Renewable, Splice, Untried, UpstreamSecurity};
