//! A store that outlives its process: loading, and what becomes of changes.

use std::time::Duration;

use super::arena::{Data, Draft, NEVER};
use super::entry::Kind;
use super::journal::{Journal, JournalLimits, Persistence, Settled, Step};
use super::{MAX_KEY, MAX_VALUE, Store, StoreError};
use crate::disk::{self, Failure, Record, Storage, Undo};
use crate::timer::Now;

/// Records that are taken back in one turn, and bytes of them: well under a millisecond's worth.
const TAKEN_BACK_RECORDS: usize = 512;
const TAKEN_BACK_BYTES: usize = 1 << 20;

/// Why a record that was kept cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is none of [`Kind`]'s.
    #[error("a value's kind is not known here")]
    Kind,
    /// It is longer than [`MAX_KEY`].
    #[error("a key is longer than {MAX_KEY} bytes")]
    Key,
    /// It is larger than [`MAX_VALUE`].
    #[error("a value is larger than {MAX_VALUE} bytes")]
    Value,
    /// The table cannot grow any more.
    #[error("there are more keys than a table holds")]
    Room,
}

impl Store {
    /// Puts a record under its key as it was kept; nothing is noted.
    ///
    /// # Errors
    ///
    /// It cannot be served, and was not put.
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
        self.graveyard.bury(block);
        Ok(())
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
        match journal.settle(keys, now, &mut self.graveyard) {
            Step::Settled(settled) => settled,
            Step::TakeBack(mut undo) => {
                let is_over = self.take_back(&mut undo);
                let Some(journal) = &mut self.journal else { return Settled::Unchanged };
                journal.took_back(undo, is_over)
            }
        }
    }

    /// Takes some of what was lost back. Whether that was all of it; meanwhile, whoever looks at any of it waits.
    fn take_back(&mut self, undo: &mut Undo) -> Result<bool, Unfit> {
        if let Some(table) = self.journal.as_mut().and_then(|journal| journal.take_cleared(&mut self.graveyard)) {
            std::mem::replace(&mut self.table, table).bury(&mut self.graveyard);
            self.watches.restored();
        }
        let mut bytes = 0;
        for _ in 0..TAKEN_BACK_RECORDS {
            if bytes > TAKEN_BACK_BYTES {
                return Ok(false);
            }
            let step = undo.pop(|key, record| {
                self.watches.changed(key, record.is_some());
                if let Some(record) = record {
                    bytes += record.data.len();
                    return self.load(&record);
                }
                if let Some(found) = self.table.find(self.table.hash(key), key) {
                    let block = self.table.remove(found);
                    self.graveyard.bury(block);
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

    /// How soon [`settle`](Self::settle) has something to do although nothing happens: the disk has taken too long by then,
    /// or there is more to be taken back.
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
