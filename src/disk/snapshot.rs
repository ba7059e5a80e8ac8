//! Snapshots: a file with every key once, which replaces the journals before it.

use std::io;
use std::sync::atomic::AtomicBool;

use super::broken::Broken;
use super::folder::{FileHandle, Folder};
use super::group::{Raw, push_put};
use super::merge::{MergeSource, View};
use super::names;
use super::record::{Chain, FILE_HEAD, FileHead, HEAD, Head, find};

/// Values are collected up to this many bytes before they are written as one record.
const BLOCK: usize = 256 << 10;
/// Bytes written between two syncs: more at once would delay the syncs of the journal.
const UNSYNCED: u64 = 4 << 20;

/// An existing snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The first journal that is not in it.
    pub(super) number: u64,
    /// The last group in it.
    pub(super) group: u64,
    /// The number of keys in it.
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// The checksum of the last record in it.
    pub(super) previous: u64,
}

impl Snapshot {
    /// Reads its two ends; `None` if it is not complete.
    pub(super) fn inspect(file: &dyn FileHandle, number: u64) -> io::Result<Option<Self>> {
        let bytes = file.length()?;
        let (mut front, mut back) = ([0; FILE_HEAD], [0; HEAD]);
        let Some(end) = bytes.checked_sub(HEAD as u64) else { return Ok(None) };
        read_exact(file, &mut front, 0)?;
        read_exact(file, &mut back, end)?;
        let whole = FileHead::decode(&front).and_then(|(head, _)| {
            let end = find(&back, head.salt)?.head;
            let agree = end.is_end && end.last == head.group && end.keys == head.keys && end.length == 0;
            let agree = agree && head.is_snapshot && head.number == number;
            agree.then_some(Self { number, group: head.group, keys: head.keys, bytes, previous: head.previous })
        });
        Ok(whole)
    }

    /// Verifies all of it.
    pub(super) fn verify(&self, folder: &dyn Folder) -> Result<(), Broken> {
        let source = self.source(folder)?;
        let mut keys = 0;
        let read = source.each(&AtomicBool::new(false), &mut |change| {
            keys += u64::from(matches!(change, Raw::Put { .. }));
            Ok(())
        });
        let damaged = |detail: String| Err(Broken::Damaged(detail));
        match read {
            Err(error) if error.raw_os_error().is_some() => Err(error.into()),
            Err(error) => damaged(error.to_string()),
            Ok(()) if keys != self.keys => damaged(format!("{} has {keys} keys, not {}", source.name, self.keys)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn source(&self, folder: &dyn Folder) -> io::Result<MergeSource> {
        let name = names::snapshot(self.number);
        Ok(MergeSource { file: folder.open(&name)?, name, end: self.bytes })
    }
}

fn read_exact(file: &dyn FileHandle, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = file.read_at(bytes, offset)?;
        if read == 0 {
            break;
        }
        offset += read as u64;
        bytes = bytes.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

/// Writes a snapshot of everything in `view`. It gets its name when it is complete and on disk. `head` describes the
/// expected content.
pub(super) fn write(folder: &dyn Folder, view: &View, head: FileHead, index: usize) -> io::Result<Snapshot> {
    let mut writer = Writer::new(folder.create(names::UNFINISHED)?, head)?;
    view.merge(index, &mut |key, value| {
        push_put(&mut writer.body, key, value);
        writer.keys += 1;
        if writer.body.len() < BLOCK { Ok(()) } else { writer.flush(false) }
    })?;
    if writer.keys != head.keys {
        return Err(io::Error::other(format!("found {} keys where {} were written", writer.keys, head.keys)));
    }
    let bytes = writer.finish()?;
    folder.rename(names::UNFINISHED, &names::snapshot(head.number))?;
    folder.sync()?;
    Ok(Snapshot { number: head.number, group: head.group, keys: head.keys, bytes, previous: head.previous })
}

struct Writer {
    file: Box<dyn FileHandle>,
    chain: Chain,
    group: u64,
    keys: u64,
    position: u64,
    synced: u64,
    /// A head, and the body of the next record.
    record: Vec<u8>,
    body: Vec<u8>,
}

impl Writer {
    fn new(mut file: Box<dyn FileHandle>, head: FileHead) -> io::Result<Self> {
        let (bytes, previous) = head.encode();
        file.write_at(&bytes, 0)?;
        let chain = Chain { salt: head.salt, previous };
        let position = FILE_HEAD as u64;
        let (record, body) = (Vec::new(), Vec::new());
        Ok(Self { file, chain, group: head.group, keys: 0, position, synced: 0, record, body })
    }

    fn flush(&mut self, is_end: bool) -> io::Result<()> {
        let group = self.group;
        let head = Head { is_end, length: 0, first: group, last: group, keys: self.keys, durable: group };
        let (bytes, chain) = self.chain.seal(&head, &self.body);
        self.record.clear();
        self.record.extend_from_slice(&bytes);
        self.record.extend_from_slice(&self.body);
        self.file.write_at(&self.record, self.position)?;
        self.position += self.record.len() as u64;
        self.chain = chain;
        self.body.clear();
        self.body.shrink_to(2 * BLOCK);
        self.record.shrink_to(2 * BLOCK);
        if self.position - self.synced >= UNSYNCED {
            self.file.sync()?;
            self.synced = self.position;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        if !self.body.is_empty() {
            self.flush(false)?;
        }
        self.flush(true)?;
        self.file.sync()?;
        Ok(self.position)
    }
}
