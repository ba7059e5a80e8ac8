//! What the program does where it cannot print: a full disk, or a reader that has left.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Server, certs, latchkey, run, succeed, wait};

/// What a stream of the program leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// A disk without room: ENOSPC.
    Full,
    /// A pipe whose reader has left: EPIPE.
    Left,
}

impl Sink {
    fn open(self) -> Stdio {
        match self {
            Self::Full => OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into(),
            Self::Left => std::io::pipe().expect("a pipe").1.into(),
        }
    }
}

/// The exit code of `command` with both streams on `sink`.
fn code(command: &mut Command, sink: Sink) -> Option<i32> {
    wait(&mut command.stdin(Stdio::null()).stdout(sink.open()).stderr(sink.open()).spawn().expect("latchkey")).code()
}

/// A folder with a CA, its certificate and an empty data directory.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    dir
}

#[test]
fn servers_start_and_serve_where_nothing_can_be_printed() {
    for sink in [Sink::Full, Sink::Left] {
        let mut command = latchkey();
        command.args(["serve", "--xmlrpc", "127.0.0.1:0", "--echo", "127.0.0.1:0", "--data", "data"]);
        // The lines of stdout are needed; those of stderr are lost.
        let mut server = Started::new(&mut command, sink, 2);
        let echo = server.lines.iter().find(|line| line.contains("echo")).expect("echo").clone();
        let (_, address) = echo.split_once("tls://").expect("an address");
        let mut wrap = latchkey();
        wrap.args(["wrap", "--listen", "127.0.0.1:0", "--to", address, "--originate", "--ca"]);
        wrap.arg(server.dir.path().join("certs/ca.pem"));
        let mut wrapped = Started::new(&mut wrap, sink, 1);
        let xmlrpc = server.lines.iter().find(|line| line.contains("xmlrpc")).expect("xmlrpc").clone();
        let (_, address) = xmlrpc.split_once("tls://").expect("an address");
        let url = format!("https://{}", address.replace("127.0.0.1", "localhost"));
        let call = |arguments: &[&str]| succeed(latchkey().args(["call", &url]).args(arguments).args(server.tls()));
        assert_eq!(call(&["set", "k", "v"]), "null");
        assert_eq!(call(&["get", "k"]), "\"v\"");
        assert_eq!(server.stop(), Some(0), "{sink:?}");
        assert_eq!(wrapped.stop(), Some(0), "{sink:?}");
    }
}

/// A server whose stderr leads to a sink.
struct Started {
    child: std::process::Child,
    dir: tempfile::TempDir,
    lines: Vec<String>,
}

impl Started {
    fn new(command: &mut Command, sink: Sink, lines: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(sink.open())
            .spawn()
            .expect("latchkey");
        let mut output = child.stdout.take().expect("stdout");
        let (mut read, mut byte) = (String::new(), [0]);
        while read.lines().count() < lines || !read.ends_with('\n') {
            assert_eq!(output.read(&mut byte).expect("stdout"), 1, "{command:?} ends: {:?}", child.wait());
            read.push(char::from(byte[0]));
        }
        Self { child, dir, lines: read.lines().map(str::to_owned).collect() }
    }

    fn tls(&self) -> Vec<String> {
        let file = |name: &str| self.dir.path().join("certs").join(name).display().to_string();
        vec!["--ca".into(), file("ca.pem"), "--cert".into(), file("client.pem"), "--key".into(), file("client-key.pem")]
    }

    fn stop(&mut self) -> Option<i32> {
        crate::common::signal(self.child.id(), "TERM");
        wait(&mut self.child).code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_serves_where_its_stdout_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    for sink in [Sink::Full, Sink::Left] {
        let mut command = latchkey();
        command.args(["serve", "--echo", "127.0.0.1:0"]).current_dir(dir.path());
        let mut child =
            command.stdin(Stdio::null()).stdout(sink.open()).stderr(Stdio::piped()).spawn().expect("latchkey");
        let mut errors = child.stderr.take().expect("stderr");
        let (mut read, mut byte) = (String::new(), [0]);
        while !read.contains("echo tls://") {
            assert_eq!(errors.read(&mut byte).expect("stderr"), 1, "it ends: {read}");
            read.push(char::from(byte[0]));
        }
        crate::common::signal(child.id(), "TERM");
        assert_eq!(wait(&mut child).code(), Some(0), "{sink:?}");
    }
}

#[test]
fn no_command_panics_where_nothing_can_be_printed() {
    let dir = folder();
    let mut server = Server::start(&["--resp", "127.0.0.1:0"]);
    let tls = ["--ca", "ca.pem", "--cert", "client.pem", "--key", "client-key.pem"];
    let tls: Vec<_> = tls
        .iter()
        .map(|part| if part.starts_with('-') { (*part).to_owned() } else { server.certificate(part) })
        .collect();
    let url = format!("https://localhost:{}", server.port("xmlrpc"));
    let echo = format!("localhost:{}", server.port("echo"));
    let commands: Vec<(Vec<&str>, bool)> = vec![
        (vec!["--help"], false),
        (vec!["--version"], false),
        (vec!["serve", "--help"], false),
        (vec![], false),
        (vec!["no-such-command"], false),
        (vec!["certs", "check", "certs/localhost.pem", "--ca", "certs/ca.pem"], false),
        (vec!["certs", "show", "certs/localhost.pem"], false),
        (vec!["certs", "client", "alice", "--force"], false),
        (vec!["certs", "revoke"], false),
        (vec!["call", &url, "system.listMethods"], true),
        (vec!["call", &url, "no.such.method"], true),
        (vec!["connect", &echo], true),
        (vec!["load", "echo", &echo, "--connections", "1", "--requests", "10", "--warmup", "0s"], true),
        (vec!["load", "echo", &echo, "--connections", "1", "--requests", "10", "--warmup", "0s", "--json", "-"], true),
        (vec!["dump", "nowhere"], false),
        (vec!["restore", "nowhere", "data"], false),
    ];
    for (arguments, speaks_tls) in commands {
        for sink in [Sink::Full, Sink::Left] {
            let mut command = latchkey();
            command.args(&arguments).current_dir(dir.path());
            if speaks_tls {
                command.args(&tls);
            }
            let code = code(&mut command, sink);
            assert!(matches!(code, Some(0..=4)), "{arguments:?} with {sink:?}: {code:?}");
        }
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_reader_that_leaves_changes_no_verdict() {
    let dir = folder();
    let check = |file: &str| {
        let mut command = latchkey();
        command.args(["certs", "check", file, "--ca", "certs/ca.pem"]).current_dir(dir.path());
        (code(&mut command, Sink::Left), run(&mut command).status.code())
    };
    let (unread, read) = check("certs/localhost.pem");
    assert_eq!((unread, read), (Some(0), Some(0)));
    std::fs::write(dir.path().join("bad.pem"), "nothing").expect("written");
    let (unread, read) = check("bad.pem");
    assert_eq!(unread, read);
}

#[test]
fn a_result_that_is_lost_is_an_error() {
    let dir = folder();
    let full = |arguments: &[&str]| {
        let mut command = latchkey();
        command.args(arguments).current_dir(dir.path()).stdin(Stdio::null());
        let child = command.stdout(Sink::Full.open()).stderr(Stdio::piped()).spawn().expect("latchkey");
        let output = child.wait_with_output().expect("an end");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [&["certs", "show", "certs/ca.pem"][..], &["--help"]] {
        let (code, told) = full(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {told}");
        assert!(told.contains("No space left on device"), "{arguments:?}: {told}");
    }
    assert_data_must_arrive(dir.path());
}

/// A dump that nobody has read to its end is none.
fn assert_data_must_arrive(dir: &Path) {
    let dump = dir.join("dump");
    std::fs::create_dir(dir.join("data")).expect("a folder");
    let mut server = latchkey();
    server.args(["serve", "--resp", "127.0.0.1:0", "--data", "data"]);
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().to_owned();
    let mut server = Server::spawn(server, home, 1);
    assert_eq!(server.stop(), Some(0));
    let mut command = latchkey();
    command.arg("dump").arg(path.join("data"));
    assert_eq!(code(&mut command, Sink::Left), Some(1));
    assert_eq!(code(&mut command, Sink::Full), Some(1));
    let file = std::fs::File::create(&dump).expect("a file");
    let status = wait(&mut command.stdout(file).stderr(Stdio::null()).spawn().expect("latchkey"));
    assert_eq!(status.code(), Some(0));
}
