//! A data directory: who has it, whether it is whole, how it is opened and closed.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the process that has the directory |
//! | `mark` | how far the journal is known to be on disk, and whether it was closed in order |
//! | `journal/` | the engine's own |
//! | `aside/` | the journals as an unclean end left them; replaced by the next one, removed by the next clean opening |
//! | `backup/` | backups of the running server |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OpenError;
use super::dump::{DumpWriter, write_all};
use super::group::Group;
use super::inspect::{Inspection, inspect};
use super::keeper::{Keeper, Loaded, Record};
use super::lsm::Lsm;
use super::mark::MarkFile;
use super::storage::{Storage, StorageOptions};

/// A place for a server's data.
#[derive(Debug)]
pub struct Directory;

/// A directory that is open, and this process's.
pub struct Opened {
    path: PathBuf,
    pub(super) keeper: Keeper<Lsm>,
    mark: MarkFile,
    lock: File,
    was_clean: bool,
    torn: u64,
}

impl Directory {
    /// Opens the directory at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// Somebody else has it; or what was acknowledged is not all there, and then nothing was changed.
    pub fn open(path: &Path) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| OpenError::Make { path: path.into(), error })?;
        let lock = lock(path)?;
        let (mut mark, recorded) = MarkFile::open(&path.join("mark")).map_err(io)?;
        let journal = path.join("journal");
        let inspection = inspect(&journal).map_err(io)?;
        let is_there = journal.try_exists().map_err(io)?;
        if is_there && recorded.is_none() {
            let detail = "its file 'mark' is missing or unreadable, so it cannot be told whether it is whole".into();
            return Err(OpenError::Damaged { path: path.into(), detail });
        }
        let recorded = recorded.unwrap_or_default();
        check(path, &inspection, recorded.group)?;
        let aside = path.join("aside");
        let was_clean = recorded.clean || !is_there;
        if was_clean && inspection.torn.is_empty() {
            remove(&aside).map_err(io)?;
        } else {
            inspection.copy_to(&aside).map_err(io)?;
        }
        inspection.cut().map_err(io)?;
        // On disk before the engine is, so that a journal with no mark is always a loss.
        mark.set_clean(false).and_then(|()| File::open(path)?.sync_all()).map_err(io)?;
        let keeper = Lsm::open(&journal).and_then(Keeper::new).map_err(|error| strange(path, &error))?;
        let last = keeper.last_group();
        if last < recorded.group {
            // Only now can it be told from a journal that was new when the machine stopped: what was cut off goes back.
            drop(keeper);
            inspection.restore_from(&aside).map_err(io)?;
            return Err(lost(path, last + 1, recorded.group, "at the beginning of the journal".into()));
        }
        let torn = inspection.torn.len() as u64;
        Ok(Opened { path: path.into(), keeper, mark, lock, was_clean, torn })
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
        self.was_clean
    }

    /// How many journals had an unfinished end, which is gone now.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
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
        let (snapshot, generation) = self.keeper.snapshot();
        let loaded = write_all(&*snapshot, generation, &mut writer).map_err(io)?;
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
        let last = self.keeper.last_group() + 1;
        let written = self.keeper.write(group, last, keys).and_then(|()| self.keeper.sync());
        let written = written.and_then(|()| self.mark.advance(last));
        written.map_err(|error| OpenError::Io { path: self.path.clone(), error })
    }

    /// Closes it in order.
    pub fn close(mut self) -> Result<(), OpenError> {
        let closed = self.keeper.sync().and_then(|()| self.mark.set_clean(true));
        closed.map_err(|error| OpenError::Io { path: self.path, error })
    }

    /// Starts a storage thread on it; `wake` is called whenever that has something to tell.
    pub fn serve(self, sync: super::Sync, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Storage> {
        let options = StorageOptions { sync, backup: Some(self.path.join("backup").join("dump.latchkey")) };
        Storage::start_with(self.keeper, Some((self.mark, self.lock)), options, wake)
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let options = OpenOptions::new().write(true).create(true).truncate(false).open(path.join("lock"));
    let file = options.map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.into())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Whether the journals hold what was acknowledged.
fn check(path: &Path, inspection: &Inspection, recorded: u64) -> Result<(), OpenError> {
    if let Some((from, to, file)) = &inspection.gap {
        return Err(lost(path, *from, *to, format!("before the rest of {file}, or in the journal ahead of it")));
    }
    match inspection.last {
        Some(last) if last < recorded => {
            let file = inspection.files.last().map(|file| file.display().to_string()).unwrap_or_default();
            Err(lost(path, last + 1, recorded, format!("at the end of {file}")))
        }
        _ => Ok(()),
    }
}

fn lost(path: &Path, found: u64, recorded: u64, detail: String) -> OpenError {
    OpenError::Lost { path: path.into(), found, recorded, detail }
}

fn strange(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Damaged { path: path.into(), detail: error.to_string() }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
