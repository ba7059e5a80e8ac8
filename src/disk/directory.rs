//! A data directory: who has it, whether it is whole, how it is opened and closed.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the process that has the directory, and so is the directory itself |
//! | `mark` | how far the journal is known to be on disk, and whether it was closed in order |
//! | `journal-N` | changes, in order |
//! | `snapshot-N` | what the journals before `journal-N` came to |
//! | `restore.unfinished` | is there as long as a restore has not filled the directory: nobody serves it |
//! | `reserve.latchkey` | room for a start on a full disk |
//! | `backup/` | backups of the running server |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::data_files::{Contents, DataFiles, FileSizes, Loaded, Record};
use super::dump::{DumpWriter, write_all};
use super::folder::{RealFolder, make};
use super::journal::Broken;
use super::lock::Lock;
use super::names::{self, LOCK, MARK, RESERVE, RESTORING};
use super::storage::{Storage, StorageOptions};

/// A directory of this version has the one, one of another format the other.
const SIGNS: [&str; 2] = [MARK, "journal"];

/// A place for a server's data.
#[derive(Debug)]
pub struct Directory;

/// A directory that is open, and this process's.
pub struct Opened {
    path: PathBuf,
    pub(super) data_files: DataFiles,
    lock: Lock,
}

impl Directory {
    /// Whether there is, or was, a data directory at `path`.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        SIGNS.iter().any(|name| path.join(name).exists())
    }

    /// Opens the directory at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// Somebody else has it; it holds other files, and no data; or what was acknowledged is not all there. Then nothing
    /// was changed.
    pub fn open(path: &Path) -> Result<Opened, OpenError> {
        Self::open_with(path, FileSizes::default())
    }

    /// Writes every key of the directory at `path` to a dump. How many there are. Nothing in it is made or changed: it may be
    /// on a disk that is full, or that takes no writes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), or it cannot be read, or `out` takes no more.
    pub fn dump<W: Write>(path: &Path, out: W) -> Result<u64, OpenError> {
        let (_lock, folder) = to_read(path)?;
        let (contents, keys) = Contents::look(&folder).map_err(|broken| of_broken(path, broken))?;
        write(path, &contents, keys, out)
    }

    /// As [`dump`](Self::dump), for a directory that is not opened because something is missing or damaged: writes what
    /// stands before that, the state behind one group that was acknowledged. How many keys that are, and what is wrong.
    ///
    /// # Errors
    ///
    /// Somebody else has it, it is none, no key stands before what is wrong, it cannot be read, or `out` takes no more.
    pub fn salvage<W: Write>(path: &Path, out: W) -> Result<(u64, Result<(), Broken>), OpenError> {
        let (_lock, folder) = to_read(path)?;
        let found = Contents::salvage(&folder).map_err(|error| OpenError::Io { path: path.into(), error })?;
        match found {
            (_, 0, Err(broken)) => {
                let detail = format!("{broken}, and no key stands before that");
                Err(OpenError::Damaged { path: path.into(), detail })
            }
            (contents, keys, outcome) => Ok((write(path, &contents, keys, out)?, outcome)),
        }
    }

    /// As [`open`](Self::open), with other bounds on its files.
    pub fn open_with(path: &Path, sizes: FileSizes) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        refuse_strange(path)?;
        make(path, 0o700).map_err(|error| OpenError::Make { path: path.into(), error })?;
        let lock = Lock::take(path)?;
        refuse_half_restored(path)?;
        refuse_other_format(path)?;
        let folder = Arc::new(RealFolder::new(path.into()).map_err(io)?);
        let data_files = DataFiles::with_sizes(folder, sizes).map_err(|broken| of_broken(path, broken))?;
        Ok(Opened { path: path.into(), data_files, lock })
    }
}

/// A directory in which there is data, and nobody who changes it.
fn to_read(path: &Path) -> Result<(Lock, RealFolder), OpenError> {
    refuse_no_data(path)?;
    let lock = Lock::to_read(path)?;
    refuse_half_restored(path)?;
    refuse_other_format(path)?;
    let folder = RealFolder::to_read(path.into()).map_err(|error| OpenError::Io { path: path.into(), error })?;
    Ok((lock, folder))
}

/// Writes a dump of what is in the directory at `path`.
fn write<W: Write>(path: &Path, contents: &Contents, keys: u64, out: W) -> Result<u64, OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let mut writer = DumpWriter::new(out).map_err(io)?;
    let loaded = write_all(contents, &mut writer).map_err(io)?;
    check_keys(path, loaded, keys)?;
    writer.finish().map_err(io)?;
    Ok(loaded.keys)
}

impl Opened {
    /// Whether nothing was ever written to it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.data_files.last_group() == 0
    }

    /// Whether it had been closed in order.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.data_files.was_clean()
    }

    /// Whether there was a write that was never finished.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.data_files.was_torn()
    }

    /// How many keys it should hold.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.data_files.expected_keys()
    }

    /// Visits every key.
    ///
    /// # Errors
    ///
    /// It cannot be read, or there are more or fewer keys than were written.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, OpenError> {
        let loaded = self.data_files.load(visit).map_err(|error| strange(&self.path, &error))?;
        check_keys(&self.path, loaded, self.data_files.expected_keys())
    }

    /// Writes one group and forces it to disk; `keys` is how many keys there are after it.
    #[cfg(test)]
    pub(super) fn write(&mut self, group: &super::Group, keys: u64) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io { path: self.path.clone(), error };
        let written = self.data_files.write(group, self.data_files.last_group() + 1, keys);
        written.and_then(|()| self.data_files.sync()).map_err(|failure| failed(io::Error::other(failure)))
    }

    /// Closes it in order.
    pub fn close(mut self) -> Result<(), OpenError> {
        let failed = |failure| OpenError::Io { path: self.path, error: io::Error::other(failure) };
        self.data_files.close().map_err(failed)
    }

    /// Starts a storage thread on it; `wake` is called whenever that has something to tell.
    pub fn serve(self, sync: super::Sync, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Storage> {
        let options = StorageOptions { sync, backup: Some(self.path.join("backup").join("dump.latchkey")) };
        Storage::start_with(self.data_files, Some(self.lock), options, wake)
    }
}

/// Refuses a folder with files in it none of which is of a data directory: somebody's own, named by mistake.
fn refuse_strange(path: &Path) -> Result<(), OpenError> {
    // A folder that cannot be looked at is refused by those who must write to it.
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let is_data =
        names.iter().any(|name| name == "journal" || (name != LOCK && name != RESERVE && names::is_ours(name)));
    // A file system of its own may have the one, and a start that was cut short leaves the other.
    if is_data || names.iter().all(|name| name == "lost+found" || name == LOCK || name == RESERVE) {
        return Ok(());
    }
    Err(OpenError::Strange { path: path.into() })
}

/// Refuses what cannot be looked at, and what nobody has ever kept data in.
fn refuse_no_data(path: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        if SIGNS.contains(&&*name) || names::is_ours(&name) && name != LOCK && name != RESERVE {
            return Ok(());
        }
    }
    Err(OpenError::NoData { path: path.into() })
}

fn refuse_half_restored(path: &Path) -> Result<(), OpenError> {
    match path.join(RESTORING).try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::HalfRestored { path: path.into() }),
        Err(error) => Err(OpenError::Io { path: path.into(), error }),
    }
}

fn refuse_other_format(path: &Path) -> Result<(), OpenError> {
    if path.join("journal").is_dir() {
        let detail = "its folder 'journal' is of a format that this version does not read".into();
        return Err(OpenError::Damaged { path: path.into(), detail });
    }
    Ok(())
}

pub(super) fn of_broken(path: &Path, broken: Broken) -> OpenError {
    let path = path.into();
    match broken {
        Broken::Io(error) => OpenError::Io { path, error },
        Broken::Damaged(detail) => OpenError::Damaged { path, detail },
        Broken::Lost { found, recorded, detail } => OpenError::Lost { path, found, recorded, detail },
    }
}

pub(super) fn check_keys(path: &Path, loaded: Loaded, expected: u64) -> Result<Loaded, OpenError> {
    if loaded.keys == expected {
        return Ok(loaded);
    }
    let detail = format!("it holds {} keys where {expected} were written", loaded.keys);
    Err(OpenError::Damaged { path: path.into(), detail })
}

fn strange(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Damaged { path: path.into(), detail: error.to_string() }
}
