//! Where a report goes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::Failure;
use crate::load::histogram::Second;
use crate::load::outcome::Problem;
use crate::load::report::{Report, csv, hdr, html, table};
use crate::load::slo::Objective;

/// What is demanded of a run, and where its report goes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Outcome")]
pub(super) struct OutputArgs {
    /// Fail with exit code 4 unless this holds, such as 'p99<5ms', 'errors<0.1%' or 'rate>=10000' [repeatable]
    #[arg(long, value_name = "OBJECTIVE")]
    slo: Vec<Objective>,
    /// Do not fail because of this [repeatable]
    #[arg(long, value_enum, value_name = "PROBLEM")]
    allow: Vec<Allow>,
    /// Write the report as JSON; '-' is stdout, which then gets no table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one line a second as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write histograms second by second as an HDR log, in microseconds
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write the report as a page with charts
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Allow {
    /// Requests or connections that failed
    Errors,
    /// Less sent than asked for
    SentLess,
    /// This client being the bottleneck
    ClientBound,
}

impl OutputArgs {
    pub(super) fn objectives(&self) -> Vec<Objective> {
        self.slo.clone()
    }

    pub(super) fn allowed(&self) -> Vec<Problem> {
        let problem = |allow: &Allow| match allow {
            Allow::Errors => Problem::Errors,
            Allow::SentLess => Problem::SentLess,
            Allow::ClientBound => Problem::ClientBound,
        };
        self.allow.iter().map(problem).collect()
    }

    /// Writes every output that was asked for, and the table.
    pub(super) fn write(&self, report: &Report, seconds: &[Second]) -> Result<(), Failure> {
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        if to_stdout {
            println!("{}", json(report)?);
        } else {
            print!("{}", table::render(report));
            if let Some(path) = &self.json {
                write("--json", path, json(report)?.as_bytes())?;
            }
        }
        if let Some(path) = &self.csv {
            write("--csv", path, csv::render(report).as_bytes())?;
        }
        if let Some(path) = &self.hdr {
            write("--hdr", path, &hdr::render(report, seconds))?;
        }
        if let Some(path) = &self.report {
            write("--report", path, html::render(report).as_bytes())?;
        }
        Ok(())
    }
}

fn json(report: &Report) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|error| Failure::Other(error.to_string()))
}

/// Writes a whole file; the error names the flag.
pub(super) fn write(flag: &str, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::Other(format!("{flag}: cannot write {}: {error}", path.display())))
}
