//! Runs many seeds, on as many threads as there are processors.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::report::Report;
use crate::world::{self, StorageError};

/// After this many failures no further seed is begun.
const FAILURES: u64 = 10;

/// Runs `seeds`. Their reports are added in their order.
pub(crate) fn sweep(seeds: Range<u64>) -> (Report, Vec<StorageError>) {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let play = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.load(Ordering::Relaxed) >= FAILURES {
                return results;
            }
            let result = world::run(seed);
            failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
            results.push((seed, result));
        }
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(play)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a simulation panicked")).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    let (mut report, mut failures) = (Report::default(), Vec::new());
    for (_, result) in results {
        match result {
            Ok(one) => report.add(&one),
            Err(failure) => failures.push(failure),
        }
    }
    (report, failures)
}
