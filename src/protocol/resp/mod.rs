//! RESP, the Redis serialization protocol, versions 2 and 3 (redis.io/docs/latest/develop/reference/protocol-spec).
//!
//! The server half turns bytes into requests ([`Decoder`]) and writes replies ([`Encoder`]); the client half writes
//! requests ([`encode_command`]) and reads replies ([`ReplyScanner`] finds where one ends, [`Reply`] builds it).

mod decoder;
mod encoder;
mod inline;
mod number;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod reply;

pub(crate) use decoder::Span;
pub use decoder::{Arguments, Decoder, Request, RequestError, RequestLimits};
pub use encoder::{Encoder, RespVersion};
pub use number::{Digits, parse_integer};
pub use reply::{Reply, ReplyError, ReplyScanner, encode_command};
