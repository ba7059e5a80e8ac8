//! `latchkey dump` and `latchkey restore`: convert a data directory to one stream and back.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, terminal, units};
use crate::disk::{Directory, DumpError, OpenError, RestoreError, restore};

/// Write a stopped server's keys and values to stdout
///
/// The stream has a version and a checksum. The directory is not changed, so its disk may be full. For a running server
/// use BGSAVE, which writes the same format to backup/dump.latchkey in its data directory.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// Write everything before the first missing or damaged part, and report what that is
    ///
    /// For a directory that no server opens any more: the output is a consistent earlier state.
    #[arg(long)]
    salvage: bool,
    /// The data directory
    dir: PathBuf,
}

/// Make a data directory from a dump
///
/// The dump is read once and verified on the way, so it may come from a pipe. No server opens the directory until it is
/// complete. A restore that fails removes what it has written; after one that was killed, run the same command again.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A dump or a backup; - reads stdin
    file: PathBuf,
    /// The data directory to create: absent, empty, or left by a restore that was killed
    dir: PathBuf,
}

pub(super) fn dump(args: &DumpArgs) -> Result<ExitCode, Failure> {
    if terminal::is_for_people() {
        return Err(Failure::Usage("dump writes binary data to stdout: redirect it to a file".into()));
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
                "{}: send the running server BGSAVE, then copy or restore {}",
                OpenError::InUse(path),
                backup.display()
            ))
        }
        error => of_directory(&error),
    })?;
    match outcome {
        Ok(()) => terminal::tell(units::count(keys, "key")),
        Err(broken) => {
            terminal::tell(format_args!("{} written; later changes are lost: {broken}", units::count(keys, "key")));
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
        return Err(Failure::Usage("restore - reads a dump from stdin: redirect a file or a pipe to it".into()));
    }
    restore_from(stdin.lock(), "stdin", args)
}

/// Every journal is open at once, each up to 64 MiB: a descriptor limit of 1024 allows some 60 GB. If the limit cannot
/// be raised, opening reports it.
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

/// Usage error where another directory must be given; another error where the system refused.
fn of_directory(error: &OpenError) -> Failure {
    match error {
        OpenError::Io { error: system, .. } | OpenError::Make { error: system, .. } if !is_misnamed(system) => {
            Failure::Other(error.to_string())
        }
        _ => Failure::Usage(error.to_string()),
    }
}

/// Whether another file, or another user's rights, are needed.
fn is_misnamed(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | AlreadyExists | PermissionDenied)
}

/// A writer that remembers whether a write has failed.
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
