//! `latchkey dump` and `latchkey restore`: a data directory as one stream, and back.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::data::is_full;
use super::{Failure, units};
use crate::disk::{Directory, OpenError, restore};

/// Write a stopped server's keys and values to stdout
///
/// The stream is checksummed and says its version. Nothing in the directory is changed, so its disk may be full. Of a
/// running server, BGSAVE writes the same into its data directory, as backup/dump.latchkey.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The data directory
    dir: PathBuf,
}

/// Make a data directory from a dump
///
/// The dump is checked as a whole before anything is made.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A dump or a backup
    file: PathBuf,
    /// The data directory to make
    dir: PathBuf,
}

pub(super) fn dump(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(Failure::Usage("dump writes bytes to stdout: send them to a file".into()));
    }
    if !args.dir.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory", args.dir.display())));
    }
    if !Directory::is_one(&args.dir) {
        return Err(Failure::Usage(format!("{} is no data directory: it has no file 'mark'", args.dir.display())));
    }
    let mut out = BufWriter::new(stdout.lock());
    let keys = Directory::dump(&args.dir, &mut out).map_err(|error| match error {
        // The directory is only read.
        OpenError::Io { error, .. } if is_full(&error) => Failure::Other(format!("stdout: {error}")),
        error @ OpenError::Io { .. } => Failure::Other(error.to_string()),
        error => Failure::Usage(error.to_string()),
    })?;
    out.flush()?;
    eprintln!("{}", units::count(keys, "key"));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run_restore(args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::Other(format!("{} into {}: {error}", args.file.display(), args.dir.display()));
    let keys = restore(&args.file, &args.dir).map_err(failed)?;
    eprintln!("{}", units::count(keys, "key"));
    Ok(ExitCode::SUCCESS)
}
