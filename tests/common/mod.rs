//! Starting the real program, on free ports, in a folder of its own; and real clients against it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "tests drive real processes in real time")]
#![allow(clippy::must_use_candidate, clippy::missing_panics_doc, reason = "not a library")]

pub mod tls;

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A hang guard, ten times what the slowest step here needs.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The program under test.
pub fn latchkey() -> Command {
    Command::new(env!("CARGO_BIN_EXE_latchkey"))
}

/// Runs servers that may have several loops with as many as `LATCHKEY_TEST_THREADS` says: `tests/run` repeats their tests
/// so.
pub fn threads() -> Vec<String> {
    std::env::var("LATCHKEY_TEST_THREADS").map_or_else(|_| Vec::new(), |count| vec!["--threads".into(), count])
}

/// Where this project's own test clients are.
pub fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A running `latchkey serve`; killed when dropped.
pub struct Server {
    child: Child,
    /// Its working folder, with `certs/` in it.
    pub dir: tempfile::TempDir,
    listening: Vec<String>,
    errors: mpsc::Receiver<String>,
    /// The lines of stderr that have been looked at.
    seen: RefCell<Vec<String>>,
}

impl Server {
    /// Starts the recipe's two servers with development certificates, and `arguments`.
    pub fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self::start_in(dir, &[&["--echo", "127.0.0.1:0", "--xmlrpc", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts `latchkey serve` in `dir` with exactly these arguments.
    pub fn start_in(dir: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut command = latchkey();
        command.arg("serve").args(arguments);
        Self::spawn(command, dir, arguments.iter().filter(|argument| argument.ends_with(":0")).count())
    }

    /// Starts `command`, which prints `listeners` lines when it is ready.
    pub fn spawn(mut command: Command, dir: tempfile::TempDir, listeners: usize) -> Self {
        command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("latchkey starts");
        let errors = lines(child.stderr.take().expect("stderr"));
        let output = lines(child.stdout.take().expect("stdout"));
        let mut listening = Vec::new();
        while listening.len() < listeners {
            let Ok(line) = output.recv_timeout(PATIENCE) else {
                let _ = child.kill();
                let said: Vec<_> = errors.try_iter().collect();
                panic!("latchkey did not start: {}", said.join("\n"));
            };
            listening.push(line);
        }
        Self { child, dir, listening, errors, seen: RefCell::default() }
    }

    /// The lines of stdout.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// Where `protocol` is served, as `host:port`.
    pub fn address(&self, protocol: &str) -> String {
        self.address_at(protocol, "")
    }

    /// Where `protocol` is served under `scheme`, as `host:port`.
    pub fn address_at(&self, protocol: &str, scheme: &str) -> String {
        let prefix = format!("listening {protocol} {scheme}");
        let line = self.listening.iter().find(|line| line.starts_with(&prefix));
        let line = line.unwrap_or_else(|| panic!("no {protocol} among {:?}", self.listening));
        line.split_once("://").expect("scheme").1.to_owned()
    }

    /// Its port.
    pub fn port(&self, protocol: &str) -> u16 {
        self.address(protocol).rsplit_once(':').expect("port").1.parse().expect("a number")
    }

    /// A file in its `certs/`.
    pub fn certificate(&self, name: &str) -> String {
        self.dir.path().join("certs").join(name).display().to_string()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.child.id(), "TERM");
        self.end()
    }

    /// Waits for its end, which somebody else has asked for, and returns the exit code.
    pub fn end(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    /// Waits until stderr has a line that contains `text`, and returns it.
    pub fn logged(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.errors.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.borrow_mut().push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("nothing about '{text}' in the log:\n{}", self.seen.borrow().join("\n"));
    }

    /// What stderr said as far as it was looked at.
    pub fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Everything that stderr said, once the program has ended.
    pub fn log(&self) -> Vec<String> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.errors.iter());
        seen.clone()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("statm");
        statm.split_whitespace().nth(1).expect("resident").parse::<usize>().expect("pages") * 4096
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read on a thread so that its writer never blocks.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A free port, for servers that cannot choose one themselves. It is below those that the system gives to
/// clients and to port 0, so nobody is given it before it is used, and no other test of this process is given it.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9_000).expect("small");
    loop {
        let port = 22_000 + (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 9_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal by number of process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(sent.success(), "no process {pid}");
}

/// Waits for a child, with a hang guard.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("process {} hangs", child.id());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something has happened, with a hang guard.
pub fn until(mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "it never happens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end, with a hang guard.
pub fn run(command: &mut Command) -> Output {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error} (tests/install installs what the tests need)"));
    let output = lines(child.stdout.take().expect("stdout"));
    let errors = lines(child.stderr.take().expect("stderr"));
    let status = wait(&mut child);
    let gather = |lines: mpsc::Receiver<String>| lines.iter().collect::<Vec<_>>().join("\n").into_bytes();
    Output { status, stdout: gather(output), stderr: gather(errors) }
}

/// Runs a command that must succeed and returns its stdout.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail with `code` and returns its stderr.
pub fn fail(command: &mut Command, code: i32) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{errors}");
    errors
}

/// Runs `latchkey certs` in a folder.
pub fn certs(dir: &Path, line: &str) -> String {
    succeed(latchkey().arg("certs").args(line.split_whitespace()).current_dir(dir))
}

/// One of this project's test clients that needs a module from Debian's packages.
pub fn debian_python(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(client(script));
    command
}

/// A Python program of this project, with arguments.
pub fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(client(script));
    command
}
