//! A simulated disk: the same engine calls over memory, with everything that can go wrong.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::{Engine, Snapshot};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;
type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Each sync takes this long.
    pub sync_takes: Duration,
    /// Batches that can be committed before the disk is full.
    pub room: Option<usize>,
    /// Syncs that succeed before one fails.
    pub syncs: Option<usize>,
    /// The next commit never returns: a panic, as of a bug in an engine.
    pub panics: bool,
}

#[derive(Debug, Default)]
struct State {
    /// What survives the machine.
    synced: Records,
    /// Batches that survive the process only, in order.
    unsynced: Vec<Batch>,
    /// Everything committed.
    seen: Records,
    faults: Faults,
    syncs: usize,
    broken: bool,
    /// How often the machine has stopped. What ran on it before writes no more.
    crashes: u64,
}

/// The disk itself, which outlives the engines on it. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// An engine over the disk.
    #[must_use]
    pub fn engine(&self) -> SimEngine {
        let mut state = self.lock();
        state.broken = false;
        let crashes = state.crashes;
        drop(state);
        SimEngine { disk: self.clone(), batch: Batch::new(), crashes }
    }

    /// The machine stops: of the batches that were not synced, the first `kept` had reached the disk by themselves.
    pub fn crash(&self, kept: usize) {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        for batch in unsynced.into_iter().take(kept) {
            apply(&mut state.synced, &batch);
        }
        state.seen = state.synced.clone();
        state.faults = Faults::default();
        state.crashes += 1;
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.lock().syncs
    }

    /// Batches that a crash could take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(records: &mut Records, batch: &Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => drop(records.insert(key.clone(), value.clone())),
            None => drop(records.remove(key)),
        }
    }
}

/// An engine over a simulated disk.
#[derive(Debug)]
pub struct SimEngine {
    disk: Disk,
    batch: Batch,
    /// How often the machine had stopped when this engine was opened.
    crashes: u64,
}

impl SimEngine {
    /// The disk, unless the machine that this engine ran on has stopped.
    fn running(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.crashes == self.crashes { Ok(state) } else { Err(io::Error::other("the machine has stopped")) }
    }
}

impl Engine for SimEngine {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.push((key.to_vec(), Some(value.to_vec())));
    }

    fn remove(&mut self, key: &[u8]) {
        self.batch.push((key.to_vec(), None));
    }

    #[expect(clippy::panic, reason = "that is what is simulated")]
    fn commit(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let mut state = self.running()?;
        if state.faults.panics {
            drop(state);
            panic!("the simulated engine has a bug");
        }
        if let Some(room) = state.faults.room.as_mut() {
            let Some(left) = room.checked_sub(1) else {
                state.broken = true;
                return Err(io::ErrorKind::StorageFull.into());
            };
            *room = left;
        }
        if state.broken {
            return Err(io::Error::other("the engine has met an error before"));
        }
        apply(&mut state.seen, &batch);
        state.unsynced.push(batch);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let takes = self.disk.lock().faults.sync_takes;
        std::thread::sleep(takes);
        let mut state = self.running()?;
        if let Some(syncs) = state.faults.syncs.as_mut() {
            let Some(left) = syncs.checked_sub(1) else { return Err(io::Error::other("input/output error")) };
            *syncs = left;
        }
        state.syncs += 1;
        for batch in std::mem::take(&mut state.unsynced) {
            apply(&mut state.synced, &batch);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disk.lock().seen.get(key).cloned())
    }

    fn snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(self.disk.lock().seen.clone())
    }
}

impl Snapshot for Records {
    fn visit(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        for (key, value) in self.range(from.to_vec()..to.to_vec()) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
