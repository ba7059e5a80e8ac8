//! The real engine: `fjall`, one keyspace.
//!
//! One keyspace and not two, because a sealed journal is kept until every keyspace in it was flushed, and a small one
//! that is written with every batch would not be flushed for hours. Nothing is ever cleared, for the same reason.

use std::io;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode, Readable};

use super::engine::{Engine, Snapshot};

/// Recovery reads no more journal than this, so it takes well under a second.
const JOURNALS: u64 = 256 << 20;
/// What the engine keeps in memory before it sorts it into a table.
const MEMTABLE: u64 = 32 << 20;
/// Blocks are read at start and for backups only.
const CACHE: u64 = 8 << 20;
const KEYSPACE: &str = "data";

/// `fjall`, opened.
pub(super) struct Lsm {
    database: Database,
    data: Keyspace,
    batch: WriteBatch,
}

impl Lsm {
    /// Opens the database in the folder `path`, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let builder = Database::builder(path).cache_size(CACHE).max_journaling_size(JOURNALS).worker_threads(1);
        let database = builder.open().map_err(plain)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let data = database.keyspace(KEYSPACE, options).map_err(plain)?;
        let batch = fresh(&database);
        Ok(Self { database, data, batch })
    }

    #[cfg(test)]
    pub(super) fn rotate(&self) {
        self.data.rotate_memtable_and_wait().expect("flushed");
    }

    /// Waits until nothing is done in the background, so that the files can be copied as one state.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let mut quiet = 0;
        while quiet < 20 {
            let busy = self.database.outstanding_flushes() + self.database.active_compactions() > 0;
            quiet = if busy { 0 } else { quiet + 1 };
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
    }

    #[cfg(test)]
    pub(super) fn journals(&self) -> usize {
        self.database.journal_count()
    }
}

fn fresh(database: &Database) -> WriteBatch {
    // What is committed has been handed to the system.
    database.batch().durability(Some(PersistMode::Buffer))
}

impl Engine for Lsm {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.insert(&self.data, key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.batch.remove(&self.data, key);
    }

    fn commit(&mut self) -> io::Result<()> {
        let batch = std::mem::replace(&mut self.batch, fresh(&self.database));
        batch.commit().map_err(plain)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncData).map_err(plain)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.data.get(key).map_err(plain)?.map(|value| value.to_vec()))
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(View { snapshot: self.database.snapshot(), data: self.data.clone() })
    }
}

struct View {
    snapshot: fjall::Snapshot,
    data: Keyspace,
}

impl Snapshot for View {
    fn visit(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        for guard in self.snapshot.range(&self.data, from..to) {
            let (key, value) = guard.into_inner().map_err(plain)?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

fn plain(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error,
        fjall::Error::Poisoned => io::Error::other("the engine has met an error in the background"),
        other => io::Error::other(other.to_string()),
    }
}
