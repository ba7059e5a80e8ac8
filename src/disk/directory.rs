//! A data directory: locking, checking, opening and closing it.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the process that uses the directory, as is the directory itself |
//! | `mark` | the manifest: up to which group the journal is known to be on disk, and whether it was closed cleanly |
//! | `journal-N` | changes, in order |
//! | `snapshot-N` | the state after the journals before `journal-N` |
//! | `restore.unfinished` | exists until a restore has completed the directory; it is not opened before |
//! | `reserve.latchkey` | reserves space for a start on a full disk |
//! | `backup/` | backups of the running server |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::broken::Broken;
use super::data_files::{Contents, DataFiles, FileSizes, Loaded, Record};
use super::dump::{DumpWriter, write_all};
use super::folder::{RealFolder, make};
use super::lock::Lock;
use super::names::{self, LOCK, MARK, RESERVE, RESTORING};
use super::storage::{Storage, StorageOptions};

/// A directory of this version has the first, one of another format the second.
const SIGNS: [&str; 2] = [MARK, "journal"];

/// A server's data directory.
#[derive(Debug)]
pub struct Directory;

/// A directory opened and locked by this process.
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

    /// Opens or creates the directory at `path`.
    ///
    /// # Errors
    ///
    /// Another process uses it, it contains other files and no data, or acknowledged groups are missing. Nothing was
    /// changed then.
    pub fn open(path: &Path) -> Result<Opened, OpenError> {
        Self::open_with(path, FileSizes::default())
    }

    /// Writes every key of the directory at `path` to a dump; returns their number. Nothing in the directory is
    /// changed, so its disk may be full or read-only.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), or it cannot be read, or writing to `out` fails.
    pub fn dump<W: Write>(path: &Path, out: W) -> Result<u64, OpenError> {
        let (_lock, folder) = to_read(path)?;
        let (contents, keys) = Contents::look(&folder).map_err(|broken| of_broken(path, broken))?;
        write(path, &contents, keys, out)
    }

    /// As [`dump`](Self::dump), for a directory that cannot be opened because something is missing or damaged: writes
    /// the state before that, after an acknowledged group. Returns the number of keys, and what is wrong.
    ///
    /// # Errors
    ///
    /// Another process uses it, it is not a data directory, there is no key before the damage, it cannot be read, or
    /// writing to `out` fails.
    pub fn salvage<W: Write>(path: &Path, out: W) -> Result<(u64, Result<(), Broken>), OpenError> {
        let (_lock, folder) = to_read(path)?;
        let found = Contents::salvage(&folder).map_err(|error| OpenError::Io { path: path.into(), error })?;
        match found {
            (_, 0, Err(broken)) => {
                let detail = format!("{broken}, and there is no key before that");
                Err(OpenError::Damaged { path: path.into(), detail })
            }
            (contents, keys, outcome) => Ok((write(path, &contents, keys, out)?, outcome)),
        }
    }

    /// As [`open`](Self::open), with other limits on its files.
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

/// A data directory that no process changes.
fn to_read(path: &Path) -> Result<(Lock, RealFolder), OpenError> {
    refuse_no_data(path)?;
    let lock = Lock::to_read(path)?;
    refuse_half_restored(path)?;
    refuse_other_format(path)?;
    let folder = RealFolder::to_read(path.into()).map_err(|error| OpenError::Io { path: path.into(), error })?;
    Ok((lock, folder))
}

/// Writes a dump of the directory at `path`.
fn write<W: Write>(path: &Path, contents: &Contents, keys: u64, out: W) -> Result<u64, OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let mut writer = DumpWriter::new(out).map_err(io)?;
    let loaded = write_all(contents, &mut writer).map_err(io)?;
    check_keys(path, loaded, keys)?;
    writer.finish().map_err(io)?;
    Ok(loaded.keys)
}

impl Opened {
    /// Whether the directory is new and empty.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.data_files.last_group() == 0
    }

    /// Whether it had been closed cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.data_files.was_clean()
    }

    /// Whether it ended in an incomplete write.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.data_files.was_torn()
    }

    /// The number of keys it should contain.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.data_files.expected_keys()
    }

    /// Visits every key.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the number of keys is not the one that was written.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, OpenError> {
        let loaded = self.data_files.load(visit).map_err(|error| strange(&self.path, &error))?;
        check_keys(&self.path, loaded, self.data_files.expected_keys())
    }

    /// Writes one group and forces it to disk; `keys` is the number of keys after it.
    #[cfg(test)]
    pub(super) fn write(&mut self, group: &super::Group, keys: u64) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io { path: self.path.clone(), error };
        let written = self.data_files.write(group, self.data_files.last_group() + 1, keys);
        written.and_then(|()| self.data_files.sync()).map_err(|failure| failed(io::Error::other(failure)))
    }

    /// Closes it cleanly.
    pub fn close(mut self) -> Result<(), OpenError> {
        let failed = |failure| OpenError::Io { path: self.path, error: io::Error::other(failure) };
        self.data_files.close().map_err(failed)
    }

    /// Starts a storage thread on it; `wake` is called when there is something to report.
    pub fn serve(self, sync: super::Sync, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Storage> {
        let options = StorageOptions { sync, backup: Some(self.path.join("backup").join("dump.latchkey")) };
        Storage::start_with(self.data_files, Some(self.lock), options, wake)
    }
}

/// Refuses a folder that contains files but none of a data directory: probably a mistyped path.
fn refuse_strange(path: &Path) -> Result<(), OpenError> {
    // An unreadable folder is refused later, by the attempt to write to it.
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let is_data =
        names.iter().any(|name| name == "journal" || (name != LOCK && name != RESERVE && names::is_ours(name)));
    // `lost+found` is in the root of some file systems; the others are left by an interrupted start.
    if is_data || names.iter().all(|name| name == "lost+found" || name == LOCK || name == RESERVE) {
        return Ok(());
    }
    Err(OpenError::Strange { path: path.into() })
}

/// Refuses an unreadable folder, and one that is not a data directory.
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
    let detail = format!("it has {} keys where {expected} were written", loaded.keys);
    Err(OpenError::Damaged { path: path.into(), detail })
}

fn strange(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Damaged { path: path.into(), detail: error.to_string() }
}
