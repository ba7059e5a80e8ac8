//! What outlives the process: changes of the store, in groups, on disk.
//!
//! ```text
//! Group (changes of one turn) -> Storage (a thread) -> Keeper (journals and a snapshot) -> Folder (real, or sim)
//! ```
//!
//! The keys and values that are served stay in memory. A group is written as a whole or not at all, and numbered without
//! a gap, so that a directory that lost one is recognised: see [`Directory`].

mod backup;
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

pub use compact::Compactions;
pub use data_files::{DataFiles, FileSizes, Loaded, NO_EXPIRY, Record, Undo};
pub use directory::{Directory, Opened};
pub use dump::{DumpError, DumpReader, DumpWriter};
pub use failure::StorageError;
pub use folder::{FileHandle, Folder};
pub use group::{Change, Group};
pub use journal::Broken;
pub use lockstep::LockStep;
pub use restore::{Left, RestoreError, restore};
pub use storage::{Backup, Durable, Storage, StorageOptions, StorageReport};

/// When what was written is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before anything is acknowledged: nothing acknowledged is lost, whatever happens.
    #[default]
    Always,
    /// Once a second: a crash of the machine loses at most about that; a crash of the process nothing.
    Interval,
    /// When the system likes; a crash of the process still loses nothing.
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
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Groups that were acknowledged are not there.
    #[error(
        "{} has lost acknowledged writes: groups {found} to {recorded} are missing ({detail}); restore a backup, or give \
         a new directory; `latchkey dump --salvage` takes out what stands before that",
        .path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// The first group that is missing.
        found: u64,
        /// The last group that was acknowledged.
        recorded: u64,
        /// Where, in words.
        detail: String,
    },
    /// Something is there already.
    #[error("{} is not empty: name a directory that is, or that does not exist yet", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There are files in it, and none of a data directory.
    #[error(
        "{} is not empty and no data directory (it has no file 'mark'): name one that is, or an empty or a new directory",
        .path.display()
    )]
    Strange {
        /// The directory.
        path: PathBuf,
    },
    /// There is no data in it.
    #[error("{} is no data directory: it has no file 'mark'", .path.display())]
    NoData {
        /// The directory.
        path: PathBuf,
    },
    /// A restore has begun to fill it, and was killed.
    #[error(
        "{} is half-restored: `latchkey restore` was stopped before its end; run it again, or remove the directory",
        .path.display()
    )]
    HalfRestored {
        /// The directory.
        path: PathBuf,
    },
    /// It holds something else, or more or less than was written.
    #[error("{} is damaged: {detail}; restore a backup, or give a new directory", .path.display())]
    Damaged {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It is whole, but not all of it can be served.
    #[error("{} holds {count} records that cannot be served: {why}", .path.display())]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// How many.
        count: u64,
        /// What is wrong with the first one.
        why: String,
    },
    /// It is not there, and cannot be made.
    #[error("cannot make the directory {}: {}", .path.display(), why_unmade(.error))]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn why_unmade(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "it, or what stands above it, is a file".to_owned()
        }
        _ => error.to_string(),
    }
}
