//! Compaction: sealed journals become part of the snapshot, on a thread of low priority.
//!
//! Nothing waits for it. A crash at any point leaves either the old snapshot with all its journals, or the new one; what
//! is left over is removed at the next opening. If it fails, the journals stay, and it is tried again when there are more.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::folder::Folder;
use super::merge::View;
use super::names;
use super::record::FileHead;
use super::snapshot::{self, Snapshot};

/// What has become of compactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compactions {
    /// One is at work.
    pub running: bool,
    /// Those that are done.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Why the last one failed, if it did.
    pub failure: Option<String>,
}

/// Something to do beside the journal.
pub(super) enum CompactionJob {
    /// Make a snapshot of what is in a view.
    Compact {
        /// What is to become one file.
        view: View,
        /// What the snapshot stands for.
        head: FileHead,
        /// Keys that an index may hold.
        index: usize,
    },
    /// Remove files that a snapshot has taken the place of.
    Remove(Vec<String>),
}

/// What a job has led to.
pub(super) enum Outcome {
    Compacted(Snapshot),
    Removed,
}

impl CompactionJob {
    fn run(self, folder: &dyn Folder) -> io::Result<Outcome> {
        match self {
            Self::Compact { view, head, index } => {
                let written = snapshot::write(folder, &view, head, index);
                if written.is_err() {
                    // It may be what takes the room that is missing. What cannot be removed goes at the next opening.
                    let _ = folder.remove(names::UNFINISHED);
                }
                written.map(Outcome::Compacted)
            }
            Self::Remove(names) => {
                for name in names {
                    match folder.remove(&name) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                Ok(Outcome::Removed)
            }
        }
    }
}

/// Work for a thread.
type Postponed = Box<dyn FnOnce() + Send>;

/// The thread, when there is something for it to do.
#[derive(Default)]
pub(super) struct Helper {
    thread: Option<JoinHandle<()>>,
    /// In lock step there is no thread: what it would do, until it is told to.
    postponed: Option<Postponed>,
    is_in_lock_step: bool,
    outcome: Arc<Mutex<Option<io::Result<Outcome>>>>,
    is_cancelled: Arc<AtomicBool>,
}

impl Helper {
    pub(super) fn is_busy(&self) -> bool {
        self.thread.is_some() || self.is_in_lock_step && (self.postponed.is_some() || self.is_over())
    }

    /// From now on no thread is started.
    pub(super) fn enter_lock_step(&mut self) {
        self.is_in_lock_step = true;
    }

    /// In lock step: does what the thread would do. `false` if there is nothing.
    pub(super) fn step(&mut self) -> bool {
        self.postponed.take().map(|work| work()).is_some()
    }

    /// In lock step: whether there is something to do.
    pub(super) fn can_step(&self) -> bool {
        self.postponed.is_some()
    }

    /// For what is read, so that it can be stopped.
    pub(super) fn is_cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_cancelled)
    }

    /// Begins a job. `notify` is called when it is over.
    pub(super) fn begin(
        &mut self,
        folder: &Arc<dyn Folder>,
        job: CompactionJob,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<()> {
        let (outcome, folder) = (Arc::clone(&self.outcome), Arc::clone(folder));
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(|| job.run(&*folder)));
            let done = done.unwrap_or_else(|_| Err(io::Error::other("it has a bug")));
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            notify();
        };
        if self.is_in_lock_step {
            self.postponed = Some(Box::new(work));
            return Ok(());
        }
        let work = move || {
            yield_to_others();
            work();
        };
        self.thread = Some(thread::Builder::new().name("compaction".into()).spawn(work)?);
        Ok(())
    }

    /// What has become of the job, once.
    pub(super) fn take(&mut self) -> Option<io::Result<Outcome>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        Some(outcome)
    }

    /// Whether there is an outcome to be taken.
    pub(super) fn is_over(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for Helper {
    /// Nobody may write to the directory when it is given away.
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The loop and the storage thread come first. Where that cannot be had, it is done all the same.
fn yield_to_others() {
    let thread = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(thread), 10);
}
