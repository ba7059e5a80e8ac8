//! Compaction: sealed journals become part of the snapshot, on a thread of low priority.
//!
//! Nothing waits for it. A crash at any point leaves either the old snapshot with all its journals, or the new one;
//! left-over files are removed at the next start. If it fails, the journals stay, and it is retried when there are
//! more.

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

/// Counts of compactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compactions {
    /// One is running.
    pub running: bool,
    /// Number completed.
    pub done: u64,
    /// Number failed.
    pub failed: u64,
    /// Why the last one failed, if it did.
    pub failure: Option<String>,
}

/// A job beside the journal.
pub(super) enum CompactionJob {
    /// Write a snapshot of a view.
    Compact {
        /// The files to merge.
        view: View,
        /// The head of the snapshot.
        head: FileHead,
        /// Maximum number of keys in an index.
        index: usize,
    },
    /// Remove the files that a snapshot has replaced.
    Remove(Vec<String>),
}

/// The result of a job.
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
                    // A partial snapshot may take the space that is missing. If it cannot be removed now, the next
                    // start removes it.
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

/// The work of a thread.
type Postponed = Box<dyn FnOnce() + Send>;

/// The thread, started when there is work.
#[derive(Default)]
pub(super) struct Helper {
    thread: Option<JoinHandle<()>>,
    /// In lock step there is no thread: its work, until the step is requested.
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

    /// In lock step: does the thread's work. `false` if there is none.
    pub(super) fn step(&mut self) -> bool {
        self.postponed.take().map(|work| work()).is_some()
    }

    /// In lock step: whether there is work.
    pub(super) fn can_step(&self) -> bool {
        self.postponed.is_some()
    }

    /// The flag that stops reading.
    pub(super) fn is_cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_cancelled)
    }

    /// Starts a job. `notify` is called when it is done.
    pub(super) fn begin(
        &mut self,
        folder: &Arc<dyn Folder>,
        job: CompactionJob,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<()> {
        let (outcome, folder) = (Arc::clone(&self.outcome), Arc::clone(folder));
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(|| job.run(&*folder)));
            let done = done.unwrap_or_else(|_| Err(io::Error::other("the compaction thread panicked")));
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

    /// The result of the job, once.
    pub(super) fn take(&mut self) -> Option<io::Result<Outcome>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        Some(outcome)
    }

    /// Whether there is a result to take.
    pub(super) fn is_over(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for Helper {
    /// Nothing may write to the directory after it is released.
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the loop and the storage thread priority. If the priority cannot be lowered, compaction runs all the same.
fn yield_to_others() {
    let thread = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(thread), 10);
}
