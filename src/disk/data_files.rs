//! A directory's files as one thing: groups go in, what they come to can be read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::compact::{CompactionJob, Compactions, Helper, Outcome};
use super::failure::StorageError;
use super::folder::{Folder, GONE};
use super::group::{Group, split_value};
use super::journal::{Broken, Fresh, Journal, JournalPosition, Sealed, Survey, salvage, survey};
use super::manifest::{self, ManifestFile};
use super::merge::{self, View};
use super::names::{self, FileNames};
use super::record::{self, FileHead, Head};
use super::reserve;
use super::snapshot::Snapshot;

/// The expiry of what never expires.
pub const NO_EXPIRY: u64 = u64::MAX;
/// What each journal counts for at least when it is decided whether there are too many.
const LEAST: u64 = 1 << 20;

/// How large things may become.
#[derive(Clone, Copy, Debug)]
pub struct FileSizes {
    /// Bytes of a journal before the next one is begun, or a sixteenth of the snapshot, if that is more: so there are never
    /// so many files that descriptors run out. One batch may be longer.
    pub journal: u64,
    /// Bytes of sealed journals before they become part of the snapshot; or its size, if that is more. So what is written
    /// for it is at most about as much as what clients write, and a start reads at most about three times what it keeps.
    pub sealed: u64,
    /// Keys that are indexed at once.
    pub index: usize,
    /// Bytes of zeros that a journal is filled with at a time, ahead of its records. To force bytes to disk that the file
    /// has already takes three fifths of the time (measured on ext4): neither where the file ends nor which blocks it has
    /// needs to be written down.
    pub ahead: usize,
    /// Bytes of a file that is there for its room only: a start on a full disk needs some. 0 for none.
    pub reserve: usize,
}

/// So much room there must be before writes are taken again that failed for want of it: more than the reserve, and than
/// what a small group needs. A larger group that does not fit fails again, alone.
const ROOM: u64 = 1 << 20;

impl Default for FileSizes {
    fn default() -> Self {
        Self { journal: 64 << 20, sealed: 64 << 20, index: merge::INDEX, ahead: 512 << 10, reserve: 128 << 10 }
    }
}

/// One key's value as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The kind of the value.
    pub kind: u8,
    /// Unix milliseconds, or [`NO_EXPIRY`].
    pub expires: u64,
    /// The value.
    pub data: &'a [u8],
}

/// What was found in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// How to take changes back that could not be kept: what stood under each key before them. Changes behind the removal of
/// all keys are not in it, for whoever keeps what was removed takes them back with it.
#[derive(Debug, Default)]
pub struct Undo {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Undo {
    /// Takes one key, with the record that it had, if it had one, to `visit`. `None` when there are no more.
    pub fn pop<R>(&mut self, visit: impl FnOnce(&[u8], Option<Record<'_>>) -> R) -> Option<R> {
        let (key, value) = self.records.pop()?;
        let record = value.as_ref().and_then(|value| split_value(value));
        Some(visit(&key, record.map(|(kind, expires, data)| Record { key: &key, kind, expires, data })))
    }
}

/// The files of a directory, open.
pub struct DataFiles {
    folder: Arc<dyn Folder>,
    sizes: FileSizes,
    manifest: ManifestFile,
    snapshot: Option<Snapshot>,
    sealed: Vec<Sealed>,
    journal: Journal,
    /// Where the sealed journals end: what a compaction would stand for.
    base: JournalPosition,
    /// The last group, and keys after it.
    last: u64,
    keys: u64,
    /// The last group known to be on disk.
    synced: u64,
    was_clean: bool,
    was_torn: bool,
    pub(super) helper: Helper,
    compactions: Compactions,
    /// Sealed bytes before a compaction that failed is tried again.
    retry_above: u64,
    /// It has been said that the next journal could not be begun.
    is_overlong: bool,
    /// Why nothing more may be written behind what is on disk.
    refusal: Option<StorageError>,
    /// Changes that [`undo`](Self::undo) has seen.
    seen: Arc<AtomicU64>,
}

impl DataFiles {
    /// As [`with_sizes`](Self::with_sizes), for a simulated disk: journals are not filled ahead, which would save nothing.
    pub fn new(folder: Arc<dyn Folder>) -> Result<Self, Broken> {
        Self::with_sizes(folder, FileSizes { ahead: 0, reserve: 0, ..FileSizes::default() })
    }

    /// Opens what is in `folder`, or begins there.
    ///
    /// # Errors
    ///
    /// Something is missing or damaged, and then nothing was changed.
    pub fn with_sizes(folder: Arc<dyn Folder>, sizes: FileSizes) -> Result<Self, Broken> {
        let names = FileNames::sort(folder.list()?);
        let recorded = manifest::look(&*folder)?;
        let Survey { snapshot, mut sealed, last, place, mut base, is_torn, torn } = survey(&*folder, &names, recorded)?;
        let is_new = snapshot.is_none() && sealed.is_empty() && last.is_none();
        let left_over = names.left_over(snapshot.map_or(0, |snapshot| snapshot.number));
        if let Some(snapshot) = snapshot.filter(|_| !left_over.is_empty()) {
            // What it took the place of may be the only good copy.
            snapshot.verify(&*folder)?;
        }
        // On disk before any journal is, so that a journal with no mark is always a loss.
        let mut manifest = reserve::with_room(&*folder, || ManifestFile::open(&*folder))?;
        for name in left_over.iter().chain(&names.unfinished) {
            folder.remove(name)?;
        }
        let was_clean = is_new || recorded.is_some_and(|manifest| manifest.clean);
        if let Some(newest) = last.as_ref().map(Journal::sealed).or(sealed.last().copied()).filter(|_| !was_clean) {
            newest.rewrite_synced(&*folder)?;
        }
        let number = sealed.last().map_or(1, |sealed| sealed.number + 1);
        let journal = match last {
            Some(journal) => journal,
            None => match (reserve::with_room(&*folder, || Fresh::begin(&*folder, number, place)), torn) {
                (Ok(fresh), _) => fresh.finish(&*folder).map_err(io::Error::other)?,
                // The reserve is gone, for the server has died before on a disk without room.
                (Err(error), Some((mut journal, before))) if reserve::is_full(&error) => {
                    journal.mend()?;
                    sealed.pop();
                    base = before;
                    journal
                }
                (Err(error), _) => return Err(error.into()),
            },
        };
        manifest.advance(place.group)?;
        reserve::keep(&*folder, sizes.reserve);
        Ok(Self {
            folder,
            sizes,
            manifest,
            snapshot,
            sealed,
            journal,
            base,
            last: place.group,
            keys: place.keys,
            synced: place.group,
            was_clean,
            was_torn: is_torn,
            helper: Helper::default(),
            compactions: Compactions::default(),
            retry_above: 0,
            is_overlong: false,
            refusal: None,
            seen: Arc::default(),
        })
    }

    /// The last group it holds.
    #[must_use]
    pub fn last_group(&self) -> u64 {
        self.last
    }

    /// How many keys it should hold.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.keys
    }

    /// Whether it had been closed in order.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Whether there was a record that was never finished.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.was_torn
    }

    /// Writes the changes of all groups since the last one written, up to `last`, as one record. `keys` is how many keys
    /// there are after them.
    pub fn write(&mut self, group: &Group, last: u64, keys: u64) -> Result<(), StorageError> {
        self.check_refusal()?;
        let kept = self.snapshot.map_or(0, |snapshot| snapshot.bytes);
        if !self.journal.has_room(group.len(), self.sizes.journal.max(kept / 16)) {
            self.next_journal()?;
        }
        let head = Head { is_end: false, length: 0, first: self.last + 1, last, keys, durable: self.synced };
        self.journal.append(&head, group, self.sizes.ahead).map_err(|error| StorageError::write(&error))?;
        (self.last, self.keys) = (last, keys);
        Ok(())
    }

    /// Whether there is room again, after a write that failed for want of it.
    pub(super) fn recover(&mut self) -> bool {
        let has_room = self.refusal.is_none() && self.folder.room().is_ok_and(|room| room >= ROOM);
        if has_room {
            reserve::keep(&*self.folder, self.sizes.reserve);
            self.journal.relax();
        }
        has_room
    }

    fn check_refusal(&self) -> Result<(), StorageError> {
        self.refusal.clone().map_or(Ok(()), Err)
    }

    /// Seals the journal and goes on in another one. If that cannot be begun, for want of a descriptor or of room, this one
    /// becomes longer instead.
    fn next_journal(&mut self) -> Result<(), StorageError> {
        let place = JournalPosition { group: self.last, keys: self.keys, previous: self.journal.previous() };
        let fresh = match Fresh::begin(&*self.folder, self.journal.number + 1, place) {
            Ok(fresh) => fresh,
            Err(error) => {
                if std::mem::replace(&mut self.is_overlong, true) {
                    // It has been said.
                } else if error.kind() == io::ErrorKind::NotFound {
                    tracing::error!("{GONE}");
                } else {
                    tracing::warn!(%error, "the next journal cannot be begun, so the present one becomes longer");
                }
                return Ok(());
            }
        };
        self.is_overlong = false;
        self.sync()?;
        self.check_refusal()?;
        // Whether it has its name is not known, so nothing may be written behind what the present one holds.
        let next = fresh.finish(&*self.folder).inspect_err(|failure| self.refusal = Some(failure.lasting()))?;
        self.sealed.push(self.journal.sealed());
        (self.journal, self.base) = (next, place);
        Ok(())
    }

    /// Forces what was written to disk.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        if self.synced == self.last {
            return Ok(());
        }
        self.journal.sync().map_err(|error| StorageError::sync(&error))?;
        self.synced = self.last;
        if let Err(error) = self.manifest.advance(self.last) {
            // The group is on disk all the same. It is the next one that cannot be kept as it should.
            self.refusal = Some(StorageError::write(&error).lasting());
        }
        Ok(())
    }

    /// Forces to disk what the side file says.
    pub(super) fn sync_manifest(&mut self) -> Result<(), StorageError> {
        self.manifest.sync().map_err(|error| StorageError::sync(&error))
    }

    /// Notes that the directory is closed in order.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        self.sync()?;
        self.manifest.set_clean(true)
    }

    /// What stood under the keys of `group` before it, in what has been written: of those that it changes before it removes
    /// all, if it does.
    pub fn undo(&self, group: &Group) -> io::Result<Undo> {
        let view = View { seen: Arc::clone(&self.seen), ..self.view()? };
        Ok(Undo { records: view.before(group)? })
    }

    /// Grows while [`undo`](Self::undo) gets on: a disk that holds much is told from one that does not answer.
    pub(super) fn seen(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.seen)
    }

    /// Visits every key.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> io::Result<Loaded> {
        self.contents()?.load(visit)
    }

    /// What has been written, to be read from any thread.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        Ok(Contents { view: self.view()?, index: self.sizes.index })
    }

    fn view(&self) -> io::Result<View> {
        let mut view = self.sealed_view()?;
        view.journals.push(self.journal.sealed().source(&*self.folder)?);
        Ok(view)
    }

    /// All that is not written to any more.
    fn sealed_view(&self) -> io::Result<View> {
        let view = view_of(&*self.folder, self.snapshot, &self.sealed)?;
        Ok(View { is_cancelled: self.helper.is_cancelled(), ..view })
    }

    /// Begins a compaction if there is enough for one. `notify` is called when there is something to be taken by
    /// [`go_on`](Self::go_on). Whether what [`compactions`](Self::compactions) tells is another thing than before.
    pub fn compact_if_due(&mut self, notify: &Arc<dyn Fn() + Send + Sync>) -> bool {
        let bytes: u64 = self.sealed.iter().map(|sealed| sealed.end.max(LEAST)).sum();
        let kept = self.snapshot.map_or(0, |snapshot| snapshot.bytes);
        if self.helper.is_busy() || bytes <= self.sizes.sealed.max(kept).max(self.retry_above) {
            return false;
        }
        let begun = self.check_room(bytes + kept).and_then(|()| self.sealed_view()).and_then(|view| {
            let JournalPosition { group, keys, previous } = self.base;
            let (number, salt) = (self.journal.number, record::salt());
            let head = FileHead { is_snapshot: true, number, group, keys, salt, previous };
            let job = CompactionJob::Compact { view, head, index: self.sizes.index };
            self.helper.begin(&self.folder, job, Arc::clone(notify))
        });
        match begun {
            Ok(()) => self.compactions.running = true,
            Err(error) => self.failed(&error, bytes),
        }
        true
    }

    /// A compaction must not take the room that the journal needs: writes would be refused for want of it.
    fn check_room(&self, snapshot: u64) -> io::Result<()> {
        let (needed, room) = (snapshot + self.sizes.journal, self.folder.room()?);
        if room >= needed {
            return Ok(());
        }
        Err(io::Error::other(format!("{needed} bytes may be needed, and the disk has {room}")))
    }

    /// Whether there is something for [`go_on`](Self::go_on).
    pub(super) fn is_to_go_on(&self) -> bool {
        self.helper.is_over()
    }

    /// Takes over a snapshot that is done, and has what it replaces removed.
    pub fn go_on(&mut self, notify: &Arc<dyn Fn() + Send + Sync>) {
        match self.helper.take() {
            None => {}
            Some(Ok(Outcome::Compacted(snapshot))) => {
                let mut names: Vec<_> = self.snapshot.iter().map(|old| names::snapshot(old.number)).collect();
                let replaced = self.sealed.iter().filter(|sealed| sealed.number < snapshot.number);
                names.extend(replaced.map(|sealed| names::journal(sealed.number)));
                self.sealed.retain(|sealed| sealed.number >= snapshot.number);
                self.snapshot = Some(snapshot);
                self.retry_above = 0;
                if let Err(error) = self.helper.begin(&self.folder, CompactionJob::Remove(names), Arc::clone(notify)) {
                    self.failed(&error, 0);
                }
            }
            Some(Ok(Outcome::Removed)) => {
                self.compactions =
                    Compactions { running: false, done: self.compactions.done + 1, failure: None, ..self.compactions };
            }
            Some(Err(error)) => self.failed(&error, self.sealed.iter().map(|sealed| sealed.end.max(LEAST)).sum()),
        }
    }

    fn failed(&mut self, error: &io::Error, bytes: u64) {
        self.compactions.running = false;
        self.compactions.failed += 1;
        self.compactions.failure = Some(error.to_string());
        self.retry_above = bytes + self.sizes.sealed;
    }

    /// What has become of compactions.
    #[must_use]
    pub fn compactions(&self) -> &Compactions {
        &self.compactions
    }
}

/// What a directory holds at one time.
pub(super) struct Contents {
    view: View,
    index: usize,
}

impl Contents {
    /// What is in `folder`, and how many keys that should be. Nothing is made or changed, so the disk may be full.
    pub(super) fn look(folder: &dyn Folder) -> Result<(Self, u64), Broken> {
        let names = FileNames::sort(folder.list()?);
        Ok(Self::of(folder, survey(folder, &names, manifest::look(folder)?)?)?)
    }

    /// As [`look`](Self::look), before the first thing that is wrong there, and what is wrong.
    pub(super) fn salvage(folder: &dyn Folder) -> io::Result<(Self, u64, Result<(), Broken>)> {
        let (found, outcome) = salvage(folder, FileNames::sort(folder.list()?), manifest::look(folder)?);
        let (contents, keys) = Self::of(folder, found)?;
        Ok((contents, keys, outcome))
    }

    fn of(folder: &dyn Folder, found: Survey) -> io::Result<(Self, u64)> {
        let Survey { snapshot, mut sealed, last, place, .. } = found;
        sealed.extend(last.as_ref().map(Journal::sealed));
        Ok((Self { view: view_of(folder, snapshot, &sealed)?, index: FileSizes::default().index }, place.keys))
    }

    /// Visits every key.
    pub(super) fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        self.view.merge(self.index, &mut |key, value| {
            let Some((kind, expires, data)) = split_value(value) else {
                return Err(io::Error::other("a value is too short"));
            };
            loaded.keys += 1;
            loaded.bytes += (key.len() + data.len()) as u64;
            visit(Record { key, kind, expires, data });
            Ok(())
        })?;
        Ok(loaded)
    }
}

/// What stands in these files, which nobody cancels.
fn view_of(folder: &dyn Folder, snapshot: Option<Snapshot>, journals: &[Sealed]) -> io::Result<View> {
    let snapshot = snapshot.map(|snapshot| snapshot.source(folder)).transpose()?;
    let journals = journals.iter().map(|journal| journal.source(folder)).collect::<io::Result<_>>()?;
    Ok(View { snapshot, journals, is_cancelled: Arc::default(), seen: Arc::default() })
}
