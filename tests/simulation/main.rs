//! The whole server on simulated sockets and a simulated clock, under faults drawn from a seed.
//!
//! A failure names its seed: `SEED=17 cargo test --test simulation` plays it again. `SEEDS=10000` plays more of them.

mod client;
mod desk;
mod plan;
mod script;
mod world;

/// Seeds in a usual run.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_whatever_goes_wrong() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let failures: Vec<_> = seeds.filter_map(|seed| world::run(seed).err()).map(|failure| failure.to_string()).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Seed 8 runs over TLS.
    for seed in [1, 2, 8] {
        let [one, two] = [(); 2].map(|()| world::run(seed).map_err(|failure| failure.to_string()));
        assert_eq!(one, two);
    }
}
