//! The load harness: it sends requests at their times, checks the answers, and judges whether the run is valid.
//!
//! A [`plan::Plan`] describes a run: above all its [`schedule::Schedule`] and its [`workload::Mix`]. A [`runner::Runner`]
//! is one thread of it and counts into a [`tally::Tally`]. Every output is made from a [`report::Report`].

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
