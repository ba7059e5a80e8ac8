//! All that the program prints.
//!
//! `println!` and `eprintln!` panic where the reader of a pipe has left (EPIPE), a disk is full (ENOSPC), a terminal has
//! hung up (EIO) or a pipe that does not block is full (EAGAIN). None of these may end a server, or stand in place of a
//! result. So nothing else in `src` prints (`tests/tidy.rs` checks it).

use std::fmt::Display;
use std::io::{self, IsTerminal, StdoutLock, Write};

use super::Failure;
use crate::text::{printable, printable_lines};

/// Prints a line on stderr, for people. A line that cannot be written is lost: there is no other place to report it.
///
/// Part of it may be a peer's text, so control characters are escaped, in all that people read.
pub(super) fn tell(line: impl Display) {
    let _ = Errors.write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// Prints whole lines on stderr, as [`tell`] does.
pub(super) fn tell_lines(lines: &str) {
    let _ = Errors.write_all(printable_lines(lines).as_bytes());
}

/// Prints `lines` on stdout, for scripts, where the program goes on without a reader: a server serves all the same.
pub(super) fn announce(lines: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        tell(format_args!("cannot write to stdout: {error}"));
    }
}

/// Prints a result on stdout. Fails where it is lost, but for a reader that has left: it has all that it wanted.
pub(super) fn show(text: &str) -> Result<(), Failure> {
    let mut results = Results::new();
    let printed = results.write_all(printable_lines(text).as_bytes()).and_then(|()| results.flush());
    printed.map_err(|error| cannot_write(&error))
}

/// What a result that cannot be written ends with.
pub(super) fn cannot_write(error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write to stdout: {error}"))
}

/// Whether somebody watches stderr, who can be shown progress.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether stdout is a terminal, which is no place for bytes.
pub(super) fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

/// Stdout for data that must arrive whole: every error is returned, and an early end of the reader is one.
pub(super) fn data() -> StdoutLock<'static> {
    io::stdout().lock()
}

/// Stdout for results: what is written after its reader has left is dropped, every other error is returned.
pub(super) struct Results {
    stdout: StdoutLock<'static>,
    has_reader: bool,
}

impl Results {
    pub(super) fn new() -> Self {
        Self { stdout: io::stdout().lock(), has_reader: true }
    }

    /// Whether anybody may still read.
    pub(super) fn has_reader(&self) -> bool {
        self.has_reader
    }

    fn note<T>(&mut self, result: io::Result<T>, dropped: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.has_reader = false;
                Ok(dropped)
            }
            other => other,
        }
    }
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_reader {
            return Ok(bytes.len());
        }
        let written = self.stdout.write(bytes);
        self.note(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.has_reader {
            return Ok(());
        }
        let flushed = self.stdout.flush();
        self.note(flushed, ())
    }
}

/// Stderr as a writer that never fails: what cannot be written is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errors;

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match io::stderr().write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            // A write of nothing would be an error of `write_all`.
            Ok(0) | Err(_) => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of a log on stderr, written one at a time: whatever a line holds, it is one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(bytes));
        tell(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdout for results that people read, in which a peer's text may stand.
pub(super) struct Words(Results);

impl Words {
    pub(super) fn new() -> Self {
        Self(Results::new())
    }
}

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whole strings are written, never parts of a character.
        self.0.write_all(printable_lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
