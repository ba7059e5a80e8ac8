//! A look at the engine's journals before the engine sees them.
//!
//! The engine's own reader stops in silence at the first entry that it cannot decode and forgets what comes behind, and
//! gives up over a batch whose checksum is wrong. Both are right for a torn end, and wrong for damage in the middle. Here
//! every batch is checked and its group number read: what was acknowledged must be there without a gap, and only what
//! stands behind the last whole batch of a file may be cut off.
//!
//! The format is that of `fjall` 3 (its `journal::entry`): a batch is a start (tag 1, item count, sequence number), items
//! (tag 2, value type, compression, keyspace, key length, two value lengths, key, value), and an end (tag 3, xxh3 over the
//! items, a trailer). Numbers are little-endian.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::keeper::{META_KEY, Meta};

const TRAILER: &[u8] = b"FJL\x03";

/// What the journals of a directory hold.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// Journals, the oldest first.
    pub(super) files: Vec<PathBuf>,
    /// The last group in them; `None` when they hold none.
    pub(super) last: Option<u64>,
    /// The first groups that are missing in the middle: from, to, and where.
    pub(super) gap: Option<(u64, u64, String)>,
    /// Files with something unreadable behind their last whole batch, and where that ends.
    pub(super) torn: Vec<(PathBuf, u64)>,
}

/// Reads the journals in `folder`; one that is not there holds none.
pub(super) fn inspect(folder: &Path) -> io::Result<Inspection> {
    let mut found = Inspection::default();
    let mut numbered = Vec::new();
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => {
            for entry in entries? {
                let path = entry?.path();
                let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
                if let (Some("jnl"), Some(number)) = (path.extension().and_then(|kind| kind.to_str()), number) {
                    numbered.push((number, path));
                }
            }
        }
    }
    numbered.sort();
    for (_, path) in numbered {
        found.add(path)?;
    }
    Ok(found)
}

impl Inspection {
    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        let bytes = fs::read(&path)?;
        let mut rest = bytes.as_slice();
        while let Some((meta, behind)) = batch(rest) {
            if let Some(meta) = meta {
                let expected = self.last.map_or(meta.first, |last| last + 1);
                if meta.first != expected && self.gap.is_none() {
                    self.gap = Some((expected, meta.first.saturating_sub(1), path.display().to_string()));
                }
                self.last = Some(meta.last);
            }
            rest = behind;
        }
        // A journal is given its full length when it is made: zeros are what nobody has written to.
        if rest.iter().any(|byte| *byte != 0) {
            self.torn.push((path.clone(), (bytes.len() - rest.len()) as u64));
        }
        self.files.push(path);
        Ok(())
    }

    /// Cuts off what stands behind the last whole batch of each file.
    pub(super) fn cut(&self) -> io::Result<()> {
        for (path, length) in &self.torn {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(*length)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// Copies the journals into `folder`, in the place of whatever is there.
    pub(super) fn copy_to(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(folder)?,
        }
        for path in &self.files {
            let Some(name) = path.file_name() else { continue };
            let copy = folder.join(name);
            fs::copy(path, &copy)?;
            File::open(&copy)?.sync_all()?;
        }
        Ok(())
    }

    /// Puts the journals back as they were, from the copies in `folder`.
    pub(super) fn restore_from(&self, folder: &Path) -> io::Result<()> {
        for path in &self.files {
            let Some(name) = path.file_name() else { continue };
            if folder.join(name).try_exists()? {
                fs::copy(folder.join(name), path)?;
                File::open(path)?.sync_all()?;
            }
        }
        Ok(())
    }
}

/// The whole batch at the front of `bytes`: the group it carries, if it carries one, and what comes behind it.
pub(super) fn batch(bytes: &[u8]) -> Option<(Option<Meta>, &[u8])> {
    let (items, mut rest) = {
        let (start, rest) = bytes.split_at_checked(13)?;
        let (tag, count) = start.split_first()?;
        let count = u32::from_le_bytes(count.get(..4)?.try_into().ok()?);
        (*tag == 1).then_some((count, rest))?
    };
    let body = rest;
    let mut meta = None;
    for _ in 0..items {
        let (head, behind) = rest.split_at_checked(21)?;
        if *head.first()? != 2 || *head.get(2)? != 0 {
            return None;
        }
        let key_length = u16::from_le_bytes(head.get(11..13)?.try_into().ok()?);
        let value_length = u32::from_le_bytes(head.get(17..21)?.try_into().ok()?);
        let (key, behind) = behind.split_at_checked(usize::from(key_length))?;
        let (value, behind) = behind.split_at_checked(usize::try_from(value_length).ok()?)?;
        if key == META_KEY {
            meta = Meta::decode(value);
        }
        rest = behind;
    }
    let body = body.get(..body.len() - rest.len())?;
    let (end, rest) = rest.split_at_checked(9 + TRAILER.len())?;
    let (tag, end) = end.split_first()?;
    let (sum, trailer) = end.split_at_checked(8)?;
    let is_good = *tag == 3 && trailer == TRAILER && u64::from_le_bytes(sum.try_into().ok()?) == xxh3_64(body);
    is_good.then_some((meta, rest))
}
