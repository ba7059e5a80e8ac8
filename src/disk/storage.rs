//! The storage thread: takes the submitted groups, makes them durable as one batch, reports that, takes those submitted
//! meanwhile.
//!
//! The loop never waits for it: it submits groups, is woken through the poller, and polls the state. So one sync covers
//! everything submitted during the previous one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::compact::Compactions;
use super::data_files::{DataFiles, Undo};
use super::failure::StorageError;
use super::gather::Gather;
use super::group::Group;
use super::lock::Lock;
use super::{Sync, backup};

/// Time between syncs that are not immediate, and between syncs of the manifest.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for a clean shutdown; after it the process ends without it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Wakes the loop.
type Wake = Arc<dyn Fn() + Send + std::marker::Sync>;

/// Options of a storage thread.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    /// When it syncs.
    pub sync: Sync,
    /// The path of the backup file. If it is `None`, backups are off.
    pub backup: Option<PathBuf>,
}

/// A finished backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The number of keys in it, or why it failed.
    pub outcome: Result<u64, String>,
}

/// The state of the thread.
#[derive(Debug, Default)]
pub struct StorageReport {
    /// Every group up to this one is durable.
    pub durable: u64,
    /// A failure; reported each time.
    pub failure: Option<StorageError>,
    /// After [`Storage::last_call`]: how to undo what was lost.
    pub undo: Option<Undo>,
    /// Progress of reading the undo information, for which all files are read.
    pub seen: u64,
    /// A backup that has finished since the last report.
    pub backup: Option<Backup>,
}

/// Which groups are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The last one.
    pub group: u64,
    /// Bytes of the groups that are not.
    pub queued: usize,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent orders and answers")]
struct State {
    waiting: Group,
    /// The last group submitted, and the number of keys after it.
    last: u64,
    keys: u64,
    /// Bytes submitted and not yet durable.
    in_flight: usize,
    /// A backup was requested when this was the last group.
    wants_backup: Option<u64>,
    backing_up: bool,
    last_call: bool,
    /// A check for free space was requested.
    wants_room: bool,
    close: bool,
    closed: bool,
    /// The number of queued changes that wakes the thread: waking it while it works, or waits for more changes, would
    /// cost the loop as much as a request.
    wakes_at: Option<usize>,
    report: StorageReport,
    compactions: Compactions,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of a storage thread.
pub struct Storage {
    shared: Arc<Shared>,
    options: StorageOptions,
    /// The last group found when it was opened.
    recovered: u64,
    seen: Arc<AtomicU64>,
}

impl Storage {
    /// Starts a thread on `data_files`. `wake` is called when there is something to report.
    pub fn start(data_files: DataFiles, options: StorageOptions, wake: Wake) -> io::Result<Self> {
        Self::start_with(data_files, None, options, wake)
    }

    /// As [`start`](Self::start); `lock` is held as long as the thread runs.
    pub(super) fn start_with(
        data_files: DataFiles,
        lock: Option<Lock>,
        options: StorageOptions,
        wake: Wake,
    ) -> io::Result<Self> {
        let (storage, worker, watch) = Self::prepare(data_files, options, wake);
        thread::Builder::new().name("storage".into()).spawn(move || {
            // Dropped last, after the files and the lock.
            let _watch = watch;
            let _lock = lock;
            worker.run();
        })?;
        Ok(storage)
    }

    /// Both ends, and the guard that reports the end of the worker to the loop.
    pub(super) fn prepare(data_files: DataFiles, options: StorageOptions, wake: Wake) -> (Self, Worker, DeathWatch) {
        let shared = Arc::new(Shared::default());
        let (recovered, seen) = (data_files.last_group(), data_files.seen());
        shared.lock().last = recovered;
        shared.lock().report.durable = recovered;
        let worker = Worker {
            data_files,
            options: options.clone(),
            shared: Arc::clone(&shared),
            wake: Wake::clone(&wake),
            clock: SyncClock::System,
            taken: recovered,
            group: Group::default(),
            lost: Group::default(),
            sync_at: None,
            gather: Gather::default(),
        };
        let watch = DeathWatch { shared: Arc::clone(&shared), wake };
        (Self { shared, options, recovered, seen }, worker, watch)
    }

    /// When it syncs.
    #[must_use]
    pub fn sync(&self) -> Sync {
        self.options.sync
    }

    /// The last group found at start.
    #[must_use]
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Submits group `last`, which follows the previous one; `keys` is the number of keys after it.
    pub fn submit(&self, group: &mut Group, last: u64, keys: u64) {
        let mut state = self.shared.lock();
        state.waiting.append(group);
        state.last = last;
        state.keys = keys;
        let wakes = state.wakes_at.is_some_and(|count| state.waiting.count() >= count);
        drop(state);
        if wakes {
            self.shared.changed.notify_one();
        }
    }

    /// How far it is, and how much it still has to do.
    #[must_use]
    pub fn durable(&self) -> Durable {
        let state = self.shared.lock();
        Durable { group: state.report.durable, queued: state.waiting.len() + state.in_flight }
    }

    /// The state of the thread.
    #[must_use]
    pub fn poll(&self) -> StorageReport {
        let mut state = self.shared.lock();
        let report = &mut state.report;
        StorageReport {
            durable: report.durable,
            failure: report.failure.clone(),
            seen: self.seen.load(Ordering::Relaxed),
            undo: report.undo.take(),
            backup: report.backup.take(),
        }
    }

    /// Counts of compactions.
    #[must_use]
    pub fn compactions(&self) -> Compactions {
        self.shared.lock().compactions.clone()
    }

    /// After a failed write: no more groups are submitted, so the undo information can be read.
    pub fn last_call(&self) {
        self.shared.lock().last_call = true;
        self.shared.changed.notify_one();
    }

    /// After the disk was full, when the lost changes have been undone: checks for free space. If there is enough,
    /// [`poll`](Self::poll) reports no failure any more, and groups are accepted from the last durable one on.
    pub fn look_for_room(&self) {
        self.shared.lock().wants_room = true;
        self.shared.changed.notify_one();
    }

    /// Starts a backup. `false` if one is being written, or backups are off.
    #[must_use]
    pub fn begin_backup(&self) -> bool {
        let mut state = self.shared.lock();
        if self.options.backup.is_none() || state.backing_up {
            return false;
        }
        state.wants_backup = Some(state.last);
        state.backing_up = true;
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    /// Makes everything submitted durable, and ends the thread.
    ///
    /// # Errors
    ///
    /// It failed, or timed out.
    pub fn close(&self) -> Result<(), StorageError> {
        self.abandon();
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.closed);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match &state.report.failure {
            Some(failure) => Err(failure.clone()),
            None if !state.closed => Err(StorageError::TimedOut(CLOSE_TIMEOUT)),
            None => Ok(()),
        }
    }

    /// Ends the thread after its present job, without waiting for it.
    pub fn abandon(&self) {
        self.shared.lock().close = true;
        self.shared.changed.notify_one();
    }
}

/// Reports the end of the thread to the loop, whatever the cause.
pub(super) struct DeathWatch {
    shared: Arc<Shared>,
    wake: Wake,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !state.close || thread::panicking() {
            // A failed write can no longer be undone.
            let failed = state.report.failure.take().filter(StorageError::is_fatal);
            state.report.failure = Some(failed.unwrap_or(StorageError::Stopped));
        }
        state.closed = true;
        drop(state);
        self.shared.changed.notify_all();
        (self.wake)();
    }
}

/// The thread's next job.
#[derive(Clone, Copy)]
pub(super) enum StorageJob {
    Write { last: u64, keys: u64 },
    Undo,
    Recovery,
    Backup,
    Sync,
    Compaction,
    Close,
}

/// The next job, if there is one; or how long to wait for one.
pub(super) enum Next {
    Do(StorageJob),
    Wait(Option<Instant>),
}

/// The source of time.
#[derive(Clone, Copy)]
pub(super) enum SyncClock {
    System,
    /// In lock step, it is given: when the job began, and when its sync ended.
    Told {
        now: Instant,
        synced: Instant,
    },
}

impl SyncClock {
    #[expect(clippy::disallowed_methods, reason = "the thread waits by the clock, and no loop runs on it")]
    fn now(self) -> Instant {
        match self {
            Self::System => Instant::now(),
            Self::Told { now, .. } => now,
        }
    }

    fn pass_sync(&mut self) {
        if let Self::Told { now, synced } = self {
            *now = *synced;
        }
    }
}

pub(super) struct Worker {
    pub(super) data_files: DataFiles,
    options: StorageOptions,
    shared: Arc<Shared>,
    wake: Wake,
    pub(super) clock: SyncClock,
    /// The last group taken.
    taken: u64,
    /// The batch being written; its memory is reused.
    group: Group,
    /// The batch that could not be written.
    lost: Group,
    /// When the next delayed sync is due.
    sync_at: Option<Instant>,
    /// What the next group waits for.
    gather: Gather,
}

impl Worker {
    fn run(mut self) {
        self.compact();
        while let Some(job) = self.next() {
            self.perform(job);
        }
        self.close();
    }

    /// Performs any job but closing.
    pub(super) fn perform(&mut self, job: StorageJob) {
        match job {
            StorageJob::Write { last, keys } => self.write(last, keys),
            StorageJob::Undo => self.undo(),
            StorageJob::Recovery => self.recover(),
            StorageJob::Backup => self.backup(),
            StorageJob::Sync => self.delayed_sync(),
            StorageJob::Compaction => self.compaction(),
            StorageJob::Close => {}
        }
    }

    /// The last order: the thread ends when all earlier jobs are done.
    pub(super) fn order_close(&self) {
        self.shared.lock().close = true;
    }

    /// Waits for the next job; `None` to close.
    fn next(&mut self) -> Option<StorageJob> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            state = match self.look(&mut state) {
                Next::Do(StorageJob::Close) => return None,
                Next::Do(job) => return Some(job),
                Next::Wait(Some(until)) => {
                    let wait = until.saturating_duration_since(self.clock.now());
                    shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Wait(None) => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.wakes_at = None;
        }
    }

    /// The same without waiting.
    pub(super) fn try_next(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.look(&mut state)
    }

    fn look(&mut self, state: &mut State) -> Next {
        let healthy = state.report.failure.is_none();
        let sync_at = self.sync_at.filter(|_| healthy);
        // Before the next group: a sync is made when it is due, however fast groups arrive.
        if sync_at.is_some_and(|at| at <= self.clock.now()) {
            return Next::Do(StorageJob::Sync);
        }
        if healthy && self.data_files.is_to_go_on() {
            return Next::Do(StorageJob::Compaction);
        }
        // Groups submitted before the request belong into a backup; later ones need not.
        if state.wants_backup.is_some_and(|group| self.taken >= group || !healthy) {
            state.wants_backup = None;
            return Next::Do(StorageJob::Backup);
        }
        if !healthy {
            self.lost.append(&mut state.waiting);
            if std::mem::take(&mut state.last_call) {
                return Next::Do(StorageJob::Undo);
            }
            if std::mem::take(&mut state.wants_room) {
                return Next::Do(StorageJob::Recovery);
            }
        } else if state.last > self.taken
            && (state.close || self.gather.is_over(state.waiting.count(), self.clock.now()))
        {
            std::mem::swap(&mut state.waiting, &mut self.group);
            state.in_flight = self.group.len();
            self.taken = state.last;
            return Next::Do(StorageJob::Write { last: state.last, keys: state.keys });
        }
        if state.close {
            return Next::Do(StorageJob::Close);
        }
        let gather = self.gather.wanted().filter(|_| healthy && state.last > self.taken);
        // The first change begins the wait for others.
        state.wakes_at = Some(gather.map_or(0, |(changes, _)| changes));
        Next::Wait([sync_at, gather.map(|(_, until)| until)].into_iter().flatten().min())
    }

    fn write(&mut self, last: u64, keys: u64) {
        if let Err(failure) = self.data_files.write(&self.group, last, keys) {
            let mut group = std::mem::take(&mut self.group);
            self.lost.append(&mut group);
            return self.fail(failure);
        }
        let begun = self.clock.now();
        if self.options.sync == Sync::Always
            && let Err(failure) = self.data_files.sync()
        {
            return self.fail(failure);
        }
        self.clock.pass_sync();
        self.schedule_sync();
        let now = self.clock.now();
        let mut state = self.shared.lock();
        if self.options.sync == Sync::Always {
            self.gather.begin(self.group.count() + state.waiting.count(), now, now - begun);
        }
        self.group.reset();
        state.in_flight = 0;
        state.report.durable = last;
        drop(state);
        (self.wake)();
        self.compact();
    }

    /// Starts a compaction if one is due.
    pub(super) fn compact(&mut self) {
        let notify = self.notify();
        if self.data_files.compact_if_due(&notify) {
            self.tell_of_compactions();
        }
    }

    /// Continues a compaction. After a failure nothing is written any more; left-over files stay.
    fn compaction(&mut self) {
        let notify = self.notify();
        self.data_files.go_on(&notify);
        self.tell_of_compactions();
        self.compact();
    }

    fn tell_of_compactions(&self) {
        let compactions = self.data_files.compactions().clone();
        let mut state = self.shared.lock();
        let failed = compactions.failed > state.compactions.failed;
        state.compactions = compactions;
        let failure = state.compactions.failure.clone().filter(|_| failed);
        drop(state);
        if let Some(failure) = failure {
            tracing::warn!(%failure, "compaction failed; the journals stay, and it is retried when there are more");
        }
    }

    /// Wakes this thread.
    fn notify(&self) -> Arc<dyn Fn() + Send + std::marker::Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || {
            // The lock keeps the call from falling between this thread's check and its sleep.
            drop(shared.lock());
            shared.changed.notify_all();
        })
    }

    fn schedule_sync(&mut self) {
        if self.options.sync != Sync::None {
            let now = self.clock.now();
            self.sync_at.get_or_insert(now + INTERVAL);
        }
    }

    /// Delayed syncs: of the journal, if it is not synced at once, and of the manifest.
    fn delayed_sync(&mut self) {
        self.sync_at = None;
        if let Err(failure) = self.sync_all() {
            self.fail(failure);
        }
    }

    fn sync_all(&mut self) -> Result<(), StorageError> {
        self.data_files.sync()?;
        self.data_files.sync_manifest()
    }

    /// Stops taking groups: what is lost stays queued, so that no free space is reported.
    fn fail(&mut self, mut failure: StorageError) {
        if !failure.is_fatal() {
            // Nothing will be appended, so writes acknowledged before are forced to disk now or never.
            self.sync_at = None;
            if let Err(worse) = self.sync_all() {
                failure = worse;
            }
        }
        self.shared.lock().report.failure.get_or_insert(failure);
        (self.wake)();
    }

    fn undo(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        match self.data_files.undo(&lost) {
            Ok(undo) => self.shared.lock().report.undo = Some(undo),
            Err(error) => self.shared.lock().report.failure = Some(StorageError::Undo(error.to_string())),
        }
        (self.wake)();
    }

    /// Takes groups again if there is space: nothing of the lost groups is left, neither here nor in the loop.
    fn recover(&mut self) {
        if !self.data_files.recover() {
            return;
        }
        (self.lost, self.taken) = (Group::default(), self.data_files.last_group());
        let mut state = self.shared.lock();
        if matches!(state.report.failure, Some(StorageError::Full(_))) && state.report.durable == self.taken {
            state.waiting.reset();
            (state.last, state.keys, state.in_flight) = (self.taken, self.data_files.expected_keys(), 0);
            state.report.failure = None;
        }
        drop(state);
        (self.wake)();
    }

    /// Another thread reads the present state while this one continues.
    fn backup(&mut self) {
        let Some(path) = self.options.backup.clone() else { return };
        let contents = self.data_files.contents();
        let (shared, wake) = (Arc::clone(&self.shared), Wake::clone(&self.wake));
        backup::begin(contents, path, move |outcome| {
            let mut state = shared.lock();
            state.backing_up = false;
            state.report.backup = Some(Backup { outcome });
            drop(state);
            shared.changed.notify_all();
            wake();
        });
    }

    pub(super) fn close(mut self) {
        if self.shared.lock().report.failure.is_none() {
            let closed = self.data_files.close();
            if let Err(failure) = closed {
                self.fail(failure);
            }
        }
    }
}
