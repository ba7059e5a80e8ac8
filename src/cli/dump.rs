//! `latchkey dump` and `latchkey restore`: a data directory as one stream, and back.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, terminal, units};
use crate::disk::{Directory, DumpError, OpenError, RestoreError, restore};

/// Write a stopped server's keys and values to stdout
///
/// The stream is checksummed and says its version. Nothing in the directory is changed, so its disk may be full. Of a
/// running server, BGSAVE writes the same into its data directory, as backup/dump.latchkey.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// Write what stands before the first thing that is missing or damaged, and say what that is
    ///
    /// For a directory that no server opens any more: what is written is all that there was at one earlier moment.
    #[arg(long)]
    salvage: bool,
    /// The data directory
    dir: PathBuf,
}

/// Make a data directory from a dump
///
/// The dump is read once and checked on the way, so it may come from a pipe. Until the directory is whole, nobody serves it.
/// A restore that fails removes what it has written; one that was killed is run again, and begins anew.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A dump or a backup; - is stdin
    file: PathBuf,
    /// The data directory to make: new, empty, or left by a restore that was killed
    dir: PathBuf,
}

pub(super) fn dump(args: &DumpArgs) -> Result<ExitCode, Failure> {
    if terminal::is_for_people() {
        return Err(Failure::Usage("dump writes bytes to stdout: send them to a file".into()));
    }
    increase_descriptors();
    let mut out = Watched { out: BufWriter::new(terminal::data()), has_failed: false };
    let dumped = if args.salvage {
        Directory::salvage(&args.dir, &mut out)
    } else {
        Directory::dump(&args.dir, &mut out).map(|keys| (keys, Ok(())))
    };
    let (keys, outcome) = dumped.map_err(|error| match error {
        OpenError::Io { error, .. } if out.has_failed => Failure::Other(format!("stdout: {error}")),
        OpenError::InUse(path) => {
            let backup = path.join("backup").join("dump.latchkey");
            Failure::Usage(format!(
                "{}: a running server writes a dump by itself: send it BGSAVE, and copy or restore {}",
                OpenError::InUse(path),
                backup.display()
            ))
        }
        error => of_directory(&error),
    })?;
    match outcome {
        Ok(()) => terminal::tell(units::count(keys, "key")),
        Err(broken) => {
            terminal::tell(format_args!("{}, of which later changes are lost: {broken}", units::count(keys, "key")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run_restore(args: &RestoreArgs) -> Result<ExitCode, Failure> {
    increase_descriptors();
    if args.file.as_os_str() != "-" {
        let name = args.file.display().to_string();
        let file = File::open(&args.file).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        return restore_from(file, &name, args);
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::Usage("restore - reads a dump from stdin: send one there".into()));
    }
    restore_from(stdin.lock(), "stdin", args)
}

/// Every journal is opened at once, each 64 MiB or less: at the usual limit of 1024, 60 GB would be too much. Where that is
/// all there is, opening says so.
fn increase_descriptors() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

fn restore_from(input: impl Read, name: &str, args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let keys = restore(BufReader::new(input), &args.dir).map_err(|RestoreError { why, left }| match why {
        DumpError::Directory(error) => match of_directory(&error) {
            Failure::Usage(told) => Failure::Usage(format!("{told}{left}")),
            Failure::Other(told) => Failure::Other(format!("{told}{left}")),
        },
        DumpError::Io(error) if !is_misnamed(&error) => Failure::Other(format!("{name}: {error}{left}")),
        why => Failure::Usage(format!("{name}: {why}{left}")),
    })?;
    terminal::tell(units::count(keys, "key"));
    Ok(ExitCode::SUCCESS)
}

/// Another directory must be named, or the system has refused.
fn of_directory(error: &OpenError) -> Failure {
    match error {
        OpenError::Io { error: system, .. } | OpenError::Make { error: system, .. } if !is_misnamed(system) => {
            Failure::Other(error.to_string())
        }
        _ => Failure::Usage(error.to_string()),
    }
}

/// Whether something else, or somebody else, would have to be named.
fn is_misnamed(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | AlreadyExists | PermissionDenied)
}

/// Knows whether an error is one of writing.
struct Watched<W> {
    out: W,
    has_failed: bool,
}

impl<W> Watched<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.has_failed |= result.is_err();
        result
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}
