//! The first five minutes: the program as a stranger starts it, and every command that it and README print, as pasted.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Server, latchkey, run, succeed};

/// The recipe's ports, and one beside Redis's.
const PORTS: [u16; 3] = [20_000, 15_000, 6380];

/// The program with no arguments but `serve`. It needs the ports that README prints, so no other process may have them, an
/// earlier run of this test included.
fn start(dir: tempfile::TempDir) -> Server {
    let taken = || PORTS.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err());
    for _ in 0..50 {
        if taken().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let taken = taken().unwrap_or_default();
    assert_eq!(
        taken, 0,
        "port {taken} is in use: stop what listens there (`latchkey serve`?), for README names this port"
    );
    let mut command = latchkey();
    command.arg("serve");
    Server::spawn(command, dir, PORTS.len())
}

/// Runs a line in a shell, where `latchkey` is this program, and returns the first line that it prints. "hello" is
/// typed, should anybody read it.
fn paste(line: &str, dir: &Path) -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_latchkey"));
    let folders = std::env::var("PATH").expect("PATH");
    let path = format!("{}:{folders}", program.parent().expect("a folder").display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {line}")]).current_dir(dir).env("PATH", path);
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    let mut input = child.stdin.take().expect("stdin");
    // Most programs here never read it, and may be gone.
    let _ = input.write_all(b"hello\n");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut first).expect("text");
    drop(input);
    // `openssl s_client -quiet` waits for the server to hang up.
    if line.starts_with("openssl") {
        child.kill().expect("killed");
        child.wait().expect("gone");
    } else {
        assert!(crate::common::wait(&mut child).success(), "{line}");
    }
    first.trim_end().to_owned()
}

/// The indented lines of a text that are commands.
fn commands(lines: &[String]) -> Vec<String> {
    let indented = lines.iter().filter_map(|line| line.strip_prefix("  "));
    indented.filter(|line| !line.starts_with(['-', ' '])).map(str::to_owned).collect()
}

#[test]
fn every_command_that_is_printed_works_when_pasted_and_a_second_start_finds_everything() {
    let mut server = start(tempfile::tempdir().expect("a folder"));
    let ports: Vec<_> = ["echo", "xmlrpc", "resp"].into_iter().map(|protocol| server.port(protocol)).collect();
    assert_eq!(ports, PORTS);
    server.logged("made development certificates");
    server.logged("clients then add");
    let printed = commands(&server.seen());
    assert_eq!(printed.len(), 6, "{printed:#?}");
    let answers: Vec<_> = printed.iter().map(|line| paste(line, server.dir.path())).collect();
    assert_eq!(answers, ["hello", "hello", "null", "[1,2,3]", "['spam']", "[1,2,3]"], "{printed:#?}");

    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README");
    let block = readme.split("in another terminal:\n\n").nth(1).and_then(|rest| rest.split("```\n").next());
    let lines: Vec<_> = block.expect("commands").lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let expected = [
        ("latchkey call", "null"),
        ("redis-cli", "[1,2,3]"),
        (
            "curl",
            "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data><value><string>spam</string>\
             </value></data></array></value></param></params></methodResponse>",
        ),
        ("python3", "[1, 2, 3]"),
        ("latchkey load", ""),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (beginning, answer)) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning), "{line}");
        if answer.is_empty() {
            // The machine may be busy with other tests, and then this client is the bottleneck: not what is tested here.
            paste(&format!("{line} --duration 1s --warmup 100ms --allow client-bound"), server.dir.path());
            assert!(server.dir.path().join("load.html").exists());
        } else {
            assert_eq!(paste(line, server.dir.path()), answer, "{line}");
        }
    }

    let made = contents(&server.dir.path().join("certs"));
    assert_eq!(server.stop(), Some(0));
    let dir = std::mem::replace(&mut server.dir, tempfile::tempdir().expect("a folder"));
    let mut server = start(dir);
    server.logged("found development certificates");
    assert_eq!(contents(&server.dir.path().join("certs")), made);
    assert_eq!(paste("latchkey call https://127.0.0.1:15000 keys --ca certs/ca.pem", server.dir.path()), "[]");
    assert_eq!(server.stop(), Some(0));
}

/// The files of a folder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

#[test]
fn demanding_client_certificates_works_as_printed() {
    let mut server = Server::start(&["--resp", "127.0.0.1:0"]);
    let flags = server
        .logged("clients then add")
        .split("start with ")
        .nth(1)
        .expect("flags")
        .split(';')
        .next()
        .map(str::to_owned);
    let flags = flags.expect("flags");
    let identity = server.logged("--cert certs/client.pem").trim().to_owned();
    let [call, ..] = &commands(&server.seen())[2..] else { panic!("no command for XML-RPC") };
    let (call, port) = (call.clone(), server.port("xmlrpc").to_string());
    assert_eq!(server.stop(), Some(0));
    let dir = std::mem::replace(&mut server.dir, tempfile::tempdir().expect("a folder"));

    let arguments = ["--echo", "127.0.0.1:0", "--xmlrpc", "127.0.0.1:0", "--resp", "127.0.0.1:0"];
    let demanding = [&arguments[..], &flags.split(' ').collect::<Vec<_>>()].concat();
    let mut guarded = Server::start_in(dir, &demanding);
    let call = call.replace(&port, &guarded.port("xmlrpc").to_string());
    let refused = run(Command::new("sh").args(["-c", &call]).current_dir(guarded.dir.path()));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("pass yours with --cert FILE --key FILE"), "{call}: {told}");
    assert_eq!(paste(&format!("{call} {identity}"), guarded.dir.path()), "null");

    guarded.logged("redis-cli");
    let printed = commands(&guarded.seen());
    let answers: Vec<_> = printed.iter().map(|line| paste(line, guarded.dir.path())).collect();
    assert_eq!(answers, ["hello", "hello", "null", "[1,2,3]", "['spam']", "[1,2,3]"], "{printed:#?}");
    assert_eq!(guarded.stop(), Some(0));
    let log = guarded.log();
    assert!(!log.iter().any(|line| line.contains("To require client certificates")), "they are: {log:#?}");

    // With rules, only what they grant to the development client is printed.
    for (rules, expected) in [
        ("[[rule]]\ncn = 'client'\ngrant = ['read']\n", &["hello", "hello", "null", "[]", ""][..]),
        ("[[rule]]\ncn = 'alice'\ngrant = ['read']\n", &[]),
    ] {
        let dir = std::mem::replace(&mut guarded.dir, tempfile::tempdir().expect("a folder"));
        fs::write(dir.path().join("rules.toml"), rules).expect("rules");
        guarded = Server::start_in(dir, &[&demanding[..], &["--authorize", "rules.toml"]].concat());
        guarded.logged(if expected.is_empty() { "is rejected everywhere" } else { "redis-cli" });
        let printed = commands(&guarded.seen());
        assert_eq!(printed.len(), expected.len(), "{printed:#?}");
        for (line, answer) in printed.iter().zip(expected).filter(|(line, _)| !line.contains(" get spam --ca")) {
            assert_eq!(paste(line, guarded.dir.path()), *answer, "{line}");
        }
        assert_eq!(guarded.stop(), Some(0));
    }
}

#[test]
fn no_key_is_readable_by_others_for_an_instant_and_none_can_be_committed() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("certs");
    let over = AtomicBool::new(false);
    let (server, watched) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut watched = BTreeMap::new();
            loop {
                let is_last = over.load(Ordering::Relaxed);
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if let Ok(metadata) = entry.metadata()
                        && name.contains("-key")
                    {
                        *watched.entry(name).or_insert(0) |= metadata.permissions().mode() & 0o077;
                    }
                }
                if is_last {
                    return watched;
                }
            }
        });
        let mut command = Command::new("sh");
        // Nothing is forbidden by the surroundings: what protects the keys is what the program does.
        command.args(["-c", "umask 000; exec \"$0\" serve --echo 127.0.0.1:0", env!("CARGO_BIN_EXE_latchkey")]);
        let server = Server::spawn(command, dir, 1);
        over.store(true, Ordering::Relaxed);
        (server, watch.join().expect("no panic"))
    });
    assert!(watched.len() > 2, "the files were not seen while they were made: {watched:?}");
    assert!(watched.values().all(|others| *others == 0), "{watched:?}");

    let repository = server.dir.path();
    let mode = |name: &str| fs::metadata(repository.join(name)).expect(name).permissions().mode() & 0o777;
    assert_eq!((mode("certs"), mode("certs/.lock")), (0o700, 0o600), "a process that may open a file may lock it");
    let git = |arguments: &str| succeed(Command::new("git").args(arguments.split(' ')).current_dir(repository));
    git("init -q");
    git("add -A");
    assert_eq!(git("ls-files"), "", "the folder that was made says that nothing in it is to be kept");
    // Nor where the folder is a part of the repository, as in this one.
    let kept = [".gitignore", "README.md"];
    for name in kept {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name);
        fs::copy(ours, repository.join("certs").join(name)).expect("copied");
    }
    git("add -A");
    assert_eq!(git("ls-files certs").lines().collect::<Vec<_>>(), ["certs/.gitignore", "certs/README.md"]);
}

#[test]
fn a_lock_on_the_certificates_that_another_process_holds_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    crate::common::certs(dir.path(), "init");
    let path = dir.path().join("certs/.lock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("as an older version made it");
    let held = fs::File::open(&path).expect("a file");
    held.lock().expect("free");
    let mut command = latchkey();
    command.args(["certs", "client", "alice"]).current_dir(dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("latchkey starts");
    let mut said = String::new();
    BufReader::new(child.stderr.take().expect("stderr")).read_line(&mut said).expect("text");
    assert!(said.contains("waiting for the process that has locked") && said.contains(".lock"), "{said}");
    drop(held);
    assert!(crate::common::wait(&mut child).success());
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
}
