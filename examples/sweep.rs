//! Runs many seeds of the simulation and prints what they covered:
//! `cargo run --release --example sweep -- 10000 [FIRST]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::process::ExitCode;

#[path = "../tests/simulation/client.rs"]
mod client;
#[path = "../tests/simulation/disk.rs"]
mod disk;
#[path = "../tests/simulation/expected_state.rs"]
mod expected_state;
#[path = "../tests/simulation/numbered_service.rs"]
mod numbered_service;
#[path = "../tests/simulation/oracle.rs"]
mod oracle;
#[path = "../tests/simulation/plan.rs"]
mod plan;
#[path = "../tests/simulation/protocol_model.rs"]
mod protocol_model;
#[path = "../tests/simulation/report.rs"]
mod report;
#[path = "../tests/simulation/restart.rs"]
mod restart;
#[path = "../tests/simulation/script.rs"]
mod script;
#[path = "../tests/simulation/service.rs"]
mod service;
#[path = "../tests/simulation/sweep.rs"]
mod sweep;
#[path = "../tests/simulation/topology.rs"]
mod topology;
#[path = "../tests/simulation/trust.rs"]
mod trust;
#[path = "../tests/simulation/world.rs"]
mod world;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (count, first) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(0));
    let (report, failures) = sweep::sweep(first..first + count);
    for (what, times) in &report.met {
        println!("{times:>12} {what}");
    }
    for what in report::everything().iter().filter(|what| !report.met.contains_key(*what)) {
        println!("{:>12} {what}", "never");
    }
    for failure in &failures {
        println!("{failure}");
    }
    for what in report::unexpected(&report) {
        println!("{:>12} {what}", "unexpected");
    }
    let played = report.seeds + failures.len() as u64;
    println!("{played} seeds, {} failed; {} steps, {} turns", failures.len(), report.steps, report.turns);
    println!("trace {:016x}", report.trace);
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
