//! A store that outlives its process: loading, and what becomes of changes.

use std::time::Duration;

use super::arena::{Data, Draft, NEVER};
use super::entry::Kind;
use super::journal::{Journal, JournalLimits, Persistence, Settled, Step};
use super::{MAX_KEY, MAX_VALUE, Store, StoreError};
use crate::disk::{self, Failure, Record, Storage, Undo};
use crate::timer::Now;

impl Store {
    /// Puts a record under its key as it was kept: nothing is checked, and nothing is noted. `false` if its kind is
    /// unknown.
    pub fn load(&mut self, record: &Record<'_>) -> bool {
        let Some(kind) = Kind::from_byte(record.kind) else { return false };
        let data = Data::Borrowed(record.data);
        let draft = Draft { key: record.key, kind, used: false, expires: record.expires, data };
        let put = self.table.put(self.table.hash(record.key), draft);
        self.graveyard.bury(put.ok().flatten());
        true
    }

    /// From now on every change is handed to `storage`.
    pub fn attach(&mut self, storage: Storage, limits: JournalLimits) {
        self.journal = Some(Box::new(Journal::new(storage, limits)));
    }

    /// The group that must be durable before what was done and seen since the last call may be told; `None` if it is.
    pub fn take_touched(&mut self) -> Option<u64> {
        self.journal.as_ref().and_then(|journal| journal.take_touched())
    }

    /// Whether every group up to this one is durable, or nothing is kept.
    #[must_use]
    pub fn is_durable_to(&self, group: u64) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.is_durable_to(group))
    }

    /// All keys are looked at, by their number for example.
    pub fn touch_all(&self) {
        if let Some(journal) = &self.journal {
            journal.touch_all();
        }
    }

    /// Why no writes are taken, if none are.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<&Failure> {
        self.journal.as_ref().and_then(|journal| journal.refusal())
    }

    /// Whether so much is on its way to disk that writes must wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_congested())
    }

    /// Whether changes are kept.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.journal.is_some()
    }

    /// What there is to say about durability; `None` where nothing is kept.
    #[must_use]
    pub fn persistence(&self) -> Option<Persistence> {
        self.journal.as_ref().map(|journal| journal.persistence())
    }

    /// Begins to write a backup; `false` if one is being written already, or nothing is kept.
    pub fn begin_backup(&mut self) -> bool {
        self.journal.as_mut().is_some_and(|journal| journal.begin_backup())
    }

    /// Hands over what has changed since the last call as one group, and tells what has become of earlier ones.
    pub fn settle(&mut self, now: Now) -> Settled {
        let keys = self.table.len() as u64;
        let Some(journal) = &mut self.journal else { return Settled::Unchanged };
        journal.write_edited(&self.table);
        match journal.settle(keys, now) {
            Step::Settled(settled) => settled,
            Step::TakeBack(undo, failure) => {
                self.take_back(&undo);
                Settled::Lost(failure)
            }
        }
    }

    fn take_back(&mut self, undo: &Undo) {
        if undo.clear {
            self.table.clear(&mut self.graveyard);
            self.watches.cleared();
        }
        for (key, record) in undo.records() {
            match record {
                Some(record) => drop(self.load(&record)),
                None => {
                    if let Some(found) = self.table.find(self.table.hash(key), key) {
                        let block = self.table.remove(found);
                        self.graveyard.bury(block);
                    }
                }
            }
            self.watches.changed(key, record.is_some());
        }
    }

    /// How long until the disk has taken too long, if it has something to do.
    #[must_use]
    pub fn patience(&self, now: Now) -> Option<Duration> {
        self.journal.as_ref().and_then(|journal| journal.patience(now))
    }

    /// Makes all changes durable and lets go of the data directory.
    ///
    /// # Errors
    ///
    /// Changes were not kept, now or earlier.
    pub fn close(&mut self) -> Result<(), Failure> {
        let keys = self.table.len() as u64;
        self.journal.take().map_or(Ok(()), |mut journal| {
            journal.write_edited(&self.table);
            journal.close(keys)
        })
    }

    /// Whether a value of this size may be put under this key.
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

/// A journal's records and the table mean the same by "never".
const _: () = assert!(NEVER == disk::NO_EXPIRY);
