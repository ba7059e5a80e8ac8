//! `load compare` and `load merge`: comparison and sum of the reports of runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::outputs::{check, is_same, is_stdout, write};
use crate::cli::terminal::show;
use crate::cli::{Failure, files};
use crate::load::compare::{compare as compare_runs, obstacle, other_protocol, render_page, render_table};
use crate::load::histogram::Percentiles;
use crate::load::outcome::Problem;
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
    if let Some(flag) = b.iter().find(|path| path.as_os_str().as_encoded_bytes().starts_with(b"--")) {
        let problem = format!("{} stands behind `--`, where reports are: flags stand before it", flag.display());
        return Err(Failure::Usage(problem));
    }
    let paths: Vec<_> = a.iter().chain(b).collect();
    let page = args.report.as_deref();
    if let Some(page) = page {
        if paths.iter().any(|path| is_same(path, page)) {
            return Err(Failure::usage("--report", format!("{} is one of the reports compared", page.display())));
        }
        check(&[("--report", page)])?;
    }
    let (a, b) = (reports(a)?, reports(b)?);
    let runs: Vec<_> = paths.iter().zip(a.iter().chain(&b)).collect();
    for (index, (path, run)) in runs.iter().enumerate() {
        if let Some(reason) = a.first().and_then(|first| obstacle(first, run)) {
            return Err(Failure::Usage(format!("{} {reason}", path.display())));
        }
        // A run that is counted twice makes the samples look more alike than they are.
        if let Some((other, _)) = runs.iter().take(index).find(|(_, earlier)| earlier == run) {
            let problem = format!("{} is the same run as {}, and would count twice", path.display(), other.display());
            return Err(Failure::Usage(problem));
        }
    }
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let comparison = compare_runs(&a, &b, &names);
    let written = page.map_or(Ok(()), |path| write("--report", path, render_page(&comparison, &a, &b).as_bytes()));
    if !page.is_some_and(is_stdout) {
        show(&render_table(&comparison))?;
    }
    written.map(|()| ExitCode::SUCCESS)
}

/// How far apart logs were begun, if that is more than a second: their rates are then of different times.
fn apart(starts: &[u64]) -> String {
    let (first, last) = (starts.iter().min().copied(), starts.iter().max().copied());
    match first.zip(last).map(|(first, last)| last.saturating_sub(first)) {
        Some(ms) if ms > 1000 => format!(
            "note: the logs were begun {} s apart, by the clocks of their machines: rates add up only if they are of the \
             same time\n",
            ms / 1000
        ),
        _ => String::new(),
    }
}

/// The part that one log, read from `bytes` into `intervals`, has in the sum.
fn part_of(name: String, bytes: &[u8], intervals: &hdr::Intervals) -> merged::Part {
    let latency = hdr::total(intervals, "");
    let answered = intervals.values().map(|interval| interval.answered).sum();
    let has_service = intervals.keys().any(|(_, tag)| tag == "service");
    let failed = if has_service { latency.len().saturating_sub(answered) } else { 0 };
    merged::Part { name, answered, failed, problems: hdr::problems(bytes), latency }
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
    let Versioned { schema } = serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Syntax => {
            Failure::Usage(format!("{} is no report of a run: it is not the JSON that --json writes", path.display()))
        }
        _ => unreadable(error),
    })?;
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
    let (mut starts, mut protocol, mut length): (Vec<u64>, Option<String>, _) = (Vec::new(), None, None);
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
        // Only intervals of the same length can be added.
        let seconds = hdr::length(&part).as_secs_f64();
        let first: f64 = *length.get_or_insert(seconds);
        if (seconds - first).abs() > first / 10.0 {
            let problem = format!("has intervals of {seconds:.1} s, the first log of {first:.1} s");
            return Err(Failure::Usage(format!("{} {problem}", path.display())));
        }
        starts.extend(begun);
        parts.push(part_of(path.display().to_string(), &bytes, &part));
        hdr::merge(&mut intervals, part);
    }
    let started = starts.iter().copied().min();
    let [latency, service] = ["", "service"].map(|tag| hdr::total(&intervals, tag));
    let rows = [("latency, from due", Percentiles::of(&latency)), ("service, from sent", Percentiles::of(&service))];
    let mut written = Ok(());
    for (flag, path) in &outputs {
        let bytes = match *flag {
            "--hdr" => {
                let has = |problem: &Problem| parts.iter().any(|part| part.problems.contains(problem));
                let problems: Vec<_> = Problem::ALL.into_iter().filter(has).collect();
                hdr::render_intervals(started.unwrap_or(0), protocol.as_deref(), &problems, &intervals)
            }
            _ => merged::render(&intervals, &parts).into(),
        };
        written = written.and(write(flag, path, &bytes));
    }
    if outputs.iter().all(|(_, path)| !is_stdout(path)) {
        show(&format!("{}\n\n", merged::summary(&parts)))?;
        let measured: Vec<_> = rows.into_iter().filter(|(_, us)| us.max > 0.0).collect();
        show(&table::render_times(&measured))?;
        show(&apart(&starts))?;
        for warning in merged::warnings(&parts) {
            show(&format!("warning: {warning}\n"))?;
        }
    }
    written.map(|()| ExitCode::SUCCESS)
}
