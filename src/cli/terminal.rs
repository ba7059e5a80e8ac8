//! All output of the program.
//!
//! `println!` and `eprintln!` panic when the reader of a pipe is gone (EPIPE), a disk is full (ENOSPC), a terminal has
//! hung up (EIO) or a non-blocking pipe is full (EAGAIN). None of these may end a server or replace a result. So
//! nothing else in `src` prints (`tests/tidy.rs` checks it).

use std::fmt::Display;
use std::io::{self, IsTerminal, StdoutLock, Write};

use super::Failure;
use crate::text::{printable, printable_lines};

/// Prints a line on stderr. A line that cannot be written is lost: there is no other place to report it.
///
/// It may contain a peer's text, so control characters are escaped, as in everything that is printed for people.
pub(super) fn tell(line: impl Display) {
    let _ = Errors.write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// Prints whole lines on stderr, as [`tell`] does.
pub(super) fn tell_lines(lines: &str) {
    let _ = Errors.write_all(printable_lines(lines).as_bytes());
}

/// Prints `lines` on stdout for scripts. A failure is reported and not returned: a server also runs without a reader.
pub(super) fn announce(lines: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        tell(format_args!("cannot write to stdout: {error}"));
    }
}

/// Prints a result on stdout. A reader that has closed the pipe is not an error: it has read what it needs.
pub(super) fn show(text: &str) -> Result<(), Failure> {
    let mut results = Results::new();
    let printed = results.write_all(printable_lines(text).as_bytes()).and_then(|()| results.flush());
    printed.map_err(|error| cannot_write(&error))
}

/// The error of a result that cannot be written.
pub(super) fn cannot_write(error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write to stdout: {error}"))
}

/// Whether stderr is a terminal, on which progress can be shown.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether stdout is a terminal, which must not get binary data.
pub(super) fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

/// Stdout for data that must arrive complete: every error is returned, including EPIPE.
pub(super) fn data() -> StdoutLock<'static> {
    io::stdout().lock()
}

/// Stdout for results: output after its reader has closed the pipe is dropped, every other error is returned.
pub(super) struct Results {
    stdout: StdoutLock<'static>,
    has_reader: bool,
}

impl Results {
    pub(super) fn new() -> Self {
        Self { stdout: io::stdout().lock(), has_reader: true }
    }

    /// Whether the reader of stdout is still there.
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

/// Stderr as a writer that never fails: output that cannot be written is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errors;

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match io::stderr().write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            // `write_all` would treat a write of 0 bytes as an error.
            Ok(0) | Err(_) => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Log lines on stderr, each written as one line whatever it contains.
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

/// Stdout for results that people read and that may contain a peer's text.
pub(super) struct Words(Results);

impl Words {
    pub(super) fn new() -> Self {
        Self(Results::new())
    }
}

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Callers write whole strings, never parts of a character.
        self.0.write_all(printable_lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
