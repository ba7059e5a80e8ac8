//! The documents' commands and programs, run in order as a reader runs them: what a document shows is what is printed.
//!
//! A document is run in an empty folder of its own. A block of code whose first line names a file, as in
//! `python client.py` or `toml rules.toml`, is written to that file. In a block of `console`, each line that begins with
//! `$ ` is a command, and what stands below it is all that it prints; `...` stands for any text, alone on a line for any
//! lines. A server runs until the next heading of second level; it is ready when it has printed what is shown. Ports are
//! exchanged for free ones.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{free_port, run, signal, until, wait};

/// Commands that go on until they are stopped.
const SERVERS: [&str; 4] = ["latchkey serve", "latchkey wrap", "redis-server", "python3 keys_server.py"];

/// What `latchkey serve` listens on with no listener named.
const DEFAULT_LISTENERS: &str = " --echo 127.0.0.1:20000 --xmlrpc 127.0.0.1:15000 --resp 127.0.0.1:6380";

#[test]
fn the_front_page_prints_what_it_shows() {
    Reader::new("README.md").read();
    let wrapping = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wrap.md")).expect("a document");
    let front = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a document");
    for command in front.lines().filter_map(|line| line.strip_prefix("    ")) {
        assert!(wrapping.contains(&format!("$ {command}\n")), "docs/wrap.md, which is run, lacks: {command}");
    }
}

#[test]
fn the_page_on_serving_prints_what_it_shows() {
    Reader::new("docs/serving.md").read();
}

#[test]
fn the_page_on_certificates_prints_what_it_shows() {
    Reader::new("docs/certificates.md").read();
}

#[test]
fn the_page_on_wrapping_prints_what_it_shows() {
    Reader::new("docs/wrap.md").read();
}

#[test]
fn the_page_on_watching_prints_what_it_shows() {
    Reader::new("docs/admin.md").read();
}

#[test]
fn the_page_on_python_prints_what_it_shows() {
    Reader::new("docs/python.md").read();
}

/// Somebody who reads a document, and does what it says.
struct Reader {
    dir: tempfile::TempDir,
    document: String,
    /// Each port that the document names, and a free one.
    ports: Vec<(String, String)>,
    running: Vec<Child>,
}

impl Reader {
    fn new(document: &str) -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect("a document");
        let ports = free_ports(&text);
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            document: exchange(&text, &ports),
            ports,
            running: Vec::new(),
        }
    }

    fn read(mut self) {
        let document = std::mem::take(&mut self.document);
        let (mut lines, mut commands) = (document.lines(), 0);
        while let Some(line) = lines.next() {
            if line.starts_with("## ") {
                self.stop_servers();
            }
            let Some(kind) = line.strip_prefix("```") else { continue };
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            if let Some((_, name)) = kind.split_once(' ') {
                fs::write(self.dir.path().join(name), block.join("\n") + "\n").expect("written");
            } else {
                assert_eq!(kind, "console", "a block that neither names a file nor is a console is not tested");
                commands += self.console(&block);
            }
        }
        assert!(commands > 0, "no command was found");
        self.stop_servers();
    }

    /// Runs the commands of a block, and returns how many there were.
    fn console(&mut self, block: &[&str]) -> usize {
        assert!(block.first().is_some_and(|line| line.starts_with("$ ")), "{block:#?}");
        let mut count = 0;
        for step in block.chunk_by(|_, next| !next.starts_with("$ ")) {
            let of_command = 1 + step.iter().take_while(|line| line.ends_with('\\')).count();
            let (command, shown) = step.split_at(of_command);
            let command = command.join("\n").split_off(2);
            // The build is this test's own, and a busy machine makes the load harness its own bottleneck.
            let command = command.replace("cargo run --release --", "latchkey");
            let is_load = command.starts_with("latchkey load") && !command.contains("--duration");
            let command = command + if is_load { " --duration 1s --warmup 100ms --allow client-bound" } else { "" };
            let is_refused = shown.iter().any(|line| line.starts_with("latchkey: "));
            if SERVERS.iter().any(|server| command.starts_with(server)) && !is_refused {
                self.start(&command, shown);
            } else {
                let output = run(&mut self.shell(&command));
                let printed = String::from_utf8_lossy(&output.stdout).into_owned();
                let printed: Vec<_> = printed.lines().collect();
                assert!(matches(shown, &printed), "$ {command}\nshown: {shown:#?}\nprinted: {printed:#?}");
                assert!(output.status.success() || !shown.is_empty(), "{command} fails without a word");
            }
            count += 1;
        }
        count
    }

    /// Starts a server, and waits until it has printed every line that is shown, in any order.
    fn start(&mut self, command: &str, shown: &[&str]) {
        assert!(!shown.is_empty(), "{command}: show what it prints when it is ready");
        let names_none = !["--echo", "--xmlrpc", "--resp", "--admin"].iter().any(|flag| command.contains(flag));
        let listeners = if command.starts_with("latchkey serve") && names_none { DEFAULT_LISTENERS } else { "" };
        let command = command.to_owned() + &exchange(listeners, &self.ports);
        let log = self.dir.path().join(format!("server{}.log", self.running.len()));
        let mut shell = self.shell(&format!("exec {command}"));
        let mut child =
            shell.stdout(File::create(&log).expect("a file")).stdin(Stdio::null()).spawn().expect("a shell");
        let mut looks = 0;
        until(|| {
            let printed = fs::read_to_string(&log).expect("text");
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "{command} has ended:\n{printed}");
            let missing =
                shown.iter().find(|line| **line != "..." && !printed.lines().any(|shown| is_like(line, shown)));
            looks += 1;
            assert!(missing.is_none() || looks < 4_000, "{command} does not print {missing:?}:\n{printed}");
            missing.is_none()
        });
        self.running.push(child);
    }

    /// A shell that runs `command` where the reader is, both of its outputs in one.
    fn shell(&self, command: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_latchkey")).parent().expect("a folder");
        let folders = std::env::var("PATH").expect("PATH");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(self.dir.path());
        shell.env("PATH", format!("{}:{folders}", program.display()));
        shell
    }

    fn stop_servers(&mut self) {
        for mut child in self.running.drain(..) {
            signal(child.id(), "TERM");
            wait(&mut child);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The ports behind addresses of this machine in `text`, and those that are served by default, each with a free one.
fn free_ports(text: &str) -> Vec<(String, String)> {
    let mut named: Vec<String> = Vec::new();
    let text = text.to_owned() + DEFAULT_LISTENERS;
    for host in ["127.0.0.1:", "0.0.0.0:", "localhost:"] {
        for (at, _) in text.match_indices(host) {
            let digits: String = text[at + host.len()..].chars().take_while(char::is_ascii_digit).collect();
            if digits.len() >= 4 && !named.contains(&digits) {
                named.push(digits);
            }
        }
    }
    named.into_iter().map(|port| (port, free_port().to_string())).collect()
}

/// `text` with each of the ports exchanged for its free one.
fn exchange(text: &str, ports: &[(String, String)]) -> String {
    let pieces = text.split_inclusive(|c: char| !c.is_ascii_digit());
    let exchanged = pieces.map(|piece| {
        let (number, rest) = piece.split_at(piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len()));
        let free = ports.iter().find(|(port, _)| port == number).map_or(number, |(_, free)| free);
        free.to_owned() + rest
    });
    exchanged.collect()
}

/// Whether the lines are those that are shown.
fn matches(shown: &[&str], printed: &[&str]) -> bool {
    match (shown, printed) {
        ([], _) => printed.is_empty(),
        ([first, rest @ ..], _) if first.trim() == "..." => {
            (0..=printed.len()).any(|at| matches(rest, printed.split_at(at).1))
        }
        ([first, rest @ ..], [line, others @ ..]) => is_like(first, line) && matches(rest, others),
        ([..], []) => false,
    }
}

/// Whether a line is the one that is shown, with any text for `...`.
fn is_like(shown: &str, printed: &str) -> bool {
    let mut pieces = shown.split("...");
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}
