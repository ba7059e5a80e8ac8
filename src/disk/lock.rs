//! The locks of a data directory: one on the directory itself and one on a file in it. Each alone excludes other
//! processes, so that removing the file, by hand or by a cleaner, admits no second process. The system releases both
//! when the process ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::OpenError;
use super::names::LOCK;

/// Held as long as this value lives.
pub(super) struct Lock {
    _directory: File,
    /// `None` where nothing was ever written.
    _file: Option<File>,
}

impl Lock {
    /// Excludes all other processes.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        let directory = File::open(path).map_err(io)?;
        held(path, directory.try_lock())?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
        let file = options.map_err(io)?;
        held(path, file.try_lock())?;
        Ok(Self { _directory: directory, _file: Some(file) })
    }

    /// Excludes writers, but not other readers. Creates nothing.
    pub(super) fn to_read(path: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        let directory = File::open(path).map_err(io)?;
        held(path, directory.try_lock_shared())?;
        let file = match File::open(path.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(io)?),
        };
        if let Some(file) = &file {
            held(path, file.try_lock_shared())?;
        }
        Ok(Self { _directory: directory, _file: file })
    }
}

fn held(path: &Path, locked: Result<(), TryLockError>) -> Result<(), OpenError> {
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse(path.into()),
        TryLockError::Error(error) => OpenError::Io { path: path.into(), error },
    })
}
