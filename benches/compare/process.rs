//! Processes on their core, and the kernel's accounting of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The core that every server runs on.
pub(crate) const SERVER_CORE: &str = "0";

/// The core that every client runs on.
pub(crate) const CLIENT_CORE: &str = "1";

/// A server's process with its children; killed when dropped.
pub(crate) struct Process {
    child: Child,
    command: String,
}

impl Process {
    /// Starts `command` on the servers' core, without output except the stdout that `piped` asks for.
    pub(crate) fn start(command: &Command, piped: bool) -> Result<Self, String> {
        Self::spawn(&mut pinned(SERVER_CORE, command), describe(command), piped)
    }

    /// Starts `command` as it is.
    pub(crate) fn spawn(command: &mut Command, name: String, piped: bool) -> Result<Self, String> {
        let stdout = if piped { Stdio::piped() } else { Stdio::null() };
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(|error| format!("{name}: {error}"))?, command: name })
    }

    /// The command line.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// The port of each `listening NAME URL` line that a server prints, `count` of them.
    pub(crate) fn listening(&mut self, count: usize) -> Result<Vec<(String, u16)>, String> {
        let stdout = self.child.stdout.take().ok_or("stdout is not piped")?;
        let lines = BufReader::new(stdout).lines().map_while(Result::ok).take(count);
        let parse = |line: String| {
            let mut words = line.split(' ').skip(1);
            let name = words.next()?.to_owned();
            let port = words.next()?.rsplit(':').next()?.parse().ok()?;
            Some((name, port))
        };
        let ports: Vec<_> = lines.filter_map(parse).collect();
        if ports.len() == count { Ok(ports) } else { Err(format!("{} did not start", self.command)) }
    }

    /// Waits until `port` accepts connections.
    pub(crate) fn wait_for(&mut self, port: u16) -> Result<(), String> {
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended: {status}", self.command));
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("{} does not listen on port {port}", self.command))
    }

    /// User and system time of it and its children so far, in seconds.
    ///
    /// From proc(5), stat: the kernel scales the two so that their sum is exact to one tick; threads that have ended
    /// are included.
    pub(crate) fn cpu(&self) -> f64 {
        self.tree().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of it and its children, in KiB.
    pub(crate) fn resident(&self) -> f64 {
        self.tree().into_iter().map(resident_of).sum()
    }

    /// The working process: its child, if it has one.
    pub(crate) fn worker(&self) -> u32 {
        self.tree().last().copied().unwrap_or(self.child.id())
    }

    fn tree(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// Interrupts it, so that it reports its results so far.
    pub(crate) fn interrupt(&mut self) -> Result<(), String> {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()])).map(drop)
    }

    /// Waits until it ends.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Servers with children terminate them at SIGTERM, not at SIGKILL.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_of(pid: u32) -> f64 {
    cpu_in(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default(), 11)
}

/// User and system time, in seconds, of this process's children that have ended and were waited for.
pub(crate) fn cpu_of_the_ended() -> f64 {
    cpu_in(&fs::read_to_string("/proc/self/stat").unwrap_or_default(), 13)
}

/// The sum of two adjacent fields of proc(5), stat, in seconds; fields are counted after the name.
fn cpu_in(stat: &str, field: usize) -> f64 {
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split(' ').skip(field).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    // USER_HZ is 100 on every architecture that Linux runs on today.
    ticks / 100.0
}

fn resident_of(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

/// The same command, pinned to one core.
pub(crate) fn pinned(core: &str, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", core]).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        pinned.current_dir(dir);
    }
    pinned
}

/// A command as a shell line.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end; returns its output, or the error.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = describe(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout) + &text(&output.stderr));
    }
    Err(format!("{name}: {}; {}", output.status, text(&output.stderr).trim()))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| error.to_string())
}

/// Writes a configuration.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
