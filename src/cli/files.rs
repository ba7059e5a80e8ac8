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
    /// The operating system's own error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Who may read a file.
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

/// The folder that a file is in, however the file is named.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Certificates, lists and rules are no longer than this. The largest revocation lists in public use have some 50 MB.
const LONGEST: u64 = 256 << 20;

/// How long a pipe may take to bring all that it holds. Longer than any program that prints a secret needs.
const PIPE_PATIENCE: Duration = Duration::from_secs(30);

/// How often a pipe that holds nothing is looked at.
const PIPE_INTERVAL: Duration = Duration::from_millis(5);

/// Reads a whole file of up to 256 MiB. A pipe is read until it is closed, for half a minute at most.
pub fn read(path: &Path) -> Result<PemSource, FileError> {
    let bytes = read_within(path, LONGEST, PIPE_PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => io::Error::new(error.kind(), "it is a folder: name a file in it"),
        _ => error,
    });
    let bytes = at(bytes, "read", path)?;
    Ok(PemSource { name: path.display().to_string(), bytes })
}

/// Never waits for a file to open, which a pipe does until somebody writes into it.
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
            // A pipe that nobody has opened to write yet ends like one that is closed.
            Ok(_) if !metadata.file_type().is_fifo() || !bytes.is_empty() => return Ok(bytes),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if waited >= patience {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes into this pipe, or nobody closes it"));
        }
        std::thread::sleep(PIPE_INTERVAL);
        waited += PIPE_INTERVAL;
    }
}

/// Writes a whole file so that another process sees the old content or the new, never a part, and nobody who may not
/// read it can read it at any moment.
pub fn write(path: &Path, content: &str, readers: Readers) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = match readers {
        Readers::Everyone => 0o644,
        Readers::Owner => 0o600,
    };
    // Left behind by a process that was killed and had our number.
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

/// Who can read a file, as its permissions have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadableBy {
    /// Its owner only, as a private key must be.
    Owner,
    /// The members of its group too.
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

/// Who can change what is in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// The user who runs this program only.
    Owner,
    /// Another user, whose it is.
    AnotherUser,
    /// Its group or everyone on the machine, too.
    Others,
}

/// Who can change what is in the folder at `path`.
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

/// Makes a folder for keys, unless it is there, and one that git takes nothing from; and keeps other processes of this
/// program out of it until the result is dropped.
pub fn lock(dir: &Path) -> Result<File, FileError> {
    if !dir.exists() {
        at(DirBuilder::new().recursive(true).mode(0o700).create(dir), "make the folder", dir)?;
        write(&dir.join(".gitignore"), "*\n", Readers::Everyone)?;
    }
    let path = dir.join(".lock");
    let mut options = OpenOptions::new();
    let file = at(options.create(true).truncate(false).write(true).mode(0o600).open(&path), "open", &path)?;
    // Whoever may open a file may lock it, for as long as they like. An older version let everyone.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    at(wait_for(&file, &path), "lock", &path)?;
    Ok(file)
}

/// Locks `file`, and says so where that takes long: another process of this program is done in no time.
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
    terminal::tell(format_args!("waiting for another process that has locked {path} (`fuser {path}` shows which)"));
    file.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_readable_by_others_and_replacing_keeps_it_so() {
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
    fn a_pipe_and_a_long_file_have_an_end() {
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
