//! Bytes to requests, replies to bytes: what stands on the wire, and nothing about what it means.

pub mod proxy;
