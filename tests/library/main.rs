//! The library, used as another crate would: without the program, against OpenSSL, Python, real sockets and simulated ones.
//!
//! `cargo test --test library revocation::` runs one module.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "tests drive real servers in real time")]

#[path = "../common/mod.rs"]
mod common;

// Certificates of ours under OpenSSL's and Python's verifiers, and OpenSSL's under ours.
mod certificates;
// Revocation: generated hierarchies, judged by OpenSSL and by us.
mod revocation;
// Several loops on real threads: who serves a connection, what a panic does.
mod several_loops;
// What `certs check` says of other verifiers, compared with those verifiers.
mod verdicts;
// Replies that wait for the disk: the real loop over a simulated disk.
mod commit_wait;
// Linked connections: a server that dials another one.
mod link;
// Conversations on the simulated network, in any pieces; also the fuzz targets' code.
mod conversation;
// The programs in `examples/`, one against the other.
mod examples;
