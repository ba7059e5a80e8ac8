//! A data directory: who has it, whether it is whole, how it is opened and closed.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the process that has the directory |
//! | `mark` | how far the journal is known to be on disk, and whether it was closed in order |
//! | `journal-N` | changes, in order |
//! | `snapshot-N` | what the journals before `journal-N` came to |
//! | `backup/` | backups of the running server |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::dump::{DumpWriter, write_all};
use super::folder::{RealFolder, make};
use super::group::Group;
use super::journal::Broken;
use super::keeper::{Keeper, Loaded, Record, Sizes};
use super::names::{self, LOCK};
use super::storage::{Storage, StorageOptions};

/// A place for a server's data.
#[derive(Debug)]
pub struct Directory;

/// A directory that is open, and this process's.
pub struct Opened {
    path: PathBuf,
    pub(super) keeper: Keeper,
    lock: File,
}

impl Directory {
    /// Whether there is, or was, a data directory at `path`.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        ["mark", "journal"].iter().any(|name| path.join(name).exists())
    }

    /// Opens the directory at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// Somebody else has it; or what was acknowledged is not all there, and then nothing was changed.
    pub fn open(path: &Path) -> Result<Opened, OpenError> {
        Self::open_with(path, Sizes::default())
    }

    /// Removes what a restore that came to no end has left at `path`; nothing else, and nothing that is at work.
    pub(super) fn remove_unfinished(path: &Path) -> Result<(), OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io)?,
        };
        for entry in entries {
            if !names::is_ours(&entry.map_err(io)?.file_name().to_string_lossy()) {
                return Err(OpenError::NotEmpty { path: path.into() });
            }
        }
        let _lock = lock(path)?;
        fs::remove_dir_all(path).map_err(io)
    }

    /// As [`open`](Self::open), with other bounds on its files.
    pub fn open_with(path: &Path, sizes: Sizes) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        make(path, 0o700).map_err(|error| OpenError::Make { path: path.into(), error })?;
        let lock = lock(path)?;
        if path.join("journal").is_dir() {
            let detail = "its folder 'journal' is of a format that this version does not read".into();
            return Err(OpenError::Damaged { path: path.into(), detail });
        }
        let folder = Arc::new(RealFolder::new(path.into()).map_err(io)?);
        let keeper = Keeper::with_sizes(folder, sizes).map_err(|broken| match broken {
            Broken::Io(error) => io(error),
            Broken::Damaged(detail) => OpenError::Damaged { path: path.into(), detail },
            Broken::Lost { found, recorded, detail } => OpenError::Lost { path: path.into(), found, recorded, detail },
        })?;
        Ok(Opened { path: path.into(), keeper, lock })
    }
}

impl Opened {
    /// Whether nothing was ever written to it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.keeper.last_group() == 0
    }

    /// Whether it had been closed in order.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.keeper.was_clean()
    }

    /// Whether there was a write that was never finished.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.keeper.was_torn()
    }

    /// How many keys it should hold.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.keeper.expected_keys()
    }

    /// Visits every key.
    ///
    /// # Errors
    ///
    /// It cannot be read, or there are more or fewer keys than were written.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, OpenError> {
        let loaded = self.keeper.load(visit).map_err(|error| strange(&self.path, &error))?;
        self.check_keys(loaded)
    }

    /// Writes every key to a dump. How many there are.
    pub fn dump<W: Write>(&self, out: W) -> Result<u64, OpenError> {
        let io = |error| OpenError::Io { path: self.path.clone(), error };
        let mut writer = DumpWriter::new(out).map_err(io)?;
        let loaded = self.keeper.contents().and_then(|contents| write_all(&contents, &mut writer)).map_err(io)?;
        self.check_keys(loaded)?;
        writer.finish().map_err(io)?;
        Ok(loaded.keys)
    }

    fn check_keys(&self, loaded: Loaded) -> Result<Loaded, OpenError> {
        let (found, expected) = (loaded.keys, self.keeper.expected_keys());
        if found == expected {
            return Ok(loaded);
        }
        let detail = format!("it holds {found} keys where {expected} were written");
        Err(OpenError::Damaged { path: self.path.clone(), detail })
    }

    /// Writes one group and forces it to disk; `keys` is how many keys there are after it.
    pub(super) fn write(&mut self, group: &Group, keys: u64) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io { path: self.path.clone(), error };
        let written = self.keeper.write(group, self.keeper.last_group() + 1, keys);
        written.and_then(|()| self.keeper.sync()).map_err(|failure| failed(io::Error::other(failure)))
    }

    /// Closes it in order.
    pub fn close(mut self) -> Result<(), OpenError> {
        let failed = |failure| OpenError::Io { path: self.path, error: io::Error::other(failure) };
        self.keeper.close().map_err(failed)
    }

    /// Starts a storage thread on it; `wake` is called whenever that has something to tell.
    pub fn serve(self, sync: super::Sync, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Storage> {
        let options = StorageOptions { sync, backup: Some(self.path.join("backup").join("dump.latchkey")) };
        Storage::start_with(self.keeper, Some(self.lock), options, wake)
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let options = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
    let file = options.map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.into())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn strange(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Damaged { path: path.into(), detail: error.to_string() }
}
