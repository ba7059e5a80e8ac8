//! Backups of a running server: its state at one time, as a dump, written by its own thread.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::data_files::Contents;
use super::dump::{DumpWriter, write_all};
use super::folder::{GONE, make, room, sync_parent};

/// Starts writing `contents` to `path`, and logs the result. `tell` is called once, with the number of keys or the
/// reason of the failure.
#[expect(clippy::disallowed_methods, reason = "how long it takes is logged")]
pub(super) fn begin<T>(contents: io::Result<Contents>, path: PathBuf, tell: T)
where
    T: Fn(Result<u64, String>) + Clone + Send + 'static,
{
    let (begun, file, failed) = (Instant::now(), path.clone(), tell.clone());
    let write = move || {
        let written = contents.and_then(|contents| write_file(&contents, &path));
        tell(log(&path, written, begun));
    };
    if let Err(error) = thread::Builder::new().name("backup".into()).spawn(write) {
        failed(log(&file, Err(error), begun));
    }
}

fn log(path: &Path, written: io::Result<(u64, u64)>, begun: Instant) -> Result<u64, String> {
    let file = path.display();
    match written {
        Ok((keys, bytes)) => {
            let seconds = format_args!("{:.2}", begun.elapsed().as_secs_f64()).to_string();
            tracing::info!(%file, keys, bytes, seconds, "backup written");
            Ok(keys)
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::NotFound && path.ancestors().nth(2).is_some_and(|data| !data.exists()) {
                tracing::error!("{GONE}");
                return Err(GONE.into());
            }
            tracing::error!(
                %file,
                %error,
                "backup failed, and an earlier one stays as it is: free space or fix what the error reports, and send \
                 BGSAVE again"
            );
            Err(error.to_string())
        }
    }
}

/// Space that a backup leaves to the journal, if that is not too much of the free space: a backup must not make writes
/// fail.
const SPARED: u64 = 16 << 20;
/// At most one part in this many of the free space is left.
const SPARED_SHARE: u64 = 8;
/// Bytes written between two checks of the free space.
const STEP: u64 = 1 << 20;

/// A writer that stops when the free space becomes low.
struct Sparing {
    file: File,
    folder: PathBuf,
    spared: u64,
    /// Bytes that may be written before the next check.
    left: u64,
}

impl Sparing {
    fn new(file: File, folder: &Path) -> io::Result<Self> {
        let spared = SPARED.min(room(folder)? / SPARED_SHARE);
        Ok(Self { file, folder: folder.into(), spared, left: 0 })
    }
}

impl Write for Sparing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            let room = room(&self.folder)?;
            self.left = room.saturating_sub(self.spared).min(STEP);
            if self.left == 0 {
                let spared = self.spared;
                let told =
                    format!("it does not fit: {room} bytes are free, of which {spared} are reserved for the journal");
                return Err(io::Error::new(io::ErrorKind::StorageFull, told));
            }
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let written = self.file.write(bytes.get(..most).unwrap_or(bytes))?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the content of a directory to `path`, replacing an earlier backup when complete. Returns keys and bytes.
fn write_file(contents: &Contents, path: &Path) -> io::Result<(u64, u64)> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    make(folder, 0o700)?;
    let unfinished = path.with_extension("unfinished");
    let written = write_unfinished(contents, &unfinished).inspect_err(|_| {
        // The partial file takes the space that is missing.
        let _ = fs::remove_file(&unfinished);
    })?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)?;
    Ok(written)
}

fn write_unfinished(contents: &Contents, path: &Path) -> io::Result<(u64, u64)> {
    let folder = path.parent().unwrap_or(path);
    let mut writer = DumpWriter::new(BufWriter::new(Sparing::new(private(path)?, folder)?))?;
    write_all(contents, &mut writer)?;
    let (out, keys) = writer.finish()?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?.file;
    file.sync_all()?;
    Ok((keys, file.metadata()?.len()))
}

/// Creates a file that only its owner can read.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
