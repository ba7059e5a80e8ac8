//! What is served: each built-in service is an ordinary [`Service`](crate::connection::Service).

mod echo;

pub use echo::Echo;
