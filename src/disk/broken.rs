//! Why the files of a data directory cannot be read as they should be.

use std::io;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Acknowledged groups are missing.
    #[error("groups {found} to {recorded} are missing ({detail})")]
    Lost {
        /// The first missing group.
        found: u64,
        /// The last group known to have been there.
        recorded: u64,
        /// Where they are missing.
        detail: String,
    },
    /// Its content is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// An operation failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}
