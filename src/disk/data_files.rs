//! The files of a data directory: groups are appended, their result can be read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::broken::Broken;
use super::compact::{CompactionJob, Compactions, Helper, Outcome};
use super::failure::StorageError;
use super::folder::{Folder, GONE};
use super::group::{Group, split_value};
use super::journal::{Fresh, Journal, JournalPosition, Sealed, Survey, salvage, survey};
use super::manifest::{self, ManifestFile};
use super::merge::{self, View};
use super::names::{self, FileNames};
use super::record::{self, FileHead, Head};
use super::reserve;
use super::snapshot::Snapshot;

/// The expiry of what never expires.
pub const NO_EXPIRY: u64 = u64::MAX;
/// Minimum size counted for each journal when deciding whether there are too many.
const LEAST: u64 = 1 << 20;

/// Limits on the size of files.
#[derive(Clone, Copy, Debug)]
pub struct FileSizes {
    /// Bytes of a journal before the next one is begun, or a sixteenth of the snapshot, if that is more: so the number
    /// of files never exhausts the descriptors. A single batch may be longer.
    pub journal: u64,
    /// Bytes of sealed journals before they are compacted into the snapshot; or the size of the snapshot, if that is
    /// more. So compaction writes at most about as much as clients do, and a start reads at most about three times the
    /// data.
    pub sealed: u64,
    /// Keys in an index at once.
    pub index: usize,
    /// Bytes of zeros that a journal is filled with at a time, ahead of its records. Syncing bytes within the file's
    /// length takes three fifths of the time (measured on ext4): neither the file's length nor its blocks must be
    /// recorded.
    pub ahead: usize,
    /// Size of a file that only reserves space, in bytes, for a start on a full disk. 0 for none.
    pub reserve: usize,
}

/// Space required before writes are accepted again after the disk was full: more than the reserve, and than a small
/// group needs. A larger group that does not fit fails again, alone.
const ROOM: u64 = 1 << 20;

impl Default for FileSizes {
    fn default() -> Self {
        Self { journal: 64 << 20, sealed: 64 << 20, index: merge::INDEX, ahead: 512 << 10, reserve: 128 << 10 }
    }
}

/// A stored key and value.
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

/// What was loaded from a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// The undo information of lost changes: the records of the keys before them. Changes after the removal of all keys are
/// not included: restoring what was removed undoes them too.
#[derive(Debug, Default)]
pub struct Undo {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Undo {
    /// Passes one key to `visit`, with its former record, if it had one. `None` when there are no more.
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
    /// The position at the end of the sealed journals, up to which a compaction goes.
    base: JournalPosition,
    /// The last group, and the number of keys after it.
    last: u64,
    keys: u64,
    /// The last group known to be on disk.
    synced: u64,
    was_clean: bool,
    was_torn: bool,
    pub(super) helper: Helper,
    compactions: Compactions,
    /// Sealed bytes above which a failed compaction is retried.
    retry_above: u64,
    /// It has been logged that the next journal could not be begun.
    is_overlong: bool,
    /// Why nothing more may be written after what is on disk.
    refusal: Option<StorageError>,
    /// Changes that [`undo`](Self::undo) has read.
    seen: Arc<AtomicU64>,
}

impl DataFiles {
    /// As [`with_sizes`](Self::with_sizes), for a simulated disk: journals are not filled ahead, which would save
    /// nothing.
    pub fn new(folder: Arc<dyn Folder>) -> Result<Self, Broken> {
        Self::with_sizes(folder, FileSizes { ahead: 0, reserve: 0, ..FileSizes::default() })
    }

    /// Opens the files in `folder`, or creates them.
    ///
    /// # Errors
    ///
    /// Something is missing or damaged; nothing was changed.
    pub fn with_sizes(folder: Arc<dyn Folder>, sizes: FileSizes) -> Result<Self, Broken> {
        let names = FileNames::sort(folder.list()?);
        let recorded = manifest::look(&*folder)?;
        let Survey { snapshot, mut sealed, last, place, mut base, is_torn, torn } = survey(&*folder, &names, recorded)?;
        let is_new = snapshot.is_none() && sealed.is_empty() && last.is_none();
        let left_over = names.left_over(snapshot.map_or(0, |snapshot| snapshot.number));
        if let Some(snapshot) = snapshot.filter(|_| !left_over.is_empty()) {
            // The files it replaced may be the only good copy.
            snapshot.verify(&*folder)?;
        }
        // On disk before any journal, so that a journal without a manifest is always a loss.
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
                // The reserve was used by an earlier start, after which the server stopped again on the full disk.
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

    /// The last group.
    #[must_use]
    pub fn last_group(&self) -> u64 {
        self.last
    }

    /// The number of keys.
    #[must_use]
    pub fn expected_keys(&self) -> u64 {
        self.keys
    }

    /// Whether it had been closed cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Whether it ended in an incomplete record.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.was_torn
    }

    /// Writes the changes of all groups since the last one, up to `last`, as one record. `keys` is the number of keys
    /// after them.
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

    /// Whether there is space again, after a write failed because the disk was full.
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

    /// Seals the journal and continues in a new one. If that cannot be created, for lack of a descriptor or of space,
    /// the present one becomes longer instead.
    fn next_journal(&mut self) -> Result<(), StorageError> {
        let place = JournalPosition { group: self.last, keys: self.keys, previous: self.journal.previous() };
        let fresh = match Fresh::begin(&*self.folder, self.journal.number + 1, place) {
            Ok(fresh) => fresh,
            Err(error) => {
                if std::mem::replace(&mut self.is_overlong, true) {
                    // It has been logged.
                } else if error.kind() == io::ErrorKind::NotFound {
                    tracing::error!("{GONE}");
                } else {
                    tracing::warn!(%error, "the next journal cannot be created, so the present one becomes longer");
                }
                return Ok(());
            }
        };
        self.is_overlong = false;
        self.sync()?;
        self.check_refusal()?;
        // Whether the new journal has its name is unknown, so nothing may be appended to the present one.
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
            // The group is on disk all the same; the next group is the first that cannot be committed properly.
            self.refusal = Some(StorageError::write(&error).lasting());
        }
        Ok(())
    }

    /// Forces the manifest to disk.
    pub(super) fn sync_manifest(&mut self) -> Result<(), StorageError> {
        self.manifest.sync().map_err(|error| StorageError::sync(&error))
    }

    /// Records that the directory is closed cleanly.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        self.sync()?;
        self.manifest.set_clean(true)
    }

    /// The records of the keys of `group` before it, on disk: of those it changes before it removes all keys, if it
    /// does.
    pub fn undo(&self, group: &Group) -> io::Result<Undo> {
        let view = View { seen: Arc::clone(&self.seen), ..self.view()? };
        Ok(Undo { records: view.before(group)? })
    }

    /// Grows while [`undo`](Self::undo) makes progress, to distinguish a slow disk from one that does not answer.
    pub(super) fn seen(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.seen)
    }

    /// Visits every key.
    pub fn load(&self, visit: &mut dyn FnMut(Record<'_>)) -> io::Result<Loaded> {
        self.contents()?.load(visit)
    }

    /// The files as they are now, to be read by any thread.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        Ok(Contents { view: self.view()?, index: self.sizes.index })
    }

    fn view(&self) -> io::Result<View> {
        let mut view = self.sealed_view()?;
        view.journals.push(self.journal.sealed().source(&*self.folder)?);
        Ok(view)
    }

    /// The files that are not written to any more.
    fn sealed_view(&self) -> io::Result<View> {
        let view = view_of(&*self.folder, self.snapshot, &self.sealed)?;
        Ok(View { is_cancelled: self.helper.is_cancelled(), ..view })
    }

    /// Starts a compaction if one is due. `notify` is called when [`go_on`](Self::go_on) has something to do. Returns
    /// whether [`compactions`](Self::compactions) has changed.
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

    /// A compaction must not take the space that the journal needs: writes would be refused.
    fn check_room(&self, snapshot: u64) -> io::Result<()> {
        let (needed, room) = (snapshot + self.sizes.journal, self.folder.room()?);
        if room >= needed {
            return Ok(());
        }
        Err(io::Error::other(format!("{needed} bytes may be needed, and the disk has {room}")))
    }

    /// Whether [`go_on`](Self::go_on) has something to do.
    pub(super) fn is_to_go_on(&self) -> bool {
        self.helper.is_over()
    }

    /// Takes over a finished snapshot, and has the files it replaces removed.
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

    /// Counts of compactions.
    #[must_use]
    pub fn compactions(&self) -> &Compactions {
        &self.compactions
    }
}

/// The content of a directory at one time.
pub(super) struct Contents {
    view: View,
    index: usize,
}

impl Contents {
    /// The content of `folder`, and the expected number of keys. Nothing is changed, so the disk may be full.
    pub(super) fn look(folder: &dyn Folder) -> Result<(Self, u64), Broken> {
        let names = FileNames::sort(folder.list()?);
        Ok(Self::of(folder, survey(folder, &names, manifest::look(folder)?)?)?)
    }

    /// As [`look`](Self::look), up to the first fault, with that fault.
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

/// A view of these files that nobody cancels.
fn view_of(folder: &dyn Folder, snapshot: Option<Snapshot>, journals: &[Sealed]) -> io::Result<View> {
    let snapshot = snapshot.map(|snapshot| snapshot.source(folder)).transpose()?;
    let journals = journals.iter().map(|journal| journal.source(folder)).collect::<io::Result<_>>()?;
    Ok(View { snapshot, journals, is_cancelled: Arc::default(), seen: Arc::default() })
}
