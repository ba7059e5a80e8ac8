//! Where a report goes.

use std::fs::{self, OpenOptions};
use std::io;
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
    /// The run being stopped before its end
    Stopped,
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
            Allow::Stopped => Problem::Stopped,
            Allow::ClientBound => Problem::ClientBound,
        };
        self.allow.iter().map(problem).collect()
    }

    /// Refuses, before the run, what could not be written after it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let outputs = [("--json", &self.json), ("--csv", &self.csv), ("--hdr", &self.hdr), ("--report", &self.report)];
        let files: Vec<_> = outputs
            .into_iter()
            .filter_map(|(flag, path)| path.as_deref().filter(|path| *path != Path::new("-")).map(|path| (flag, path)))
            .collect();
        for (index, (flag, path)) in files.iter().enumerate() {
            if let Some((other, _)) = files.iter().take(index).find(|(_, earlier)| earlier == path) {
                return Err(Failure::usage(flag, format!("{} is the file of {other}, too", path.display())));
            }
            check_writable(path)
                .map_err(|error| Failure::usage(flag, format!("cannot write {}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// Writes every output that was asked for, and the table. One that fails costs none of the others: the run cannot be
    /// had again. The first failure is returned.
    pub(super) fn write(&self, report: &Report, seconds: &[Second]) -> Result<(), Failure> {
        let json = json(report)?;
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        if to_stdout {
            println!("{json}");
        } else {
            print!("{}", table::render(report));
        }
        let into = |flag, path: &Option<PathBuf>, bytes: &dyn Fn() -> Vec<u8>| {
            path.as_deref().map_or(Ok(()), |path| write(flag, path, &bytes()))
        };
        let written = [
            if to_stdout { Ok(()) } else { into("--json", &self.json, &|| json.clone().into()) },
            into("--csv", &self.csv, &|| csv::render(report).into()),
            into("--hdr", &self.hdr, &|| hdr::render(report, seconds)),
            into("--report", &self.report, &|| html::render(report).into()),
        ];
        written.into_iter().collect()
    }
}

/// Whether a file can be written; it is left as it was.
fn check_writable(path: &Path) -> io::Result<()> {
    if let Ok(metadata) = fs::metadata(path)
        && !metadata.is_file()
        && !metadata.is_dir()
    {
        // Opening a pipe would wait for its reader.
        return Ok(());
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        Err(error) => Err(error),
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
