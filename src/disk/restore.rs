//! Makes a data directory from a dump, in place: a file in it, created first and removed last, marks it as incomplete.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use super::OpenError;
use super::data_files::{DataFiles, FileSizes, Record};
use super::directory::{check_keys, of_broken};
use super::dump::{DumpError, DumpReader};
use super::folder::{Folder, RealFolder, make};
use super::group::{Change, Group};
use super::lock::Lock;
use super::names::{self, LOCK, MARK, RESTORING};

/// A folder that some file systems have in their root.
const LOST_AND_FOUND: &str = "lost+found";
/// Bytes written in one batch.
const BATCH: usize = 8 << 20;

/// Why a restore failed, and what is left of it.
#[derive(Debug, thiserror::Error)]
#[error("{why}{left}")]
pub struct RestoreError {
    /// The reason.
    pub why: DumpError,
    /// What is left.
    pub left: Left,
}

/// What a failed restore has left.
#[derive(Debug)]
pub enum Left {
    /// Everything is unchanged: nothing had been written.
    Untouched,
    /// What had been written is removed.
    Cleared,
    /// What had been written could not be removed.
    HalfRestored {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untouched => Ok(()),
            Self::Cleared => f.write_str("; what had been written is removed"),
            Self::HalfRestored { path, error } => {
                write!(f, "; {} is left half-restored ({error}): remove it", path.display())
            }
        }
    }
}

/// Makes the directory at `path` from the dump in `input`, which is read once; returns the number of keys.
///
/// The directory is created, or is empty, or has what an interrupted restore has left, which is removed. A restore
/// killed at any moment leaves a directory that is complete, or one that is refused.
///
/// # Errors
///
/// `input` is not a dump, or is damaged; the directory is not empty; or it cannot be written.
pub fn restore<R: Read>(input: R, path: &Path) -> Result<u64, RestoreError> {
    let untouched = |why| RestoreError { why, left: Left::Untouched };
    // An input that is not a dump changes nothing.
    let dump = DumpReader::new(input).map_err(untouched)?;
    let claim = Claim::new(path).map_err(|error| untouched(error.into()))?;
    match fill(dump, &claim.folder, path, BATCH) {
        Ok(keys) => Ok(keys),
        Err(why) => {
            let left = match claim.clear() {
                Ok(()) => Left::Cleared,
                Err(error) => Left::HalfRestored { path: path.into(), error },
            };
            Err(RestoreError { why, left })
        }
    }
}

/// A directory claimed by this restore.
struct Claim<'a> {
    path: &'a Path,
    /// The directory and those of its parents that did not exist before, the innermost first.
    made: Vec<&'a Path>,
    folder: Arc<dyn Folder>,
    lock: Lock,
}

impl<'a> Claim<'a> {
    fn new(path: &'a Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        refuse_content(path)?;
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
        let made: Vec<_> = path.ancestors().take_while(is_missing).collect();
        make(path, 0o700).map_err(|error| OpenError::Make { path: path.into(), error })?;
        let lock = Lock::take(path).inspect_err(|_| remove_empty(&made))?;
        // From here on no other process changes it.
        refuse_content(path)?;
        let folder = Arc::new(RealFolder::new(path.into()).map_err(io)?);
        Ok(Self { path, made, folder, lock })
    }

    /// Leaves it as it was found, or empty.
    fn clear(self) -> io::Result<()> {
        undo(&*self.folder)?;
        // An empty file or folder that is left does not hinder the next restore.
        let _ = fs::remove_file(self.path.join(LOCK));
        drop(self.lock);
        remove_empty(&self.made);
        Ok(())
    }
}

/// Removes folders, unless they are not empty.
fn remove_empty(folders: &[&Path]) {
    let _ = folders.iter().try_for_each(fs::remove_dir);
}

/// Refuses a directory with other files than those of an interrupted restore or of the file system.
fn refuse_content(path: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    // A link or a folder was not made by a restore, whatever its name.
    let names = entries.map(|entry| {
        let entry = entry?;
        let is_own = entry.file_type()?.is_file() || entry.file_name() == LOST_AND_FOUND;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok(if is_own { name } else { format!("{name}/") })
    });
    let names = names.collect::<io::Result<Vec<_>>>().map_err(io)?;
    let is_half_restored = names.iter().any(|name| name == RESTORING);
    let may_stay = |name: &str| name == LOST_AND_FOUND || name == LOCK || is_half_restored && names::is_ours(name);
    if names.iter().all(|name| may_stay(name)) { Ok(()) } else { Err(OpenError::NotEmpty { path: path.into() }) }
}

/// Fills a folder that is empty but for what an interrupted restore has left; `path` is its name in errors, and `batch`
/// the bytes written at once.
pub(super) fn fill<R: Read>(
    dump: DumpReader<R>,
    folder: &Arc<dyn Folder>,
    path: &Path,
    batch: usize,
) -> Result<u64, DumpError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let begun = folder.create(RESTORING).and_then(|mut mark| mark.sync()).and_then(|()| folder.sync());
    begun.and_then(|()| clear(&**folder)).map_err(io)?;
    let mut data_files =
        DataFiles::with_sizes(Arc::clone(folder), FileSizes::default()).map_err(|broken| of_broken(path, broken))?;
    let (mut group, mut keys) = (Group::default(), 0);
    let mut write = |group: &Group, keys| {
        let written = data_files.write(group, data_files.last_group() + 1, keys).and_then(|()| data_files.sync());
        written.map_err(|failure| io(io::Error::other(failure)))
    };
    dump.read(&mut |record| {
        let Record { key, kind, expires, data } = record;
        group.push(&Change::Put { key, kind, expires, data });
        keys += 1;
        if group.len() >= batch {
            write(&group, keys)?;
            group.reset();
        }
        Ok(())
    })?;
    write(&group, keys)?;
    let loaded = data_files.load(&mut |_| {}).map_err(io)?;
    check_keys(path, loaded, keys)?;
    data_files.close().map_err(|failure| io(io::Error::other(failure)))?;
    folder.remove(RESTORING).and_then(|()| folder.sync()).map_err(io)?;
    Ok(keys)
}

/// Removes what was written, and then the mark.
pub(super) fn undo(folder: &dyn Folder) -> io::Result<()> {
    clear(folder)?;
    match folder.remove(RESTORING) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => folder.sync(),
    }
}

/// Removes as much as possible of what was written, and forces that to disk. The manifest goes first: journals without
/// it are refused, whether the mark is there or not.
fn clear(folder: &dyn Folder) -> io::Result<()> {
    let mut names = folder.list()?;
    names.retain(|name| names::is_ours(name) && name != LOCK && name != RESTORING);
    names.sort_by_key(|name| name != MARK);
    let mut result = Ok(());
    for name in names {
        let removed = folder.remove(&name);
        result = result.and(removed.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}"))));
    }
    result.and_then(|()| folder.sync())
}
