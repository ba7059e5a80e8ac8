//! Reading and writing certificate and key files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::terminal;
use crate::tls::PemSource;

/// A file could not be read or written. The text names it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// The kind of the operating system's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everyone: certificates.
    Everyone,
    /// The owner only: private keys.
    Owner,
}

fn at<T>(result: io::Result<T>, doing: &'static str, path: &Path) -> Result<T, FileError> {
    result.map_err(|source| FileError { doing, path: path.to_owned(), source })
}

/// The folder of a file; `.` for a bare file name.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Maximum size of certificate, revocation list and rule files. The largest public revocation lists have some 50 MB.
const LONGEST: u64 = 256 << 20;

/// Time limit for reading a pipe; longer than any program that prints a secret needs.
const PIPE_PATIENCE: Duration = Duration::from_secs(30);

/// Interval at which an empty pipe is read again.
const PIPE_INTERVAL: Duration = Duration::from_millis(5);

/// Reads a whole file of up to 256 MiB. A pipe is read until its writer closes it, for at most 30 seconds.
pub fn read(path: &Path) -> Result<PemSource, FileError> {
    let bytes = read_within(path, LONGEST, PIPE_PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => io::Error::new(error.kind(), "it is a folder: name a file in it"),
        _ => error,
    });
    let bytes = at(bytes, "read", path)?;
    Ok(PemSource { name: path.display().to_string(), bytes })
}

/// Does not block on opening, as a pipe without a writer otherwise would.
fn read_within(path: &Path, longest: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MiB", longest >> 20));
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > longest {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut file = file.take(longest + 1);
    let mut waited = Duration::ZERO;
    loop {
        match file.read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > longest => return Err(too_long()),
            // A pipe without a writer so far reads as end of file, like a closed one.
            Ok(_) if !metadata.file_type().is_fifo() || !bytes.is_empty() => return Ok(bytes),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if waited >= patience {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the writer of this pipe is missing or has not closed it",
            ));
        }
        std::thread::sleep(PIPE_INTERVAL);
        waited += PIPE_INTERVAL;
    }
}

/// Replaces a file atomically: other processes see the old content or the new. The permissions are set before the
/// content is written.
pub fn write(path: &Path, content: &str, readers: Readers) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = match readers {
        Readers::Everyone => 0o644,
        Readers::Owner => 0o600,
    };
    // Left over from a killed process with the same process id.
    let _ = fs::remove_file(&temporary);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    at(renamed, "write", path)
}

/// Who can read a file, by its permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadableBy {
    /// Its owner only, as required for a private key.
    Owner,
    /// Also the members of its group.
    Group,
    /// Everyone on the machine.
    Everyone,
}

impl std::fmt::Display for ReadableBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Owner => "its owner only",
            Self::Group => "its group",
            Self::Everyone => "everyone",
        })
    }
}

/// Who can change the content of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Only the user who runs this program.
    Owner,
    /// Another user, who owns it.
    AnotherUser,
    /// Also its group or everyone on the machine.
    Others,
}

/// Who can change the content of the folder at `path`.
pub fn writers(path: &Path) -> Result<Writers, FileError> {
    let metadata = at(fs::metadata(path), "examine", path)?;
    Ok(if metadata.uid() != rustix::process::geteuid().as_raw() {
        Writers::AnotherUser
    } else if metadata.permissions().mode() & 0o022 != 0 {
        Writers::Others
    } else {
        Writers::Owner
    })
}

/// Who can read the file at `path`.
pub fn readers(path: &Path) -> Result<ReadableBy, FileError> {
    let mode = at(fs::metadata(path), "examine", path)?.permissions().mode();
    Ok(match (mode & 0o044, mode & 0o004) {
        (0, _) => ReadableBy::Owner,
        (_, 0) => ReadableBy::Group,
        _ => ReadableBy::Everyone,
    })
}

/// Removes a file.
pub fn remove(path: &Path) -> Result<(), FileError> {
    at(fs::remove_file(path), "remove", path)
}

/// Creates a folder for keys unless it exists, with a `.gitignore` that excludes everything, and locks it against other
/// processes of this program until the result is dropped.
pub fn lock(dir: &Path) -> Result<File, FileError> {
    if !dir.exists() {
        at(DirBuilder::new().recursive(true).mode(0o700).create(dir), "make the folder", dir)?;
        write(&dir.join(".gitignore"), "*\n", Readers::Everyone)?;
    }
    let path = dir.join(".lock");
    let mut options = OpenOptions::new();
    let file = at(options.create(true).truncate(false).write(true).mode(0o600).open(&path), "open", &path)?;
    // A user who can open a file can lock it indefinitely. Older versions let every user open this one.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    at(wait_for(&file, &path), "lock", &path)?;
    Ok(file)
}

/// Locks `file`, and reports a long wait: other processes of this program hold the lock briefly.
fn wait_for(file: &File, path: &Path) -> io::Result<()> {
    const LOOKS: u32 = 20;
    for _ in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_secs(1) / LOOKS),
        }
    }
    let path = path.display();
    terminal::tell(format_args!("waiting for the process that has locked {path} (`fuser {path}` shows it)"));
    file.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_readable_by_its_owner_only_also_when_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key.pem");
        for content in ["first", "second"] {
            write(&path, content, Readers::Owner).expect("it writes");
            let mode = fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(read(&path).expect("it reads").bytes, content.as_bytes());
        }
        assert_eq!(fs::read_dir(dir.path()).expect("it lists").count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_error_names_the_file() {
        let error = read(Path::new("/nonexistent/ca.pem")).expect_err("it is not there");
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = read(Path::new("/")).expect_err("it is a folder").to_string();
        assert_eq!(error, "cannot read /: it is a folder: name a file in it");
    }

    #[test]
    fn reading_a_pipe_or_a_long_file_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("long.pem");
        fs::write(&path, [0; 100]).expect("written");
        assert_eq!(read_within(&path, 100, Duration::ZERO).expect("it is short enough").len(), 100);
        for endless in [path.as_path(), Path::new("/dev/zero")] {
            let error = read_within(endless, 99, Duration::ZERO).expect_err("it is too long");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let error = read_within(&pipe, 99, Duration::from_millis(20)).expect_err("nobody writes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut writer = OpenOptions::new().read(true).write(true).open(&pipe).expect("both ends");
        writer.write_all(b"a part").expect("written");
        let error = read_within(&pipe, 99, Duration::from_millis(20)).expect_err("nobody closes it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        writer.write_all(b"whole").expect("written");
        let holder = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("a reader");
        drop(writer);
        assert_eq!(read_within(&pipe, 99, Duration::ZERO).expect("closed"), b"whole");
        drop(holder);
    }
}
