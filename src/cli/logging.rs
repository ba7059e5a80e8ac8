//! The log on stderr, written by its own thread so that the loop never waits for a reader.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::terminal::LogLines;

/// Lines queued for a slow reader of stderr; further ones are dropped and counted. A full pipe must not block the loop.
const QUEUED_LINES: usize = 8192;

/// Bytes of queued lines, which `--max-client-memory` does not include. Enough for a full queue of lines of usual
/// length.
const QUEUED_BYTES: usize = 4 << 20;

/// Longer lines are cut: messages may quote names chosen by peers.
const LINE_BYTES: usize = 2 << 10;

/// Replaces the part of a line that was cut.
const CUT: &[u8] = b"...\n";

/// Keeps the log running; dropping it writes the queued lines.
pub(super) struct Logging {
    queue: Arc<Queue>,
    _guard: WorkerGuard,
}

/// What is in the queue.
#[derive(Debug, Default)]
struct Queue {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Whether a line of `length` bytes may be queued. It is counted before the check, because threads log at the same
    /// time.
    fn enter(&self, length: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(length, Ordering::Relaxed);
        let fits = lines < QUEUED_LINES && bytes.saturating_add(length) <= QUEUED_BYTES;
        if !fits {
            self.leave(length);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    fn leave(&self, length: usize) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(length, Ordering::Relaxed);
    }
}

/// The entry of the queue: each line is one write.
#[derive(Clone)]
struct Entrance<W> {
    queue: Arc<Queue>,
    writer: W,
}

impl<W: Write> Write for Entrance<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut cut = Vec::new();
        let kept = if line.len() > LINE_BYTES {
            // Half of a character is not printed.
            let head = line.get(..LINE_BYTES - CUT.len()).unwrap_or_default();
            let head = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            cut.extend_from_slice(head.as_bytes());
            cut.extend_from_slice(CUT);
            &cut
        } else {
            line
        };
        if self.queue.enter(kept.len()) {
            self.writer.write_all(kept)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<'a> MakeWriter<'a> for Entrance<NonBlocking> {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The exit of the queue, on its own thread: each line is one write.
struct Exit {
    queue: Arc<Queue>,
}

impl Write for Exit {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = LogLines.write_all(line);
        self.queue.leave(line.len());
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        LogLines.flush()
    }
}

impl Logging {
    /// Starts the log; once per process.
    pub(super) fn start(level: LevelFilter) -> Self {
        let queue = Arc::new(Queue::default());
        let exit = Exit { queue: Arc::clone(&queue) };
        // One more than are ever queued, so that the library drops none: its bytes would stay counted.
        let (writer, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES + 1).lossy(true).finish(exit);
        let writer = Entrance { queue: Arc::clone(&queue), writer };
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_target(false).with_writer(writer).init();
        Self { queue, _guard: guard }
    }

    /// The counter of lines dropped because stderr was not read in time.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.queue.dropped)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let dropped = self.queue.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped because stderr was not read in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance() -> Entrance<Vec<u8>> {
        Entrance { queue: Arc::default(), writer: Vec::new() }
    }

    #[test]
    fn the_queue_is_bounded_in_lines_and_bytes_and_drops_are_counted() {
        for (length, most) in [(10, QUEUED_LINES), (LINE_BYTES, QUEUED_BYTES / LINE_BYTES)] {
            let mut entrance = entrance();
            let line = vec![b'x'; length];
            for _ in 0..most + 5 {
                entrance.write_all(&line).expect("taken or dropped");
            }
            assert_eq!(entrance.writer.len(), most * length);
            assert_eq!(entrance.queue.dropped.load(Ordering::Relaxed), 5);
            entrance.queue.leave(length);
            entrance.write_all(&line).expect("taken");
            assert_eq!(entrance.writer.len(), (most + 1) * length, "there is room again");
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut entrance = entrance();
        let line = format!("x{}\n", "\u{e9}".repeat(LINE_BYTES));
        entrance.write_all(line.as_bytes()).expect("taken");
        let text = String::from_utf8(entrance.writer).expect("whole characters");
        assert!(text.len() <= LINE_BYTES && text.ends_with("\u{e9}...\n"), "{} bytes", text.len());
        assert_eq!(entrance.queue.bytes.load(Ordering::Relaxed), text.len());
    }
}
