//! The file system operations of the data directory, and the real ones. `sim` has the simulated ones, which lose what
//! was not synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The log line for a data directory that has been removed while the server runs.
pub(super) const GONE: &str = "the data directory is gone: acknowledged writes are in memory only and are lost when this \
                               process ends; copy the keys to another server through a client before that";

/// A folder with files; its subfolders do not matter.
pub trait Folder: Send + Sync {
    /// The names of its files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file, replacing one with the same name.
    fn create(&self, name: &str) -> io::Result<Box<dyn FileHandle>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn FileHandle>>;

    /// Renames a file, replacing one with the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Open files stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Free space in bytes.
    fn room(&self) -> io::Result<u64>;

    /// Forces names to disk, but not the files' content.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait FileHandle: Send {
    /// Reads up to `bytes.len()` bytes; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Hands all bytes to the system: they survive the process, but not yet the machine. After an error, any of them
    /// may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Forces written bytes to disk. After an error it is unknown what is on disk, and the call must not be repeated.
    fn sync(&mut self) -> io::Result<()>;

    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
}

/// A folder of the operating system.
#[derive(Debug)]
pub(super) struct RealFolder {
    path: PathBuf,
    /// Kept open, because names must also be synced when descriptors have run out.
    itself: File,
    /// Files are opened for writing too.
    is_writable: bool,
}

impl RealFolder {
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let itself = File::open(&path)?;
        Ok(Self { path, itself, is_writable: true })
    }

    /// A folder whose files are only read: it may belong to another user or be on a read-only file system.
    pub(super) fn to_read(path: PathBuf) -> io::Result<Self> {
        Ok(Self { is_writable: false, ..Self::new(path)? })
    }
}

/// Creates a folder with its parents, and forces the names of all it created to disk: files in them would be lost with
/// any of them.
pub(super) fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        Err(_) if path.is_dir() => {
            // The creator may not have synced it. Its parent may be unreadable to this user.
            let _ = sync_parent(path);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = parent(path);
            if parent == path {
                return Err(error);
            }
            make(parent, mode)?;
            match DirBuilder::new().mode(mode).create(path) {
                // It exists by now: created by another process, or by another name of its parent (`new/..`).
                Err(error) if !path.is_dir() => Err(error),
                _ => sync_parent(path),
            }
        }
        Err(error) => Err(error),
    }
}

/// Free space of the file system at `path`, in bytes.
pub(super) fn room(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Forces a name to disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Folder for RealFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn FileHandle>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn FileHandle>> {
        Ok(Box::new(OpenOptions::new().read(true).write(self.is_writable).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn room(&self) -> io::Result<u64> {
        room(&self.path)
    }

    fn sync(&self) -> io::Result<()> {
        self.itself.sync_all()
    }
}

impl FileHandle for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_created_with_its_parents_however_it_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("one/../two/./three/");
        for _ in 0..2 {
            make(&path, 0o700).expect("made");
        }
        assert!(folder.path().join("two/three").is_dir());
        std::fs::write(folder.path().join("file"), "").expect("written");
        assert!(make(&folder.path().join("file"), 0o700).is_err());
        assert!(make(&folder.path().join("file/below"), 0o700).is_err());
    }
}
