//! `load compare` and `load merge`: what is done with the reports of runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::outputs::{check, is_same, is_stdout, write};
use crate::cli::terminal::show;
use crate::cli::{Failure, files};
use crate::load::compare::{compare as compare_runs, obstacle, other_protocol, render_page, render_table};
use crate::load::histogram::Percentiles;
use crate::load::report::{Report, hdr, json, merged, table};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Reports of side A, as --json writes them; with no `--`, the two reports A and B
    #[arg(required = true, value_name = "A.json")]
    a: Vec<PathBuf>,
    /// Reports of side B
    #[arg(last = true, value_name = "B.json")]
    b: Vec<PathBuf>,
    /// Write the comparison as a page with charts; '-' is stdout, which then gets no table
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// HDR logs, as --hdr writes them; their seconds are counted from each log's own start
    #[arg(required = true, value_name = "FILE.hdr")]
    files: Vec<PathBuf>,
    /// Write the sum as an HDR log; '-' is stdout, which then gets no table
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write the sum as a page with charts; '-' likewise
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub(super) fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let (a, b) = match (args.a.as_slice(), args.b.as_slice()) {
        ([a, b], []) => (std::slice::from_ref(a), std::slice::from_ref(b)),
        (_, []) => return Err(Failure::Usage("several runs a side are A.json... -- B.json...".into())),
        sides => sides,
    };
    let paths: Vec<_> = a.iter().chain(b).collect();
    let (a, b) = (reports(a)?, reports(b)?);
    for (path, run) in paths.into_iter().zip(a.iter().chain(&b)) {
        if let Some(reason) = a.first().and_then(|first| obstacle(first, run)) {
            return Err(Failure::Usage(format!("{} {reason}", path.display())));
        }
    }
    let comparison = compare_runs(&a, &b);
    let page = args.report.as_deref();
    let written = page.map_or(Ok(()), |path| write("--report", path, render_page(&comparison, &a, &b).as_bytes()));
    if !page.is_some_and(is_stdout) {
        show(&render_table(&comparison))?;
    }
    written.map(|()| ExitCode::SUCCESS)
}

fn reports(paths: &[PathBuf]) -> Result<Vec<Report>, Failure> {
    paths.iter().map(|path| report(path)).collect()
}

fn report(path: &Path) -> Result<Report, Failure> {
    /// What every schema has.
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let bytes = files::read(path).map_err(|error| Failure::Usage(error.to_string()))?.bytes;
    let unreadable = |error| Failure::Usage(format!("{} is no report of a run: {error}", path.display()));
    // First the version alone: what another one lacks is no fault of the file.
    let Versioned { schema } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if schema == json::SCHEMA {
        return serde_json::from_slice(&bytes).map_err(unreadable);
    }
    Err(Failure::Usage(format!(
        "{} is a report of schema {schema}; this program reads {}",
        path.display(),
        json::SCHEMA
    )))
}

pub(super) fn merge(args: &MergeArgs) -> Result<ExitCode, Failure> {
    let mut intervals = hdr::Intervals::new();
    let mut parts = Vec::new();
    let outputs = [("--hdr", &args.hdr), ("--report", &args.report)];
    let outputs: Vec<_> = outputs.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?))).collect();
    for (flag, path) in &outputs {
        if args.files.iter().any(|file| is_same(file, path)) {
            return Err(Failure::usage(flag, format!("{} is one of the logs that are merged", path.display())));
        }
    }
    check(&outputs)?;
    for (index, file) in args.files.iter().enumerate() {
        if args.files.iter().take(index).any(|earlier| is_same(earlier, file)) {
            return Err(Failure::Usage(format!("{} is named twice and would count twice", file.display())));
        }
    }
    let (mut started, mut protocol): (Option<u64>, Option<String>) = (None, None);
    for path in &args.files {
        let bytes = files::read(path).map_err(|error| Failure::Usage(error.to_string()))?.bytes;
        let mut part = hdr::Intervals::new();
        let begun = hdr::read_into(&bytes, &mut part)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        if let Some(named) = hdr::protocol(&bytes) {
            let first = protocol.get_or_insert_with(|| named.to_owned());
            if let Some(reason) = other_protocol(first, named) {
                return Err(Failure::Usage(format!("{} {reason}", path.display())));
            }
        }
        started = started.into_iter().chain(begun).min();
        let answered = hdr::total(&part, "service").len();
        parts.push(merged::Part { name: path.display().to_string(), answered, latency: hdr::total(&part, "") });
        hdr::merge(&mut intervals, part);
    }
    let [latency, service] = ["", "service"].map(|tag| hdr::total(&intervals, tag));
    let rows = [("latency, from due", Percentiles::of(&latency)), ("service, from sent", Percentiles::of(&service))];
    let mut written = Ok(());
    for (flag, path) in &outputs {
        let bytes = match *flag {
            "--hdr" => hdr::render_intervals(started.unwrap_or(0), protocol.as_deref(), &intervals),
            _ => merged::render(&intervals, &parts).into(),
        };
        written = written.and(write(flag, path, &bytes));
    }
    if outputs.iter().all(|(_, path)| !is_stdout(path)) {
        show(&format!("{} answered, from {} files\n\n", service.len(), args.files.len()))?;
        show(&table::render_times(&rows))?;
    }
    written.map(|()| ExitCode::SUCCESS)
}
