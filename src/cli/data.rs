//! The data directory of `serve`: opening and loading it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, terminal, units};
use crate::disk::{Directory, OpenError, Sync};
use crate::net::Wake;
use crate::store::{CommitLimits, DataOptions, Store};

/// Remedy for a full disk.
const CURE: &str = "make room (64 KiB are enough to start, writes need theirs besides), or copy the directory to a larger \
                    disk and name it there; `latchkey dump` reads it as it is";

/// Remedy for a file system that is mounted read-only.
const READ_ONLY: &str = "a server must write there, so mount it for writing, or copy the directory and name the copy; \
                         `latchkey dump` reads it as it is";

/// Durability.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub(super) struct DataArgs {
    /// Data directory; acknowledged writes survive a restart [default: keys are in memory only]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// When writes are forced to disk (fsync)
    #[arg(long, value_enum, default_value = "always", value_name = "WHEN", requires = "data")]
    sync: SyncArg,
    /// Bytes of changes not yet on disk above which writes wait
    #[arg(long, value_name = "BYTES", default_value = "16m", value_parser = units::bytes, requires = "data")]
    max_unsynced: usize,
    /// Time limit for committing one group of writes to disk; past it the server stops
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::time, requires = "data")]
    storage_timeout: Duration,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SyncArg {
    /// Before they are acknowledged
    Always,
    /// Once a second: a crash of the machine can lose the last second
    Interval,
    /// By the operating system: a crash of the machine can lose more, a crash of the process nothing
    None,
}

impl DataArgs {
    /// Whether `--data` was given.
    pub(super) fn is_given(&self) -> bool {
        self.data.is_some()
    }

    /// Loads the data directory, if one was given, and attaches its journal to the store.
    pub(super) fn load(&self, store: &mut Store, wake: Wake) -> Result<(), Failure> {
        let Some(path) = &self.data else { return Ok(()) };
        let refused = |error| refused(path, &error);
        let sync = match self.sync {
            SyncArg::Always => Sync::Always,
            SyncArg::Interval => Sync::Interval,
            SyncArg::None => Sync::None,
        };
        let limits = CommitLimits { unsynced_bytes: self.max_unsynced, timeout: self.storage_timeout };
        let mut progress = Progress::new(path);
        let options = DataOptions { sync, limits };
        let found = store.open_data(path, options, wake, |keys, expected| progress.show(keys, expected));
        let took = progress.end();
        let found = found.map_err(refused)?;
        let say = |text: fmt::Arguments<'_>| terminal::tell(format_args!("data {}: {text}", path.display()));
        if found.is_new {
            // A mistyped path is noticed that way.
            say(format_args!("new, empty data directory created"));
        }
        if found.was_torn {
            say(format_args!("an incomplete write at the end of the journal is dropped"));
        }
        let (keys, bytes) = (units::count(found.keys, "key"), units::readable(found.bytes));
        say(format_args!("{keys}, {bytes}, loaded in {:.2} s", took.as_secs_f64()));
        if !found.was_clean {
            // With the other modes a crash of the machine may lose acknowledged writes.
            let loss = if sync == Sync::Always { ", no acknowledged write lost" } else { "" };
            say(format_args!("unclean shutdown detected; recovered{loss}"));
        }
        say(format_args!("sync {}", sync.name()));
        Ok(())
    }
}

/// The error and its remedy for a directory that cannot be served.
fn refused(path: &Path, error: &OpenError) -> Failure {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let (OpenError::Io { error: system, .. } | OpenError::Make { error: system, .. }) = error else {
        return Failure::usage("--data", error);
    };
    match system.kind() {
        StorageFull | QuotaExceeded => Failure::usage("--data", format!("{error}: {CURE}")),
        ReadOnlyFilesystem if Directory::is_one(path) => Failure::usage("--data", format!("{error}: {READ_ONLY}")),
        _ => Failure::usage("--data", error),
    }
}

/// A progress bar on a terminal; elsewhere one line per second.
struct Progress<'a> {
    path: &'a Path,
    bar: ProgressBar,
    begun: Instant,
    told: Instant,
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is shown")]
impl<'a> Progress<'a> {
    fn new(path: &'a Path) -> Self {
        let bar = if terminal::is_watched() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("loading {wide_bar} {human_pos} of {human_len} keys, {eta} left")
        {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { path, bar, begun: now, told: now }
    }

    fn show(&mut self, keys: u64, expected: u64) {
        self.bar.set_length(expected);
        self.bar.set_position(keys);
        if self.bar.is_hidden() && self.told.elapsed() >= Duration::from_secs(1) {
            self.told = Instant::now();
            terminal::tell(format_args!("data {}: {keys} of {expected} keys loaded", self.path.display()));
        }
    }

    /// Clears the display; returns how long it took.
    fn end(self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_file_system_is_reported_with_its_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let error = || io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let told = || refused(path, &OpenError::Io { path: path.into(), error: error() }).to_string();
        // Without data there is nothing to dump.
        assert!(told().starts_with("--data: ") && !told().contains("latchkey dump"), "{}", told());
        std::fs::write(path.join("mark"), "").expect("written");
        assert!(told().contains("read-only") && told().contains("`latchkey dump` reads it"), "{}", told());
    }
}
