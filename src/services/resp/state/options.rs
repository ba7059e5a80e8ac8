//! The bounds of the service, and what it may ask the process for.

use std::time::{Duration, Instant};

/// The version of Redis that the service reports.
pub(crate) const REDIS_VERSION: &str = "7.2.0";

/// Redis accepts no less for `proto-max-bulk-len`.
pub(crate) const LEAST_BULK_BYTES: usize = 1 << 20;

/// Bounds that keep any one command short, and values for `CONFIG GET`.
#[derive(Clone, Debug)]
pub struct RespOptions {
    /// The longest argument, and the longest string a command may make: `proto-max-bulk-len`.
    pub bulk_bytes: usize,
    /// Keys named in one command (`MGET`, `MSET`, `DEL`, `EXISTS`, `WATCH`).
    pub keys_per_command: usize,
    /// Keys that one step of `KEYS` visits; the next step is done in the next turn.
    pub keys_per_step: usize,
    /// `KEYS` within a transaction, where it cannot be done in steps, is refused when the store holds more keys than this.
    pub keys_searched: usize,
    /// Keys that one `SCAN` visits at most, whatever its `COUNT`.
    pub scan_count: usize,
    /// The product of the lengths of two strings that `LCS` compares.
    pub lcs_cells: usize,
    /// Connections that `CLIENT KILL`, and `CLIENT LIST` within a transaction, visit.
    pub clients_visited: usize,
    /// The arguments of all commands of one transaction; a long-running command counts as 4,096.
    pub transaction_cost: usize,
    /// `maxmemory`, in bytes; 0 for none.
    pub max_memory: u64,
    /// `maxmemory-policy`, in Redis's words.
    pub max_memory_policy: &'static str,
    /// `timeout`, in seconds; 0 for none.
    pub idle_seconds: u64,
    /// The clock for `INFO commandstats`; without it no call is timed.
    pub clock: Option<fn() -> Instant>,
    /// Reads the processor time that the process has taken, for `INFO cpu`.
    pub processor_time: Option<fn() -> Option<ProcessorTime>>,
    /// Seeds the choice of `RANDOMKEY`.
    pub seed: u64,
}

impl Default for RespOptions {
    fn default() -> Self {
        Self {
            bulk_bytes: 512 << 20,
            // Two milliseconds of lookups in a table far larger than the caches.
            keys_per_command: 16_384,
            // Half a millisecond.
            keys_per_step: 4096,
            keys_searched: 65_536,
            scan_count: 10_000,
            // A millisecond.
            lcs_cells: 1 << 20,
            // A few milliseconds, which is acceptable for an operator's command.
            clients_visited: 65_536,
            transaction_cost: 65_536,
            max_memory: 0,
            max_memory_policy: "noeviction",
            idle_seconds: 0,
            clock: None,
            processor_time: None,
            seed: 0,
        }
    }
}

/// Processor time that a process has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// In its own code.
    pub user: Duration,
    /// In the system's.
    pub system: Duration,
}
