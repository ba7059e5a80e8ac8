//! A store with a data directory: loading, commits and undoing lost changes.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::arena::{Data, Draft, NEVER};
use super::commits::{CommitLimits, Commits, GroupStatus, Persistence, Step};
use super::entry::{Kind, Unfit};
use super::{MAX_KEY, MAX_VALUE, Store, StoreError};
use crate::disk::{self, Record, Storage, StorageError, Undo};
use crate::timer::Now;

/// Records undone per turn, and their bytes: well under a millisecond of work.
const TAKEN_BACK_RECORDS: usize = 512;
const TAKEN_BACK_BYTES: usize = 1 << 20;

/// Names a group of changes that the disk makes durable together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a reply that reports the changes of this group must be held until it is durable"]
pub struct CommitGroup(pub u64);

/// The [store](Store) for one request.
#[must_use = "`finish` says which group the reply depends on"]
pub struct View<'s> {
    store: &'s mut Store,
}

impl View<'_> {
    /// The group that must be durable before a reply may report what this request has changed and read; `None` when all
    /// of it is durable.
    pub fn finish(self) -> Option<CommitGroup> {
        self.store.take_dependency().map(CommitGroup)
    }

    /// Ends housekeeping, which no reply reports: the next request must not depend on its changes and reads.
    pub fn finish_unreported(self) {
        let _ = self.finish();
    }
}

impl Deref for View<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store
    }
}

impl DerefMut for View<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        self.store
    }
}

impl Store {
    /// Loads a record from disk; no change is recorded.
    ///
    /// # Errors
    ///
    /// The record is not valid here, and was not loaded.
    #[doc(hidden)]
    pub fn load(&mut self, record: &Record<'_>) -> Result<(), Unfit> {
        let kind = Kind::from_byte(record.kind).ok_or(Unfit::Kind)?;
        if record.key.len() > MAX_KEY {
            return Err(Unfit::Key);
        }
        if record.data.len() > MAX_VALUE {
            return Err(Unfit::Value);
        }
        let data = Data::Borrowed(record.data);
        let draft = Draft { key: record.key, kind, used: false, expires: record.expires, data };
        let block = self.table.put(self.table.hash(record.key), draft).map_err(|_full| Unfit::Room)?;
        self.deferred_free.defer(block);
        Ok(())
    }

    /// From now on every change is submitted to `storage`.
    #[doc(hidden)]
    pub fn attach(&mut self, storage: Storage, limits: CommitLimits) {
        self.commits = Some(Box::new(Commits::new(storage, limits)));
    }

    /// The store for one request. The request's changes and reads are recorded, and [`View::finish`] returns the group
    /// its reply depends on.
    pub(crate) fn view(&mut self) -> View<'_> {
        View { store: self }
    }

    /// The group that must be durable before a reply may report the changes and reads since the last call; `None` if it
    /// is.
    pub(super) fn take_dependency(&mut self) -> Option<u64> {
        self.commits.as_ref().and_then(|commits| commits.take_dependency())
    }

    /// Whether every group up to this one is durable, or there is no data directory.
    #[must_use]
    pub(crate) fn is_durable_to(&self, group: u64) -> bool {
        self.commits.as_ref().is_none_or(|commits| commits.is_durable_to(group))
    }

    /// Records a read of all keys, for example of their number.
    pub(crate) fn note_read_all(&self) {
        if let Some(commits) = &self.commits {
            commits.note_read_all();
        }
    }

    /// Why writes are refused, if they are.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<&StorageError> {
        self.commits.as_ref().and_then(|commits| commits.refusal())
    }

    /// Whether so much waits for the disk that writes must wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.commits.as_ref().is_some_and(|commits| commits.is_congested())
    }

    /// Whether there is a data directory.
    #[must_use]
    pub(crate) fn is_durable(&self) -> bool {
        self.commits.is_some()
    }

    /// The state of durability; `None` without a data directory.
    #[must_use]
    pub(crate) fn persistence(&self) -> Option<Persistence> {
        self.commits.as_ref().map(|commits| commits.persistence())
    }

    /// Starts a backup; `false` if one is being written, or there is no data directory.
    pub(crate) fn begin_backup(&mut self) -> bool {
        self.commits.as_mut().is_some_and(|commits| commits.begin_backup())
    }

    /// Submits the changes since the last call as one group, and returns the state of earlier groups.
    #[doc(hidden)]
    pub fn commit(&mut self, now: Now) -> GroupStatus {
        let status = self.commit_group(now);
        self.update_scans(&status);
        status
    }

    fn commit_group(&mut self, now: Now) -> GroupStatus {
        let keys = self.table.len() as u64;
        let Some(commits) = &mut self.commits else { return GroupStatus::Unchanged };
        commits.write_edited(&self.table);
        match commits.commit(keys, now, &mut self.deferred_free) {
            Step::Status(status) => status,
            Step::TakeBack(mut undo) => {
                let is_over = self.take_back(&mut undo);
                let Some(commits) = &mut self.commits else { return GroupStatus::Unchanged };
                commits.took_back(undo, is_over)
            }
        }
    }

    /// Undoes some of the lost changes; returns whether all are undone. Until then, replies that read any of them wait.
    fn take_back(&mut self, undo: &mut Undo) -> Result<bool, Unfit> {
        if let Some(table) = self.commits.as_mut().and_then(|commits| commits.take_cleared(&mut self.deferred_free)) {
            std::mem::replace(&mut self.table, table).defer(&mut self.deferred_free);
            self.watches.restored();
        }
        let mut bytes = 0;
        for _ in 0..TAKEN_BACK_RECORDS {
            if bytes > TAKEN_BACK_BYTES {
                return Ok(false);
            }
            let step = undo.pop(|key, record| {
                self.watches.changed(self.table.hash(key), record.is_some());
                if let Some(record) = record {
                    bytes += record.data.len();
                    return self.load(&record);
                }
                if let Some(found) = self.table.find(self.table.hash(key), key) {
                    let block = self.table.remove(found);
                    self.deferred_free.defer(block);
                }
                Ok(())
            });
            match step {
                Some(done) => done?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Time until [`commit`](Self::commit) is needed without any event: the disk times out, or more changes must be
    /// undone.
    #[must_use]
    pub(crate) fn wants_commit_in(&self, now: Now) -> Option<Duration> {
        self.commits.as_ref().and_then(|commits| commits.wants_commit_in(now))
    }

    /// Makes all changes durable and releases the data directory.
    ///
    /// # Errors
    ///
    /// Changes were lost, now or earlier.
    pub fn close(&mut self) -> Result<(), StorageError> {
        let keys = self.table.len() as u64;
        self.commits.take().map_or(Ok(()), |mut commits| {
            commits.write_edited(&self.table);
            commits.close(keys)
        })
    }

    /// Whether a value of this size may be stored under this key.
    pub(super) fn check(&self, key: &[u8], value: usize) -> Result<(), StoreError> {
        if self.refuses_writes().is_some() {
            return Err(StoreError::ReadOnly);
        }
        if key.len() > MAX_KEY {
            return Err(StoreError::KeyTooLong);
        }
        if value > MAX_VALUE {
            return Err(StoreError::ValueTooLarge);
        }
        Ok(())
    }
}

/// Journal records and the table use the same value for "never".
const _: () = assert!(NEVER == disk::NO_EXPIRY);
