//! Plays many seeds of the simulation and tells what was met: `cargo run --release --example sweep -- 10000 [FIRST]`.

use std::collections::BTreeMap;
use std::process::ExitCode;

#[path = "../tests/simulation/client.rs"]
mod client;
#[path = "../tests/simulation/desk.rs"]
mod desk;
#[path = "../tests/simulation/plan.rs"]
mod plan;
#[path = "../tests/simulation/script.rs"]
mod script;
#[path = "../tests/simulation/world.rs"]
mod world;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (count, first) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(0));
    let (mut faults, mut conducts) = (BTreeMap::new(), BTreeMap::new());
    let mut trace = 0_u64;
    let (mut steps, mut turns, mut tls, mut drained, mut refused, mut failed) = (0, 0, 0, 0, 0, 0);
    for seed in first..first + count {
        match world::run(seed) {
            Err(failure) => {
                println!("{failure}");
                failed += 1;
            }
            Ok(report) => {
                // The same for the same seeds, in any process.
                trace = (trace ^ report.trace).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                steps += report.steps;
                turns += report.turns;
                tls += u64::from(report.tls);
                drained += u64::from(report.drained);
                refused += report.refused;
                report.faults.iter().for_each(|(fault, times)| *faults.entry(*fault).or_insert(0) += times);
                report.conducts.iter().for_each(|(conduct, times)| *conducts.entry(*conduct).or_insert(0) += times);
            }
        }
    }
    println!("{count} seeds, {failed} failed: {tls} over TLS, {drained} drained, {refused} clients refused");
    println!("trace {trace:016x}");
    println!("{steps} steps, {turns} turns\nfaults: {faults:?}\nclients: {conducts:?}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
