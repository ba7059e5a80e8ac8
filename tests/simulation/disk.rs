//! The disk of a server with a data directory, its faults, and how the server dies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use latchkey::internals::disk::sim::{Disk, DiskFaults};
use latchkey::internals::disk::{DataFiles, FileSizes, LockStep, StorageError, StorageOptions, Sync};
use latchkey::internals::net::Wake;
use latchkey::internals::net::sim::SimRandom;
use latchkey::internals::services::Builtin;
use latchkey::internals::store::CommitLimits;
use latchkey::internals::timer::Now;

/// Size of a directory's reserve in bytes, if it has one.
const RESERVE: usize = 4096;

/// Everything that a seed decides about durability.
#[derive(Clone, Debug)]
pub(crate) struct Durability {
    sync: Sync,
    /// Maximum duration of a job of the storage thread.
    pub(crate) delay: Duration,
    limits: CommitLimits,
    sizes: FileSizes,
    pub(crate) trouble: Trouble,
    /// When the server dies, and how.
    pub(crate) deaths: Vec<(Duration, Death)>,
}

/// The fault of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    None,
    /// It is full after this many writes.
    Full(usize),
    /// Its machine stops, as with [`Stops`](Self::Stops), perhaps again after the server has restarted. Each time the
    /// server dies, other data fills the disk to the last byte, so it starts on a full disk.
    Filled(usize),
    /// A sync fails after this many.
    SyncFails(usize),
    /// One call fails after this many, later ones do not.
    CallFails(usize),
    /// The machine stops in the middle of a job, after this many calls.
    Stops(usize),
    /// From some job on, it does not answer.
    Hangs(usize),
}

impl Trouble {
    pub(crate) const KINDS: [&str; 7] =
        ["fine", "full", "full at start", "sync fails", "call fails", "machine stops", "hangs"];

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::None => "fine",
            Self::Full(_) => "full",
            Self::Filled(_) => "full at start",
            Self::SyncFails(_) => "sync fails",
            Self::CallFails(_) => "call fails",
            Self::Stops(_) => "machine stops",
            Self::Hangs(_) => "hangs",
        }
    }
}

/// How a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    /// The process is killed; what it has written stays.
    Killed,
    /// The machine stops: what was not synced may be there, torn, or missing.
    PowerLost,
    /// It stops by itself, because it does not know what is on disk.
    GaveUp,
}

impl Death {
    pub(crate) const ALL: [Self; 3] = [Self::Killed, Self::PowerLost, Self::GaveUp];
}

impl Durability {
    pub(crate) fn draw(random: &mut SimRandom) -> Self {
        let count = random.size(0, 40);
        let trouble = random.one_of([
            Trouble::None,
            Trouble::None,
            Trouble::Full(count),
            Trouble::Filled(count),
            Trouble::SyncFails(count / 2),
            Trouble::CallFails(count),
            Trouble::Stops(count),
            Trouble::Hangs(count / 2),
        ]);
        // What is not synced need only survive the process.
        let sync = if matches!(trouble, Trouble::None | Trouble::Full(_)) && random.chance(0.3) {
            random.one_of([Sync::Interval, Sync::None])
        } else {
            Sync::Always
        };
        let latest = Duration::from_millis(random.one_of([20, 2_000, 8_000]));
        let mut death = || {
            let how =
                if sync == Sync::Always { random.one_of([Death::Killed, Death::PowerLost]) } else { Death::Killed };
            (random.time(latest), how)
        };
        let mut deaths = vec![death(), death()];
        deaths.sort();
        let is_found_full = matches!(trouble, Trouble::Filled(_));
        deaths.truncate(random.size(usize::from(is_found_full), 2));
        Self {
            sync,
            delay: Duration::from_micros(random.one_of([0, 200, 30_000, 2_000_000])),
            limits: CommitLimits {
                unsynced_bytes: random.one_of([1, 3_000, 16 << 20]),
                timeout: Duration::from_mins(1),
            },
            sizes: FileSizes {
                reserve: if is_found_full { RESERVE } else { random.one_of([0, RESERVE]) },
                journal: random.one_of([300, 5_000, 64 << 20]),
                sealed: random.one_of([1 << 20, 64 << 20]),
                index: random.one_of([1, 1_000]),
                ahead: random.one_of([0, 2_000, 100_000]),
            },
            trouble,
            deaths,
        }
    }
}

/// The content of a disk, by key.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// A disk, and the storage thread that works on it.
pub(crate) struct SimulatedDisk {
    pub(crate) plan: Durability,
    disk: Disk,
    worker: Option<LockStep>,
    /// When the job of the worker is done, and that of the compaction.
    due: Option<Instant>,
    compaction_due: Option<Instant>,
    jobs: usize,
    is_calm: bool,
    /// The server's listening addresses.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) restarts: Vec<Death>,
    pub(crate) compactions: u64,
    /// When there was space again.
    pub(crate) relieved: Option<Instant>,
    /// Whether writes are accepted again since then.
    pub(crate) recovered: bool,
}

impl SimulatedDisk {
    pub(crate) fn new(plan: Durability) -> Self {
        Self {
            plan,
            disk: Disk::default(),
            worker: None,
            due: None,
            compaction_due: None,
            jobs: 0,
            is_calm: false,
            addresses: Vec::new(),
            restarts: Vec::new(),
            compactions: 0,
            relieved: None,
            recovered: false,
        }
    }

    /// Opens it for `service`, as `serve --data` does.
    pub(crate) fn open(&mut self, service: &mut Builtin, now: Now, wake: Wake) -> Result<Contents, String> {
        let (data_files, contents) = self.look_inside(&self.disk)?;
        let mut fit = Ok(());
        let loaded = data_files.load(&mut |record| {
            if fit.is_ok() {
                fit = service.store_mut().load(&record);
            }
        });
        loaded.map_err(|error| error.to_string())?;
        fit.map_err(|unfit| format!("a record on disk cannot be loaded: {unfit:?}"))?;
        let options = StorageOptions { sync: self.plan.sync, backup: None };
        let (storage, worker) = LockStep::start(data_files, options, wake, now.instant);
        service.store_mut().attach(storage, self.plan.limits);
        self.worker = Some(worker);
        if self.restarts.len() == 1
            && let Trouble::Filled(calls) = self.plan.trouble
        {
            let stops_after = calls.is_multiple_of(2).then_some(calls);
            self.disk.set_faults(DiskFaults { stops_after, ..self.filled() });
        }
        if self.restarts.is_empty() {
            self.disk.set_faults(match self.plan.trouble {
                Trouble::None | Trouble::Hangs(_) => DiskFaults::default(),
                Trouble::Full(writes) => DiskFaults { room: Some(writes), ..DiskFaults::default() },
                Trouble::SyncFails(syncs) => DiskFaults { syncs: Some(syncs), ..DiskFaults::default() },
                Trouble::CallFails(calls) => DiskFaults { fails_after: Some(calls), ..DiskFaults::default() },
                Trouble::Stops(calls) | Trouble::Filled(calls) => {
                    DiskFaults { stops_after: Some(calls), ..DiskFaults::default() }
                }
            });
        }
        Ok(contents)
    }

    /// What a server that starts now would find.
    pub(crate) fn contents(&self) -> Result<Contents, String> {
        Ok(self.look_inside(&Disk::with_files(&self.disk.files()))?.1)
    }

    fn look_inside(&self, disk: &Disk) -> Result<(DataFiles, Contents), String> {
        let refused = |error: &dyn std::fmt::Display| format!("the directory is not opened: {error}");
        let data_files = DataFiles::with_sizes(disk.folder(), self.plan.sizes).map_err(|error| refused(&error))?;
        let mut contents = Contents::new();
        let visited = data_files.load(&mut |record| {
            let key = String::from_utf8_lossy(record.key).into_owned();
            contents.insert(key, record.data.to_vec());
        });
        let keys = visited.map_err(|error| refused(&error))?.keys;
        if keys != data_files.expected_keys() {
            return Err(format!("{keys} keys are on disk, and {} were written", data_files.expected_keys()));
        }
        Ok((data_files, contents))
    }

    /// The storage thread takes its next job.
    pub(crate) fn look(&mut self, now: Instant, random: &mut SimRandom) {
        let Some(worker) = &mut self.worker else { return };
        let delay = self.plan.delay;
        let delay = if self.is_calm { Duration::ZERO } else { delay };
        if self.due.is_none() && worker.look(now) {
            self.jobs += 1;
            let hangs =
                matches!(self.plan.trouble, Trouble::Hangs(jobs) if self.restarts.is_empty() && self.jobs > jobs);
            let takes = if hangs { self.plan.limits.timeout * 2 } else { random.time(delay) };
            self.due = Some(now + takes);
        }
        if self.compaction_due.is_none() && worker.can_compact() {
            self.compaction_due = Some(now + random.time(delay * 10));
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now) || self.compaction_due.is_some_and(|due| due <= now)
    }

    /// When it has something to do without any event.
    pub(crate) fn next_time(&self, now: Instant) -> Option<Instant> {
        let wakes = self.worker.as_ref().filter(|_| self.due.is_none()).and_then(LockStep::wakes_at);
        [self.due, self.compaction_due, wakes].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Completes the jobs that are due.
    pub(crate) fn step(&mut self, now: Instant) {
        let Some(worker) = &mut self.worker else { return };
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            worker.finish(now);
        } else {
            self.compaction_due = None;
            self.compactions += 1;
            worker.compact();
        }
    }

    /// Ends all delays.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
    }

    /// Whether the machine has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.disk.has_stopped()
    }

    /// The server has died: its present job is done or not.
    pub(crate) fn die(&mut self, how: Death, now: Instant, random: &mut SimRandom) {
        if let Some(mut worker) = self.worker.take()
            && how != Death::PowerLost
            && random.chance(0.5)
        {
            worker.finish(now);
        }
        (self.due, self.compaction_due) = (None, None);
        if how == Death::PowerLost || self.disk.has_stopped() {
            self.disk.crash_torn(&mut |bound| random.below(bound));
        }
        self.disk.set_faults(self.filled());
        self.restarts.push(how);
    }

    /// No more space than the files use, if other data fills the disk.
    fn filled(&self) -> DiskFaults {
        let is_filled = matches!(self.plan.trouble, Trouble::Filled(_));
        DiskFaults { capacity: is_filled.then(|| self.disk.used()), ..DiskFaults::default() }
    }

    /// Whether `service` refuses writes because the disk is full.
    pub(crate) fn lacks_room(&self, service: &mut Builtin) -> Result<bool, String> {
        match service.store_mut().refuses_writes() {
            Some(StorageError::Full(_)) => Ok(true),
            Some(failure) if matches!(self.plan.trouble, Trouble::Full(_) | Trouble::Filled(_)) => {
                Err(format!("the disk was full, and writes are refused for good: {failure}"))
            }
            _ => Ok(false),
        }
    }

    /// The disk has space again.
    pub(crate) fn relieve(&mut self, now: Instant) {
        self.disk.set_faults(DiskFaults::default());
        self.relieved = Some(now);
    }

    /// Closes it cleanly after the last turn of `service`; returns the content of the disk, even if the machine stops.
    pub(crate) fn close(&mut self, service: &mut Builtin, now: Now) -> Result<Contents, String> {
        let was_lost = service.store_mut().refuses_writes().is_some();
        let _ = service.store_mut().commit(now);
        if let Some(worker) = self.worker.take() {
            worker.close(now.instant);
        }
        let closed = service.close();
        // The machine may stop before it is closed.
        let is_fine = self.relieved.is_some() || matches!(self.plan.trouble, Trouble::None | Trouble::Hangs(_));
        let may_fail = matches!(self.plan.trouble, Trouble::Filled(_)) || self.restarts.is_empty();
        let may_fail = may_fail && !is_fine;
        let is_lost = was_lost || self.disk.has_stopped() || closed.is_err() && may_fail;
        if let Err(failure) = closed
            && !is_lost
        {
            return Err(format!("not closed cleanly: {failure}"));
        }
        if self.plan.sync == Sync::Always || !is_lost {
            self.disk.crash(0);
        }
        self.disk.set_faults(DiskFaults::default());
        let (data_files, contents) = self.look_inside(&self.disk)?;
        if !is_lost && !data_files.was_clean() {
            return Err("closed cleanly, but not recorded as such".into());
        }
        Ok(contents)
    }
}
