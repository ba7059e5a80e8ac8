//! Durability: changes of the store, in groups, on disk.
//!
//! ```text
//! Group (changes of one turn) -> Storage (a thread) -> DataFiles (journals and a snapshot) -> Folder (real, or sim)
//! ```
//!
//! Keys and values are served from memory. A group is written as a whole or not at all, and groups are numbered without
//! a gap, so that a directory that lost one is recognised: see [`Directory`].

mod backup;
mod broken;
mod compact;
mod data_files;
mod directory;
mod dump;
mod failure;
mod folder;
mod gather;
mod group;
mod journal;
mod lock;
mod lockstep;
mod manifest;
mod merge;
mod names;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod record;
mod reserve;
mod restore;
pub mod sim;
mod snapshot;
mod storage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use broken::Broken;
pub use compact::Compactions;
pub use data_files::{DataFiles, FileSizes, Loaded, NO_EXPIRY, Record, Undo};
pub use directory::{Directory, Opened};
pub use dump::{DumpError, DumpReader, DumpWriter};
pub use failure::StorageError;
pub use folder::{FileHandle, Folder};
pub use group::{Change, Group};
pub use lockstep::LockStep;
pub use restore::{Left, RestoreError, restore};
pub use storage::{Backup, Durable, Storage, StorageOptions, StorageReport};

/// When writes are forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before they are acknowledged: no acknowledged write is lost.
    #[default]
    Always,
    /// Once a second: a crash of the machine loses at most about that; a crash of the process nothing.
    Interval,
    /// By the operating system; a crash of the process still loses nothing.
    None,
}

impl Sync {
    /// Its name on the command line and in `INFO`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::None => "none",
        }
    }
}

/// Why a directory is not opened. Nothing in it has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has locked it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Acknowledged groups are missing.
    #[error(
        "{} has lost acknowledged writes: groups {found} to {recorded} are missing ({detail}); restore a backup, or use \
         a new directory; `latchkey dump --salvage` saves what comes before them",
        .path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// The first missing group.
        found: u64,
        /// The last group that was acknowledged.
        recorded: u64,
        /// Where they are missing.
        detail: String,
    },
    /// A restore needs an empty directory.
    #[error("{} is not empty: use an empty or new directory", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// It has files, but none of a data directory.
    #[error(
        "{} is neither a data directory (it has no file 'mark') nor empty: use a data directory, or an empty or new one",
        .path.display()
    )]
    Strange {
        /// The directory.
        path: PathBuf,
    },
    /// It is not a data directory.
    #[error("{} is not a data directory: it has no file 'mark'", .path.display())]
    NoData {
        /// The directory.
        path: PathBuf,
    },
    /// A restore into it was killed.
    #[error(
        "{} is half-restored: `latchkey restore` was interrupted; run it again, or remove the directory",
        .path.display()
    )]
    HalfRestored {
        /// The directory.
        path: PathBuf,
    },
    /// Its content is not what was written.
    #[error("{} is damaged: {detail}; restore a backup, or use a new directory", .path.display())]
    Damaged {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It is complete, but some records cannot be loaded.
    #[error("{} has {count} records that cannot be loaded: {why}", .path.display())]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// The number of these records.
        count: u64,
        /// What is wrong with the first one.
        why: String,
    },
    /// It does not exist and cannot be created.
    #[error("cannot create the directory {}: {}", .path.display(), why_unmade(.error))]
    Make {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// An operation failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

fn why_unmade(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "it, or a parent of it, is a file".to_owned(),
        _ => error.to_string(),
    }
}
