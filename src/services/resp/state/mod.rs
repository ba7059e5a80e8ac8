//! State of the service and its connections between requests.

mod clients;
mod options;
mod session;
mod statistics;

use std::collections::VecDeque;

use crate::metrics::Metrics;
use crate::store::Stats;
use crate::timer::Now;

pub(crate) use clients::{ClientState, Clients, DeferredList};
pub(crate) use options::{LEAST_BULK_BYTES, REDIS_VERSION};
pub use options::{ProcessorTime, RespOptions};
pub use session::RespSession;
pub(crate) use session::{Transaction, WatchedKey};
pub(crate) use statistics::{Baseline, Calls};

/// State that all connections of the service share, beside the store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: RespOptions,
    /// `proto-max-bulk-len`, which `CONFIG SET` changes.
    pub(crate) bulk_bytes: usize,
    pub(crate) started: Now,
    pub(crate) clients: Clients,
    /// By [`CommandId`](super::description::CommandId).
    pub(crate) calls: Vec<Calls>,
    pub(crate) baseline: Baseline,
    /// Requests refused before they were executed.
    pub(crate) rejected: u64,
    random: u64,
    /// Lists of all clients that take many turns, in the order in which they were asked for.
    pub(crate) lists: VecDeque<DeferredList>,
}

impl Core {
    /// The state of a service of so many commands that starts at `now`.
    pub(crate) fn new(options: RespOptions, commands: usize, now: Now) -> Self {
        Self {
            bulk_bytes: options.bulk_bytes,
            started: now,
            clients: Clients::default(),
            calls: vec![Calls::default(); commands],
            baseline: Baseline::default(),
            rejected: 0,
            random: options.seed,
            lists: VecDeque::new(),
            options,
        }
    }

    /// A number that need not be unpredictable: splitmix64.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// Resets statistics to the present values of the counters.
    pub(crate) fn reset_statistics(&mut self, metrics: &Metrics, store: Stats) {
        self.calls.fill(Calls::default());
        self.rejected = 0;
        self.baseline = Baseline { metrics: metrics.clone(), store };
    }
}

/// Spreads the bits of a number: the second half of splitmix64.
pub(crate) fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
