//! Hostile clients on real sockets against the real program, an honest client beside them.
//!
//! `HOSTILE_SCALE=10 cargo test --test hostile -- --nocapture` is ten times as hostile. Each test prints the longest that
//! the honest client has waited.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "tests drive real processes in real time")]

mod attack;
#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod descriptors;
mod honest;
mod requests;
