//! A storage thread that is no thread: a simulation takes it through its work one step at a time.
//!
//! It does what [`Storage`]'s thread does, by the same code, but waits for nothing and reads no clock.

use std::sync::Arc;
use std::time::Instant;

use super::data_files::DataFiles;
use super::storage::{DeathWatch, Next, Storage, StorageJob, StorageOptions, SyncClock, Worker};

/// The thread's end of a [`Storage`], in lock step with whoever has it.
pub struct LockStep {
    worker: Worker,
    /// What it is at, since when.
    job: Option<(StorageJob, Instant)>,
    waits_until: Option<Instant>,
    /// The last to go.
    _watch: DeathWatch,
}

impl LockStep {
    /// As [`Storage::start`], without a thread.
    #[must_use]
    pub fn start(
        data_files: DataFiles,
        options: StorageOptions,
        wake: Arc<dyn Fn() + Send + Sync>,
        now: Instant,
    ) -> (Storage, Self) {
        let (storage, mut worker, watch) = Storage::prepare(data_files, options, wake);
        worker.clock = SyncClock::Told { now, synced: now };
        worker.data_files.helper.enter_lock_step();
        worker.compact();
        (storage, Self { worker, job: None, waits_until: None, _watch: watch })
    }

    /// Takes the next job, if it is at none. Whether it is at one now.
    pub fn look(&mut self, now: Instant) -> bool {
        if self.job.is_none() {
            self.worker.clock = SyncClock::Told { now, synced: now };
            match self.worker.try_next() {
                Next::Do(job) => (self.job, self.waits_until) = (Some((job, now)), None),
                Next::Wait(until) => self.waits_until = until,
            }
        }
        self.job.is_some()
    }

    /// Until when, at most, there is nothing to do; as far as the last look told.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        self.waits_until
    }

    /// Does what it is at; that has taken until `now`.
    pub fn finish(&mut self, now: Instant) {
        if let Some((job, begun)) = self.job.take() {
            self.worker.clock = SyncClock::Told { now: begun, synced: now };
            self.worker.perform(job);
        }
    }

    /// Whether a compaction has something to do.
    #[must_use]
    pub fn can_compact(&self) -> bool {
        self.worker.data_files.helper.can_step()
    }

    /// Does what the compaction has to do.
    pub fn compact(&mut self) {
        self.worker.data_files.helper.step();
    }

    /// Does all that is left, and closes the directory.
    pub fn close(mut self, now: Instant) {
        self.worker.order_close();
        self.finish(now);
        self.worker.clock = SyncClock::Told { now, synced: now };
        while let Next::Do(job) = self.worker.try_next() {
            if matches!(job, StorageJob::Close) {
                return self.worker.close();
            }
            self.worker.perform(job);
        }
    }
}
