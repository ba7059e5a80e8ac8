//! What the journal asks of a file system, and the real one. `sim` is the other: it loses what was not forced to disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What to say when the folder of a running server is no longer there.
pub(super) const GONE: &str = "the data directory is gone: what is acknowledged lives in memory alone and ends with this \
                               process; copy the keys to another server through a client before it is stopped";

/// A folder with files, without folders in it that matter.
pub trait Folder: Send + Sync {
    /// The names of its files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file, in the place of one that has the name.
    fn create(&self, name: &str) -> io::Result<Box<dyn FileHandle>>;

    /// A file that is there, to be read and written.
    fn open(&self, name: &str) -> io::Result<Box<dyn FileHandle>>;

    /// Gives a file another name, whoever has that now.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a name away. Who has the file open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// How many bytes may still be written.
    fn room(&self) -> io::Result<u64>;

    /// Forces names to disk, but not what stands under them.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait FileHandle: Send {
    /// Reads what there is, at most as much as there is room for; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Hands all bytes to the system: they survive the process, but not yet the machine. After an error, any of them may
    /// have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Forces what was written to disk. After an error it is unknown what is there, and no call may be repeated.
    fn sync(&mut self) -> io::Result<()>;

    /// How many bytes there are.
    fn length(&self) -> io::Result<u64>;
}

/// A folder of the system.
#[derive(Debug)]
pub(super) struct RealFolder {
    path: PathBuf,
    /// Open all the time, for names must be forced to disk when descriptors have run out too.
    itself: File,
    /// Files are opened to be written, too.
    is_writable: bool,
}

impl RealFolder {
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let itself = File::open(&path)?;
        Ok(Self { path, itself, is_writable: true })
    }

    /// One of which files are only read: it may be of somebody else, or on a disk that takes no writes.
    pub(super) fn to_read(path: PathBuf) -> io::Result<Self> {
        Ok(Self { is_writable: false, ..Self::new(path)? })
    }
}

/// Makes a folder, with those that it stands in, and forces the names of all that it made to disk: what is kept in it would
/// be lost with any of them.
pub(super) fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        Err(_) if path.is_dir() => {
            // Whoever has made it may not have done so. Not everybody may look at the folder that it stands in.
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
                // It is there by now: made by somebody else, or the one above it by another name (`new/..`).
                Err(error) if !path.is_dir() => Err(error),
                _ => sync_parent(path),
            }
        }
        Err(error) => Err(error),
    }
}

/// How many bytes may still be written to the file system at `path`.
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
    fn a_folder_is_made_with_those_it_stands_in_however_it_is_named() {
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
