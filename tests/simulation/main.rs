//! The whole server on simulated sockets and a simulated clock, with faults drawn from a seed.
//!
//! A failure names its seed: `SEED=17 cargo test --test simulation` replays it. `SEEDS=10000` runs more of them.
//! [docs/simulation.md](../../docs/simulation.md) describes how to examine a seed, and how to add a fault.

mod client;
mod disk;
mod expected_state;
mod numbered_service;
mod oracle;
mod plan;
mod protocol_model;
mod report;
mod restart;
mod script;
mod service;
mod sweep;
mod topology;
mod trust;
mod world;

/// Number of seeds in a usual run.
const SEEDS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_under_faults() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let is_usual = seeds.end - seeds.start >= SEEDS;
    let (report, failures) = sweep::sweep(seeds);
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
    let missed: Vec<_> = report::everything().into_iter().filter(|what| !report.met.contains_key(what)).collect();
    assert!(missed.is_empty() || !is_usual, "never met: {missed:?}");
    let unexpected = report::unexpected(&report);
    assert!(unexpected.is_empty(), "met, although listed as out of reach: {unexpected:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Every fourth seed runs over TLS.
    for seed in [1, 2, 3, 4, 8, 12] {
        let [one, two] = [(); 2].map(|()| world::run(seed).map_err(|failure| failure.to_string()));
        assert_eq!(one, two);
    }
}
