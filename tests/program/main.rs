//! The built program, driven from outside: real processes, real sockets, and the clients and servers that people have.
//!
//! One binary, because each test binary is linked anew and runs alone: `cargo test --test program load::` runs one module.
//! Every test starts its own server in its own folder and on free ports, so the tests of all modules run beside each
//! other. Tests that need the machine for themselves are in [`hostile`](../hostile/main.rs).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "tests drive real processes in real time")]
#![allow(clippy::similar_names, unreachable_pub, reason = "not a library")]

// Starts the program, and clients of it. `tests/hostile` and `tests/library` use it too.
#[path = "../common/mod.rs"]
mod common;

// --- First contact ---

// What a stranger does first: every command that README and the program print, as pasted.
mod first_minutes;
// README and each page of docs/: every command, run in order, prints what the page shows.
mod documents;
// The Python clients of the recipe, unchanged.
mod recipe;
// Flags and files that are refused: exit code 2 and one sentence.
mod flags;
// Output to a full disk, a closed pipe or a lost terminal.
mod terminal;

// --- Protocols ---

// Echo: large data, half-close, back-pressure, drain.
mod echo;
// `--threads`: limits, counters, drain and resumption over several loops.
mod threads;
// XML-RPC over HTTPS, with Python, curl and OpenSSL.
mod xmlrpc;
// RESP, with redis-cli, redis-benchmark and the client libraries of Python and Node.js.
mod resp;
// Malformed input of every protocol: the answer, the reason in the log, its counter.
mod bad_input;
// TCP itself: urgent data, and socket buffers that hold more than their reader has read.
mod sockets;

// --- Security ---

// Each flag of `--client-ca`, `--client-pin`, `--crl`, `--pq` ... has an effect that a peer sees.
mod trust;
// Rules of `--authorize` over both protocols.
mod authorize;
// Reload of certificates, revocation lists and rules while clients are connected.
mod reload;
// Certificate chains that are costly to search.
mod forged_chains;
// No private key material in any output.
mod key_leaks;

// --- Operation ---

// Metrics, health and the rest of `--admin`.
mod admin;
// SIGTERM and SIGINT: drain.
mod drain;
// `--data`: kill, restart, a full disk, backups.
mod durability;

// --- The other commands ---

// `wrap`: a TLS tunnel in front of real servers.
mod wrap;
// `call` and `connect`, with slow and malicious servers.
mod call;
// `load` with latchkey's servers: outputs and exit codes.
mod load;
// `load` with the servers of others: Redis, nginx, Python.
mod load_peers;
// What `load` writes, as read by Chromium and HdrHistogram.
mod report;
