//! What the program says while it runs, on stderr, without ever waiting for a reader.

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use super::terminal::Errors;

/// Lines that may wait for a slow stderr; more are dropped and counted. A full pipe must not stop the loop.
const QUEUED_LINES: usize = 8192;

/// Keeps the log going; dropping it writes out what is queued.
pub(super) struct Logging {
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Logging {
    /// Starts the log. Once a process.
    pub(super) fn start(level: LevelFilter) -> Self {
        let (writer, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).finish(Errors);
        let dropped = writer.error_counter();
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_target(false).with_writer(writer).init();
        Self { dropped, _guard: guard }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "lines of this log were dropped because nobody read them in time");
        }
    }
}
