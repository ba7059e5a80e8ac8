//! Where a report goes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::terminal::{Results, show};
use crate::cli::{Failure, files};
use crate::load::outcome::Problem;
use crate::load::recorder::Recorder;
use crate::load::report::{Report, csv, hdr, html, table};
use crate::load::slo::Objective;

/// Objectives of a run, accepted problems, and the files of its report.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Outcome")]
pub(super) struct OutputArgs {
    /// Fail with exit code 4 unless this holds, such as 'p99<5ms', 'errors<0.1%' or 'rate>=10000' [repeatable]
    #[arg(long, value_name = "OBJECTIVE")]
    slo: Vec<Objective>,
    /// Accept this problem [repeatable]
    #[arg(long, value_enum, value_name = "PROBLEM")]
    allow: Vec<Allow>,
    /// Write the report as JSON; as for all of these, '-' is stdout, which then gets no table
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
    /// Figures that describe this client and not the server
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

    /// The files that are asked for, with their flags.
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("--json", &self.json), ("--csv", &self.csv), ("--hdr", &self.hdr), ("--report", &self.report)];
        all.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
    }

    /// Refuses, before the run, what could not be written after it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check(&self.files().collect::<Vec<_>>())
    }

    /// Writes every output that was asked for, and the table. One that fails costs none of the others: the run cannot be
    /// had again. The first failure is returned.
    pub(super) fn write(&self, report: &Report, recorder: &Recorder) -> Result<(), Failure> {
        let mut written = Ok(());
        for (flag, path) in self.files() {
            let bytes = match flag {
                "--json" => json(report),
                "--csv" => Ok(csv::render(report).into()),
                "--hdr" => Ok(hdr::render(report, recorder.seconds())),
                _ => Ok(html::render(report).into()),
            };
            written = written.and(bytes.and_then(|bytes| write(flag, path, &bytes)));
        }
        if self.files().all(|(_, path)| !is_stdout(path)) {
            written = written.and(show(&table::render(report)));
        }
        written
    }
}

/// Whether a file's name stands for stdout.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether two names are of one file, which need not be there yet.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let in_folder = || Some(files::folder(path).canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
    };
    real(one) == real(other)
}

/// Refuses outputs that go to the same place, or to one that cannot be written.
pub(super) fn check(files: &[(&'static str, &Path)]) -> Result<(), Failure> {
    for (index, (flag, path)) in files.iter().enumerate() {
        if let Some((other, _)) = files.iter().take(index).find(|(_, earlier)| is_same(earlier, path)) {
            let place = if is_stdout(path) { "stdout".to_owned() } else { path.display().to_string() };
            return Err(Failure::usage(flag, format!("{place} is taken by {other}")));
        }
        if !is_stdout(path) {
            check_writable(path)
                .map_err(|error| Failure::usage(flag, format!("cannot write {}: {error}", path.display())))?;
        }
    }
    Ok(())
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

fn json(report: &Report) -> Result<Vec<u8>, Failure> {
    let mut json = serde_json::to_vec_pretty(report).map_err(|error| Failure::Other(error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

/// Writes a whole file, or stdout; the error names the flag.
pub(super) fn write(flag: &str, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = if is_stdout(path) { to_stdout(bytes) } else { to_file(path, bytes) };
    written.map_err(|error| Failure::Other(format!("{flag}: cannot write {}: {error}", path.display())))
}

/// How long a pipe without a reader is waited for.
const READER: Duration = Duration::from_secs(10);

/// A file gets all of `bytes` or stays as it was: they are written beside it, and take its place when they are on disk.
fn to_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&target).ok();
    if old.as_ref().is_some_and(|old| old.file_type().is_fifo()) {
        return to_pipe(&target, bytes);
    }
    let is_special = old.as_ref().is_some_and(|old| !old.is_file()) || old.is_none() && target.is_symlink();
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = target.with_file_name(name);
    // A leftover of a killed process with the same process number.
    let _ = fs::remove_file(&beside);
    let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(&beside) else {
        // A file may be writable where its folder is not.
        return fs::write(&target, bytes);
    };
    if is_special {
        let _ = fs::remove_file(&beside);
        return fs::write(&target, bytes);
    }
    let kept = old.map_or(Ok(()), |old| file.set_permissions(old.permissions()));
    let written = kept.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&beside, &target));
    if renamed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    renamed
}

/// Opening a pipe to write waits for its reader, for ever if there is none: not so with O_NONBLOCK (fifo(7)).
fn to_pipe(path: &Path, bytes: &[u8]) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut open = OpenOptions::new();
    open.write(true).custom_flags(libc::O_NONBLOCK);
    let mut patience = READER;
    let _there = loop {
        match open.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && !patience.is_zero() => {
                std::thread::sleep(PAUSE);
                patience = patience.saturating_sub(PAUSE);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "no process reads from it"));
            }
            opened => break opened?,
        }
    };
    // With a reader there it opens at once, and waits for the reader as any writer does.
    OpenOptions::new().write(true).open(path)?.write_all(bytes)
}

fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut results = Results::new();
    results.write_all(bytes)?;
    results.flush()
}
