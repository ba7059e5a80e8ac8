//! Certificates, trust and rules change while clients are connected.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{Server, certs, latchkey, python, signal, succeed};
use latchkey::internals::tls::PemSource;
use latchkey::internals::tls::authority::{Authority, KeyKind, Role, Subject};

/// A folder with a CA, a server's certificate in `live/`, two clients' and a revocation list on which nobody is yet.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for line in ["init", "server localhost --san IP:127.0.0.1", "server renewed --san DNS:localhost", "client alice"] {
        certs(dir.path(), line);
    }
    certs(dir.path(), "client bob");
    certs(dir.path(), "revoke");
    for name in ["localhost", "renewed"] {
        let version = dir.path().join(name);
        fs::create_dir(&version).expect("a folder");
        for (file, from) in [("cert.pem", format!("certs/{name}.pem")), ("key.pem", format!("certs/{name}-key.pem"))] {
            fs::copy(dir.path().join(from), version.join(file)).expect("copied");
        }
    }
    symlink("localhost", dir.path().join("live")).expect("a link");
    fs::write(dir.path().join("rules.toml"), BOTH).expect("rules");
    dir
}

const BOTH: &str = "[[rule]]\ncn = 'alice'\ngrant = ['read', 'write']\n[[rule]]\ncn = 'bob'\ngrant = ['read']\n";

fn start(dir: tempfile::TempDir) -> Server {
    let line = "--echo 127.0.0.1:0 --resp 127.0.0.1:0 --cert live/cert.pem --key live/key.pem \
                --client-ca certs/ca.pem --crl certs/crl.pem --authorize rules.toml";
    Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>())
}

/// A client that does one thing at a time.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn spawn(server: &Server, mut command: Command) -> Self {
        command.current_dir(server.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python");
        let (input, output) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        Self { child, input, output: BufReader::new(output) }
    }

    /// Connects to the echo server and says a word; then does `actions`.
    fn echo(server: &Server, identity: &str, version: &str, actions: &[&str]) -> Self {
        let mut command = python("session.py");
        command.args([&server.port("echo").to_string(), identity, version]).args(actions);
        let mut client = Self::spawn(server, command);
        assert_eq!(client.line(), "full");
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        line.trim().to_owned()
    }

    fn go_on(&mut self) -> String {
        self.input.write_all(b"\n").expect("it listens");
        self.line()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The common name that a new client of the echo server sees.
fn shown(server: &Server) -> String {
    let mut probe = python("probe.py");
    probe.arg(server.port("echo").to_string()).args(["--identity", "alice"]).current_dir(server.dir.path());
    succeed(&mut probe).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Writes a file so that nobody sees a part of it.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, content).expect("written");
    fs::rename(temporary, path).expect("renamed");
}

#[test]
fn a_revoked_client_loses_its_connection_and_cannot_resume() {
    for version in ["1.2", "1.3"] {
        let server = start(folder());
        let mut alice = Client::echo(&server, "alice", version, &["resume", "resume", "fresh", "end"]);
        let mut bob = Client::echo(&server, "bob", version, &["say"]);
        assert_eq!(alice.go_on(), "resumed");
        certs(server.dir.path(), "revoke certs/alice.pem");
        signal(server.pid(), "HUP");
        server.logged("reason=\"revoked\"");
        assert_eq!(alice.go_on(), "refused: SSLV3_ALERT_CERTIFICATE_REVOKED", "an old ticket is worth nothing");
        assert_eq!(alice.go_on(), "refused: SSLV3_ALERT_CERTIFICATE_REVOKED");
        assert_eq!(alice.go_on(), "closed", "its stream ends, and holds nothing that it has not sent");
        assert_eq!(bob.go_on(), "full", "the others are not touched");
    }
}

#[test]
fn a_reload_at_sighup_or_by_a_swapped_link_shows_another_certificate_and_keeps_connections() {
    let server = start(folder());
    let mut alice = Client::echo(&server, "alice", "1.3", &["say", "resume", "say"]);
    assert_eq!(shown(&server), "localhost");
    // Kubernetes swaps a link in the path, and nothing in the folder that it leads to ever changes.
    let link = server.dir.path().join("next");
    symlink("renewed", &link).expect("a link");
    fs::rename(link, server.dir.path().join("live")).expect("swapped");
    let reloaded = server.logged("reloaded: serving certificate sha256 ");
    let described = certs(server.dir.path(), "show certs/renewed.pem").replace(':', "").to_lowercase();
    let fingerprint = reloaded.split("sha256 ").nth(1).and_then(|rest| rest.split(',').next()).expect("a fingerprint");
    assert!(described.contains(&fingerprint.replace(':', "").to_lowercase()), "{fingerprint} in {described}");
    assert!(reloaded.contains(", expires 20"), "{reloaded}");
    assert_eq!(shown(&server), "renewed");
    assert_eq!(alice.go_on(), "full", "the connection goes on");
    assert_eq!(alice.go_on(), "full", "its ticket does not: a client that returns is asked again");

    signal(server.pid(), "HUP");
    server.logged("reloaded: serving certificate sha256 ");
    assert_eq!(alice.go_on(), "full");
}

#[test]
fn a_half_written_reload_changes_nothing() {
    let server = start(folder());
    let mut alice = Client::echo(&server, "alice", "1.3", &["say"]);
    let at = |name: &str| server.dir.path().join(name);
    replace(&at("localhost/cert.pem"), fs::read(at("renewed/cert.pem")).expect("read"));
    let line = server.logged("reload failed, the configuration in force stays");
    assert!(line.contains("live/key.pem does not belong to the certificate in live/cert.pem"), "{line}");
    assert_eq!(shown(&server), "localhost");
    // A rule that grants nothing spoils the certificate, which is good by now.
    replace(&at("rules.toml"), "[[rule]]\ncn = 'alice'\ngrant = ['reed']\n");
    server.logged("reload failed");
    replace(&at("localhost/key.pem"), fs::read(at("renewed/key.pem")).expect("read"));
    server.logged("chmod 600");
    fs::set_permissions(at("localhost/key.pem"), fs::Permissions::from_mode(0o600)).expect("changed");
    server.logged("unknown grant \"reed\"");
    assert_eq!(shown(&server), "localhost");
    assert_eq!(alice.go_on(), "full");
    replace(&at("rules.toml"), BOTH);
    server.logged("reloaded: serving certificate");
    assert_eq!(shown(&server), "renewed");
}

/// A revocation list is signed so that anybody may carry it, and of a file with several a part may be in order.
#[test]
fn a_list_that_is_replayed_or_lost_at_a_reload_lets_in_nobody_who_was_revoked() {
    let dir = folder();
    let list = dir.path().join("certs/crl.pem");
    let before = fs::read(&list).expect("read");
    for line in ["revoke certs/alice.pem", "init --dir other --name other", "revoke --dir other"] {
        certs(dir.path(), line);
    }
    let other = fs::read(dir.path().join("other/crl.pem")).expect("read");
    let current = fs::read(&list).expect("read");
    replace(&list, [&other[..], &before].concat());
    let line = "--echo 127.0.0.1:0 --cert live/cert.pem --key live/key.pem --client-ca certs/ca.pem --client-ca other/ca.pem \
                --crl certs/crl.pem";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    let mut alice = Client::echo(&server, "alice", "1.3", &["fresh"; 4]);
    let mut bob = Client::echo(&server, "bob", "1.3", &["fresh"; 4]);
    let revoked = "refused: SSLV3_ALERT_CERTIFICATE_REVOKED";
    let both = [&other[..], &current].concat();
    replace(&list, &both);
    server.logged("reason=\"revoked\"");
    assert_eq!((alice.go_on().as_str(), bob.go_on().as_str()), (revoked, "full"));
    for content in [other.clone(), [&other[..], &before].concat()] {
        replace(&list, content);
        let told = server.logged("as new as the one in force");
        assert!(told.contains("WARN") && told.contains("authority="), "{told}");
        assert_eq!((alice.go_on().as_str(), bob.go_on().as_str()), (revoked, "full"));
    }
    replace(&list, both);
    server.logged("reloaded: serving certificate");
    assert_eq!((alice.go_on().as_str(), bob.go_on().as_str()), (revoked, "full"));
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_stop_reloading() {
    let server = start(folder());
    let list = server.dir.path().join("certs/crl.pem");
    let content = fs::read(&list).expect("read");
    fs::remove_file(&list).expect("removed");
    succeed(Command::new("mkfifo").arg(&list));
    signal(server.pid(), "HUP");
    let line = server.logged("reload failed, the configuration in force stays");
    assert!(line.contains("crl.pem is not a regular file"), "{line}");
    replace(&list, content);
    server.logged("reloaded: serving certificate");
    let mut alice = Client::echo(&server, "alice", "1.3", &["fresh"]);
    certs(server.dir.path(), "revoke certs/alice.pem");
    signal(server.pid(), "HUP");
    server.logged("reason=\"revoked\"");
    assert_eq!(alice.go_on(), "refused: SSLV3_ALERT_CERTIFICATE_REVOKED");
}

#[test]
fn rules_reach_clients_that_are_connected() {
    let server = start(folder());
    let port = server.port("resp").to_string();
    let connect = |identity: &str, commands: &[&str]| {
        let mut command = python("ask_resp.py");
        command.args([&port, identity]).args(commands);
        Client::spawn(&server, command)
    };
    let mut alice = connect("alice", &["SET a:1 one", "MULTI", "SET b:1 two", "-", "EXEC", "GET a:1"]);
    let mut bob = connect("bob", &["GET a:1", "-", "GET a:1"]);
    assert_eq!([alice.line(), alice.line(), alice.line()], ["OK", "OK", "QUEUED"]);
    bob.line();
    replace(
        &server.dir.path().join("rules.toml"),
        "[[rule]]\ncn = 'alice'\ngrant = ['read', 'write']\nprefix = 'a:'\n",
    );
    server.logged("reloaded: ");
    server.logged("no rule matches bob");
    assert_eq!(bob.go_on(), "-NOPERM this certificate's access has been withdrawn");
    assert_eq!(alice.go_on(), "[-NOPERM No permissions to access a key]", "asked again at EXEC");
    assert_eq!(alice.line(), "one");
}

#[test]
fn an_expired_revocation_list_shuts_its_ca_out_and_is_said() {
    const DAYS: u64 = 30;
    let dir = folder();
    let source = |name: &str| PemSource {
        name: name.to_owned(),
        bytes: fs::read(dir.path().join("certs").join(name)).expect("read"),
    };
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the same clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let authority = Authority::load(&source("ca.pem"), &source("ca-key.pem"), now).expect("the CA");
    // It has a quarter of a minute left, which the slowest start does not need.
    let list = authority.revocation_list(&[], DAYS, now + 15 - DAYS * 24 * 60 * 60).expect("a list");
    fs::write(dir.path().join("certs/crl.pem"), list).expect("written");
    let server = start(dir);
    let mut alice = Client::echo(&server, "alice", "1.3", &["say", "resume", "fresh"]);
    server.logged("revocation list expired");
    assert_eq!(alice.go_on(), "full", "an open connection stays open");
    for _ in ["resuming", "afresh"] {
        assert!(alice.go_on().starts_with("refused: "), "nobody comes in");
    }
    certs(server.dir.path(), "revoke");
    server.logged("reloaded: ");
    assert_eq!(shown(&server), "localhost");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test reads the same clock")]
fn an_outdated_list_at_a_reload_shuts_out_its_own_ca_and_keeps_nothing_else_back() {
    const DAY: u64 = 24 * 60 * 60;
    let dir = folder();
    for line in
        ["init --dir other --name other", "client carol --dir other", "client dave --dir other", "revoke --dir other"]
    {
        certs(dir.path(), line);
    }
    for name in ["carol", "dave"] {
        for file in [format!("{name}.pem"), format!("{name}-key.pem")] {
            fs::copy(dir.path().join("other").join(&file), dir.path().join("certs").join(&file)).expect("copied");
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let source = |name: &str| PemSource {
        name: name.to_owned(),
        bytes: fs::read(dir.path().join("certs").join(name)).expect("read"),
    };
    let authority = Authority::load(&source("ca.pem"), &source("ca-key.pem"), now).expect("the CA");
    // Issued before the one that goes out of date: a list never gives place to an older one.
    let earlier = authority.revocation_list(&[], 30, now - 3 * DAY).expect("a list");
    replace(&dir.path().join("certs/crl.pem"), earlier);
    let outdated = authority.revocation_list(&[], 1, now - 2 * DAY).expect("a list");
    let line = "--echo 127.0.0.1:0 --cert live/cert.pem --key live/key.pem --client-ca certs/ca.pem --crl certs/crl.pem \
                --client-ca other/ca.pem --crl other/crl.pem";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    let mut alice = Client::echo(&server, "alice", "1.3", &["fresh"]);
    let mut carol = Client::echo(&server, "carol", "1.3", &["fresh"]);
    let mut dave = Client::echo(&server, "dave", "1.3", &["fresh"]);
    replace(&server.dir.path().join("certs/crl.pem"), outdated);
    certs(server.dir.path(), "revoke other/carol.pem --dir other");
    signal(server.pid(), "HUP");
    server.logged("reloaded: serving certificate");
    let said = server.logged("revocation list expired");
    assert!(said.contains("all clients of this CA are rejected"), "{said}");
    assert_eq!(carol.go_on(), "refused: SSLV3_ALERT_CERTIFICATE_REVOKED", "the other CA's new list is obeyed");
    assert_eq!(dave.go_on(), "full");
    assert!(alice.go_on().starts_with("refused: "), "her CA's list is out of date");
}

#[test]
fn how_a_server_is_spoken_to_is_renewed_for_the_connections_to_come() {
    let server = start(folder());
    let dir = tempfile::tempdir().expect("a folder");
    let (wrong, right) = (dir.path().join("other/ca.pem"), server.certificate("ca.pem"));
    certs(dir.path(), "init --dir other");
    let ca = dir.path().join("server-ca.pem");
    fs::copy(wrong, &ca).expect("copied");
    let (to, ca_flag) = (server.address("echo"), ca.display().to_string());
    let (cert, key) = (server.certificate("alice.pem"), server.certificate("alice-key.pem"));
    let mut command = latchkey();
    command.args(["wrap", "--originate", "--listen", "127.0.0.1:0", "--to", &to, "--ca", &ca_flag]);
    command.args(["--cert", &cert, "--key", &key]);
    let wrapped = Server::spawn(command, tempfile::tempdir().expect("a folder"), 1);
    let echoes = || {
        let mut client = TcpStream::connect(wrapped.address_at("wrap", "plain")).expect("connect");
        let _ = client.write_all(b"word");
        let _ = client.shutdown(Shutdown::Write);
        let mut echo = String::new();
        client.read_to_string(&mut echo).is_ok() && echo == "word"
    };
    assert!(!echoes(), "its CA is not known");
    replace(&ca, fs::read(right).expect("the CA"));
    wrapped.logged("reloaded: TLS configuration for the backend");
    assert!(echoes());
    replace(&ca, "no CA");
    wrapped.logged("reload failed, the configuration in force stays");
    assert!(echoes());
}

#[test]
fn a_certificate_that_clients_will_refuse_is_told_of() {
    let dir = folder();
    let source = |file: &str| PemSource {
        name: file.to_owned(),
        bytes: fs::read(dir.path().join("certs").join(file)).expect("made by init"),
    };
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the same clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let authority = Authority::load(&source("ca.pem"), &source("ca-key.pem"), now).expect("the CA");
    let subject = Subject::named("localhost", &[]).expect("a name");
    let long_ago = now - 20 * 365 * 24 * 60 * 60;
    let issued = authority.issue(Role::Server, &subject, KeyKind::EcdsaP256, long_ago).expect("a certificate");
    replace(&dir.path().join("localhost/cert.pem"), issued.certificate);
    replace(&dir.path().join("localhost/key.pem"), issued.key);
    fs::set_permissions(dir.path().join("localhost/key.pem"), fs::Permissions::from_mode(0o600)).expect("changed");
    let server = start(dir);
    server.logged("clients will reject this server's certificate: CN=localhost expired on ");
}
