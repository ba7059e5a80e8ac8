//! Journals: files of records, one per batch of groups; and the check whether those in a directory are complete.

use std::io;

use super::broken::Broken;
use super::failure::StorageError;
use super::folder::{FileHandle, Folder};
use super::group::Group;
use super::manifest::Manifest;
use super::merge::MergeSource;
use super::names::{self, FileNames};
use super::record::{self, Chain, FILE_HEAD, FileHead, HEAD, Head, Reader};
use super::snapshot::Snapshot;

/// The share of the zeros filled ahead that one record may use. Larger ones would gain here too (a quarter of the time
/// at 72 KB), but the zeros are written twice, which dominates on a disk with slow writes.
const SHARE: usize = 8;

/// The end of a chain of journals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalPosition {
    /// The last group.
    pub(super) group: u64,
    /// The number of keys after it.
    pub(super) keys: u64,
    /// The checksum of the last record.
    pub(super) previous: u64,
}

/// A journal that is no longer written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) number: u64,
    /// Where its last record ends. What follows was not acknowledged.
    pub(super) end: u64,
}

impl Sealed {
    /// Writes the journal again as it is and forces it to disk: its content may only be in the system's cache, because
    /// the previous process was killed, or because a sync failed, after which Linux treats unwritten pages as written.
    pub(super) fn rewrite_synced(&self, folder: &dyn Folder) -> io::Result<()> {
        const CHUNK: u64 = 1 << 20;
        let mut file = folder.open(&names::journal(self.number))?;
        let (mut bytes, mut at) = (Vec::new(), 0);
        while at < self.end {
            bytes.resize(usize::try_from(CHUNK.min(self.end - at)).unwrap_or(0), 0);
            let read = file.read_at(&mut bytes, at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(bytes.get(..read).unwrap_or_default(), at)?;
            at += read as u64;
        }
        file.sync()
    }

    pub(super) fn source(&self, folder: &dyn Folder) -> io::Result<MergeSource> {
        let name = names::journal(self.number);
        Ok(MergeSource { file: folder.open(&name)?, name, end: self.end })
    }
}

/// The journal that is written to.
pub(super) struct Journal {
    pub(super) number: u64,
    /// The end of the last record.
    pub(super) position: u64,
    /// The end of the file; from the last record on it contains zeros.
    filled: u64,
    /// Writing zeros has failed, mostly for lack of space, so it is not tried again.
    is_cramped: bool,
    file: Box<dyn FileHandle>,
    chain: Chain,
    /// The record being built.
    record: Vec<u8>,
}

/// A journal being created. It gets its name when it is complete and on disk, so that an unreadable journal is always
/// damage.
pub(super) struct Fresh(Journal);

impl Fresh {
    /// Creates a journal that follows `place`. If that fails, nothing is changed.
    pub(super) fn begin(folder: &dyn Folder, number: u64, place: JournalPosition) -> io::Result<Self> {
        let JournalPosition { group, keys, previous } = place;
        let head = FileHead { is_snapshot: false, number, group, keys, salt: record::salt(), previous };
        let mut file = folder.create(names::FRESH)?;
        let (bytes, previous) = head.encode();
        file.write_at(&bytes, 0)?;
        let chain = Chain { salt: head.salt, previous };
        Ok(Self(Journal::new(number, (FILE_HEAD as u64, FILE_HEAD as u64), file, chain)))
    }

    /// Renames it. If that fails, nothing may be appended to the previous journal either.
    pub(super) fn finish(mut self, folder: &dyn Folder) -> Result<Journal, StorageError> {
        self.0.file.sync().map_err(|error| StorageError::sync(&error))?;
        folder.rename(names::FRESH, &names::journal(self.0.number)).map_err(|error| StorageError::write(&error))?;
        folder.sync().map_err(|error| StorageError::sync(&error))?;
        Ok(self.0)
    }
}

impl Journal {
    /// A journal whose records end at `position`, in a file that ends at `filled`.
    fn new(number: u64, (position, filled): (u64, u64), file: Box<dyn FileHandle>, chain: Chain) -> Self {
        Self { number, position, filled, is_cramped: false, file, chain, record: Vec::new() }
    }

    /// Appends a record: one copy of the changes, one checksum, one write. After an error the end is unchanged,
    /// whatever part of the record follows it. If the file must become longer, it becomes `ahead` bytes longer than the
    /// record needs.
    pub(super) fn append(&mut self, head: &Head, group: &Group, ahead: usize) -> io::Result<()> {
        const KEPT: usize = 1 << 20;
        let (bytes, chain) = self.chain.seal(head, group.bytes());
        self.record.clear();
        self.record.extend_from_slice(&bytes);
        self.record.extend_from_slice(group.bytes());
        let end = self.position + self.record.len() as u64;
        if end > self.filled && self.record.len() <= ahead / SHARE && !self.is_cramped {
            self.fill(end + ahead as u64);
        }
        if let Err(error) = self.file.write_at(&self.record, self.position) {
            self.wipe(end);
            return Err(error);
        }
        self.filled = self.filled.max(end);
        (self.position, self.chain) = (end, chain);
        self.record.shrink_to(KEPT);
        Ok(())
    }

    /// Fills the file with zeros up to `end`. They are written before the record, on their own: their failure is not
    /// the record's failure, and a record whose write failed is never complete.
    fn fill(&mut self, end: u64) {
        let zeros = vec![0; usize::try_from(end.saturating_sub(self.filled)).unwrap_or(0)];
        match self.file.write_at(&zeros, self.filled) {
            Ok(()) => self.filled = end,
            Err(_) => self.is_cramped = true,
        }
    }

    /// Clears a partly written record that ends at `end`, if possible: a journal without a torn end can be continued
    /// after a start, which then needs no space for another one.
    fn wipe(&mut self, end: u64) {
        let Ok(length) = self.file.length() else { return };
        let end = end.min(length);
        if self.zero(end).is_ok() {
            self.filled = self.filled.max(end);
        }
    }

    /// Zeros the file after the last record, up to `end`, in place: that needs no space.
    fn zero(&mut self, end: u64) -> io::Result<()> {
        const CHUNK: u64 = 64 << 10;
        let mut at = self.position;
        while at < end {
            let zeros = vec![0; usize::try_from(CHUNK.min(end - at)).unwrap_or(0)];
            self.file.write_at(&zeros, at)?;
            at += CHUNK;
        }
        Ok(())
    }

    /// Clears the torn end found at start, where there is no space for another journal.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        self.zero(self.filled)?;
        self.file.sync()
    }

    /// There is space again.
    pub(super) fn relax(&mut self) {
        self.is_cramped = false;
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// Whether a record of this size still fits into a journal of `size` bytes.
    pub(super) fn has_room(&self, bytes: usize, size: u64) -> bool {
        self.position == FILE_HEAD as u64 || self.position + (HEAD + bytes) as u64 <= size
    }

    pub(super) fn sealed(&self) -> Sealed {
        Sealed { number: self.number, end: self.position }
    }

    /// The checksum of its last record.
    pub(super) fn previous(&self) -> u64 {
        self.chain.previous
    }
}

/// The content of a directory.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) snapshot: Option<Snapshot>,
    /// All journals but the last.
    pub(super) sealed: Vec<Sealed>,
    /// The last one, if it can be written to.
    pub(super) last: Option<Journal>,
    pub(super) place: JournalPosition,
    /// The end of the journals before the last one.
    pub(super) base: JournalPosition,
    /// The last record is followed by an incomplete one.
    pub(super) is_torn: bool,
    /// The journal with the incomplete record, the last of those sealed, and the end of those before it.
    pub(super) torn: Option<(Journal, JournalPosition)>,
}

/// Checks all files without changing any: whether all acknowledged groups are there.
///
/// Only what follows the last record of the last journal may be unreadable, and only if nothing shows that it had been
/// on disk: neither the manifest nor a later record.
pub(super) fn survey(folder: &dyn Folder, names: &FileNames, manifest: Option<Manifest>) -> Result<Survey, Broken> {
    let mut survey = Survey::default();
    survey.follow(folder, names, manifest).map(|()| survey)
}

/// Finds the state before the first fault, from the newest complete snapshot on, or from the first journal; and the
/// fault.
pub(super) fn salvage(
    folder: &dyn Folder,
    mut names: FileNames,
    manifest: Option<Manifest>,
) -> (Survey, Result<(), Broken>) {
    let mut wrong = Ok(());
    loop {
        let mut survey = Survey::default();
        let outcome = survey.follow(folder, &names, manifest);
        let verified = survey.snapshot.map(|snapshot| snapshot.verify(folder));
        if matches!(verified, Some(Ok(()))) || names.snapshots.is_empty() {
            return (survey, wrong.and(outcome));
        }
        // A snapshot that was incomplete is the first fault.
        wrong = wrong.and(verified.unwrap_or(outcome));
        names.snapshots.pop();
    }
}

fn lost(found: u64, recorded: u64, detail: String) -> Broken {
    Broken::Lost { found, recorded, detail }
}

impl Survey {
    /// Follows the chain through all files.
    fn follow(&mut self, folder: &dyn Folder, names: &FileNames, manifest: Option<Manifest>) -> Result<(), Broken> {
        let is_new = names.journals.is_empty() && names.snapshots.is_empty();
        let mut next = 1;
        if let Some(&number) = names.snapshots.last() {
            let name = names::snapshot(number);
            let found = Snapshot::inspect(&*folder.open(&name)?, number)?;
            let snapshot = found.ok_or_else(|| Broken::Damaged(format!("{name} is not complete")))?;
            self.place = JournalPosition { group: snapshot.group, keys: snapshot.keys, previous: snapshot.previous };
            self.snapshot = Some(snapshot);
            next = number;
        }
        let newest = names.journals.last().copied().unwrap_or(0);
        let mut known = manifest.unwrap_or_default().group;
        for number in next..=newest {
            if names.journals.binary_search(&number).is_err() {
                let from = self.place.group + 1;
                return Err(lost(from, known.max(from), format!("{} is missing", names::journal(number))));
            }
            let found = self.add(folder, number, number == newest)?;
            known = known.max(found);
        }
        if self.place.group < known {
            return Err(lost(self.place.group + 1, known, self.where_it_ends()));
        }
        if self.sealed.is_empty() && self.last.is_none() && !is_new {
            return Err(Broken::Damaged(format!("{} is missing", names::journal(next))));
        }
        if manifest.is_none() && !is_new {
            let detail = "its file 'mark' is missing or unreadable, so it is unknown whether it is complete";
            return Err(Broken::Damaged(detail.into()));
        }
        Ok(())
    }

    fn where_it_ends(&self) -> String {
        match (&self.last, self.sealed.last()) {
            (Some(last), _) => format!("from byte {} of {}", last.position, names::journal(last.number)),
            (None, Some(last)) => format!("from byte {} of {}", last.end, names::journal(last.number)),
            (None, None) => "there is no journal".into(),
        }
    }

    /// Follows the chain through one more journal. Returns the last group that its content shows to have been on disk.
    fn add(&mut self, folder: &dyn Folder, number: u64, is_last: bool) -> Result<u64, Broken> {
        let name = names::journal(number);
        let damaged = |detail: &str| Broken::Damaged(format!("{name} {detail}"));
        let file = folder.open(&name)?;
        let Some((head, mut reader)) = Reader::open(&*file)? else { return Err(damaged("has no valid header")) };
        if head.is_snapshot || head.number != number {
            return Err(damaged("is another file"));
        }
        if head.group > self.place.group {
            return Err(lost(self.place.group + 1, head.group, self.where_it_ends()));
        }
        if (head.group, head.keys, head.previous) != (self.place.group, self.place.keys, self.place.previous) {
            return Err(damaged("does not follow the file before it"));
        }
        self.base = self.place;
        let (end, outcome) = self.read(&mut reader, &name);
        if let Err(broken) = outcome {
            self.sealed.push(Sealed { number, end });
            return Err(broken);
        }
        let (position, chain) = (reader.position(), reader.chain());
        if position > FILE_HEAD as u64 {
            self.place.previous = chain.previous;
        }
        if !is_last {
            self.sealed.push(Sealed { number, end: position });
            return Ok(0);
        }
        let rest = reader.rest()?;
        self.is_torn = !rest.is_empty;
        let filled = file.length()?;
        let journal = Journal::new(number, (position, filled), file, chain);
        if self.is_torn {
            // A torn end stays as it is: the next journal records where this one ends.
            self.sealed.push(journal.sealed());
            self.torn = Some((journal, std::mem::replace(&mut self.base, self.place)));
        } else {
            self.last = Some(journal);
        }
        Ok(rest.durable)
    }

    /// Reads records up to the last complete one of the chain. Returns its end, and what is wrong after it.
    fn read(&mut self, reader: &mut Reader<'_>, name: &str) -> (u64, Result<(), Broken>) {
        loop {
            let end = reader.position();
            match reader.read() {
                Err(error) => return (end, Err(error.into())),
                Ok(None) => return (end, Ok(())),
                Ok(Some((head, _))) if head.is_end || head.first != self.place.group + 1 || head.last < head.first => {
                    return (end, Err(Broken::Damaged(format!("{name} has groups in another order"))));
                }
                Ok(Some((head, _))) => (self.place.group, self.place.keys) = (head.last, head.keys),
            }
        }
    }
}
