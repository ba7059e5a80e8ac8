//! Why changes are not kept any more.

use std::io;
use std::time::Duration;

/// Why nothing more can be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A group could not be written: what it changed is taken back, and what is kept can still be read.
    #[error("cannot write to the data directory: {0}")]
    Write(String),
    /// The same for want of room: writes are taken again when there is some.
    #[error("the data directory has no room: {0}")]
    Full(String),
    /// It is unknown what is on disk: the process must end.
    #[error("cannot force writes to disk: {0}")]
    Sync(String),
    /// What a failed write left in memory could not be taken back: the process must end.
    #[error("cannot take back what could not be written: {0}")]
    Undo(String),
    /// It does not answer: the process must end.
    #[error("the disk has not answered for {0:?}")]
    TimedOut(Duration),
    /// The storage thread has ended before its time: the process must end.
    #[error("the storage thread has stopped")]
    Stopped,
}

impl StorageError {
    pub(super) fn write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Write(error.to_string()),
        }
    }

    /// The same where room alone mends nothing.
    pub(super) fn lasting(&self) -> Self {
        match self {
            Self::Full(error) => Self::Write(error.clone()),
            other => other.clone(),
        }
    }

    pub(super) fn sync(error: &io::Error) -> Self {
        Self::Sync(error.to_string())
    }

    /// Whether what is kept can still be served.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Write(_) | Self::Full(_))
    }
}
