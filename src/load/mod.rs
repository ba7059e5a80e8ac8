//! The load harness: when to ask, what to ask, what came back, and whether the run may be believed.
//!
//! A run is a [`schedule::Schedule`] and a [`workload::Mix`]; what it measured is a [`histogram::Recorder`]; what is said
//! about it is a [`report::Report`], from which every output is made.

pub mod barrier;
pub mod codec;
pub mod compare;
pub mod connection;
pub mod histogram;
pub mod outcome;
pub mod plan;
pub mod random;
pub mod readable;
pub mod recorder;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod second;
pub mod slo;
pub mod tally;
pub mod wording;
pub mod workload;
