//! Backups of a running server: what it holds at one time, as a dump, written by a thread of its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::data_files::Contents;
use super::dump::{DumpWriter, write_all};
use super::folder::{GONE, make, room, sync_parent};

/// Begins to write `contents` to `path`, and logs what becomes of it. `tell` is called once, with the number of keys in it
/// or why there is none.
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
                "no backup could be written, and an earlier one stays as it is: make room or mend what the error says, and \
                 send BGSAVE again"
            );
            Err(error.to_string())
        }
    }
}

/// Room that a backup leaves to the journal, where that is not too much of what there is: writes must not be refused for the
/// sake of a backup.
const SPARED: u64 = 16 << 20;
/// Of the room there is, no more than one part in so many is spared.
const SPARED_SHARE: u64 = 8;
/// So much is written between two looks at the room.
const STEP: u64 = 1 << 20;

/// Writes to a file as long as there is room for others.
struct Sparing {
    file: File,
    folder: PathBuf,
    spared: u64,
    /// Bytes that may be written before the next look.
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
                let told = format!("it does not fit: {room} bytes are left, of which {spared} are for the journal");
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

/// Writes what a directory holds to `path`: whole or not at all, in the place of an earlier one. Keys and bytes.
fn write_file(contents: &Contents, path: &Path) -> io::Result<(u64, u64)> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    make(folder, 0o700)?;
    let unfinished = path.with_extension("unfinished");
    let written = write_unfinished(contents, &unfinished).inspect_err(|_| {
        // The room that it takes is what was missing.
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

/// A new file that only its owner reads.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
