//! Failures of the storage.

use std::io;
use std::time::Duration;

/// Why changes can no longer be made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A group could not be written: its changes are undone, and the data can still be read.
    #[error("cannot write to the data directory: {0}")]
    Write(String),
    /// The same on a full disk: writes are accepted again when there is space.
    #[error("no space left in the data directory: {0}")]
    Full(String),
    /// It is unknown what is on disk: the process must end.
    #[error("cannot sync the data directory: {0}")]
    Sync(String),
    /// The changes of a failed write could not be undone in memory: the process must end.
    #[error("cannot undo changes that could not be written: {0}")]
    Undo(String),
    /// The disk does not answer: the process must end.
    #[error("the disk has not answered for {0:?}")]
    TimedOut(Duration),
    /// The storage thread has ended early: the process must end.
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

    /// The same failure where free space does not help.
    pub(super) fn lasting(&self) -> Self {
        match self {
            Self::Full(error) => Self::Write(error.clone()),
            other => other.clone(),
        }
    }

    pub(super) fn sync(error: &io::Error) -> Self {
        Self::Sync(error.to_string())
    }

    /// Whether the process must end.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Write(_) | Self::Full(_))
    }
}
