//! A storage thread without a thread, run by a simulation one step at a time.
//!
//! It runs the code of [`Storage`]'s thread, but never blocks and reads no clock.

use std::sync::Arc;
use std::time::Instant;

use super::data_files::DataFiles;
use super::storage::{DeathWatch, Next, Storage, StorageJob, StorageOptions, SyncClock, Worker};

/// The thread's end of a [`Storage`], run in lock step.
pub struct LockStep {
    worker: Worker,
    /// The present job, and when it began.
    job: Option<(StorageJob, Instant)>,
    waits_until: Option<Instant>,
    /// Dropped last.
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

    /// Takes the next job, if there is none at present. Returns whether there is one now.
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

    /// When the next job is due, as of the last look.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        self.waits_until
    }

    /// Performs the present job, which has taken until `now`.
    pub fn finish(&mut self, now: Instant) {
        if let Some((job, begun)) = self.job.take() {
            self.worker.clock = SyncClock::Told { now: begun, synced: now };
            self.worker.perform(job);
        }
    }

    /// Whether a compaction has work.
    #[must_use]
    pub fn can_compact(&self) -> bool {
        self.worker.data_files.helper.can_step()
    }

    /// Does the compaction's work.
    pub fn compact(&mut self) {
        self.worker.data_files.helper.step();
    }

    /// Does all remaining work, and closes the directory.
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
