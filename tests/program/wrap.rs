//! `latchkey wrap` in front of real servers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{PATIENCE, Server, fail, free_port, latchkey, python, run, succeed, threads};

/// `latchkey wrap` in front of `to`, with development certificates unless `arguments` say otherwise.
fn wrap(to: &str, arguments: &[&str]) -> Server {
    let mut command = latchkey();
    command.args(["wrap", "--listen", "127.0.0.1:0", "--to", to]).args(arguments).args(threads());
    Server::spawn(command, tempfile::tempdir().expect("a folder"), 1)
}

/// A Python server of this project, which prints its port.
fn upstream(script: &str, arguments: &[&str]) -> (Server, String) {
    let mut command = python(script);
    command.args(arguments);
    let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 1);
    let port = server.listening().first().expect("a port").clone();
    (server, port)
}

/// Serves one connection on a free port.
fn once<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let serving = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("accept");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        serve(socket)
    });
    (address, serving)
}

/// Runs `latchkey connect` on these bytes of stdin.
fn connect(server: &Server, input: &[u8]) -> Vec<u8> {
    let mut command = latchkey();
    command.args(["connect", &server.address("wrap"), "--ca", &server.certificate("ca.pem")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start");
    child.stdin.take().expect("stdin").write_all(input).expect("write");
    child.wait_with_output().expect("wait").stdout
}

#[test]
fn one_silent_client_stops_the_recipes_own_tls_server_but_not_a_wrapped_one() {
    let (plain, to) = upstream("upstream_xmlrpc.py", &[]);
    let wrapped = wrap(&format!("127.0.0.1:{to}"), &[]);
    let ca = wrapped.certificate("ca.pem");
    let _silent = TcpStream::connect(wrapped.address("wrap")).expect("connect");
    let printed = succeed(python("recipe_xmlrpc.py").args([&wrapped.port("wrap").to_string(), &ca]));
    assert!(printed.starts_with("None\nNone\n['foo', 'spam']\nbar\n"), "{printed}");

    let identity = [wrapped.certificate("server.pem"), wrapped.certificate("server-key.pem")];
    let (_recipe, port) = upstream("upstream_xmlrpc.py", &[&identity[0], &identity[1]]);
    let silent = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connect");
    let mut client = python("recipe_xmlrpc.py").args([&port, &ca]).stdout(Stdio::null()).spawn().expect("start");
    thread::sleep(Duration::from_secs(2));
    assert!(client.try_wait().expect("wait").is_none(), "it was served although another client says nothing");
    drop(silent);
    assert!(crate::common::wait(&mut client).success(), "it is served as soon as the silent client has gone");
    drop(plain);
}

#[test]
fn redis_speaks_tls_without_knowing_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("redis.sock");
    let mut redis = Command::new("redis-server");
    redis.args(["--port", "0", "--save", "", "--logfile", "redis.txt", "--unixsocket"]).arg(&socket);
    let _redis = Server::spawn(redis, dir, 0);
    crate::common::until(|| socket.exists());
    let server = wrap(&format!("unix:{}", socket.display()), &[]);
    let cli = |arguments: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &server.port("wrap").to_string(), "--tls", "--cacert", &server.certificate("ca.pem")]);
        succeed(command.args(arguments))
    };
    assert_eq!(cli(&["set", "spam", "eggs"]), "OK");
    assert_eq!(cli(&["get", "spam"]), "eggs");
    assert_eq!(cli(&["-r", "1000", "incr", "n"]).lines().last(), Some("1000"));
}

#[test]
fn half_close_is_carried_across_both_ways() {
    let (to, serving) = once(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("the client's end of stream");
        all.reverse();
        socket.write_all(&all).expect("answer");
    });
    let mut server = wrap(&to.to_string(), &[]);
    assert_eq!(connect(&server, b"stressed"), b"desserts");
    serving.join().expect("served");
    assert_eq!(server.stop(), Some(0));
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("connection closed") && line.contains("side=\"backend\"")), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("cannot connect")), "a good connection is warned of: {log:#?}");

    // The server finishes first; what the client still says must arrive.
    let (to, serving) = once(|mut socket| {
        socket.write_all(b"go on").expect("greet");
        socket.shutdown(Shutdown::Write).expect("finish");
        let mut all = String::new();
        socket.read_to_string(&mut all).expect("what comes later");
        all
    });
    let tls = wrap(&to.to_string(), &[]);
    let plain = originate(&tls, &[]);
    let mut client = TcpStream::connect(plain.address("wrap")).expect("connect");
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).expect("the greeting and its end");
    assert_eq!(greeting, "go on");
    client.write_all(b"late words").expect("write");
    drop(client);
    assert_eq!(serving.join().expect("served"), "late words");
}

/// A plain port that leads to `tls`, which is another `latchkey wrap`.
fn originate(tls: &Server, arguments: &[&str]) -> Server {
    let ca = tls.certificate("ca.pem");
    wrap(&tls.address("wrap"), &[&["--originate", "--ca", &ca], arguments].concat())
}

/// What stands at `position` of an endless stream that repeats nowhere near.
fn pattern(seed: u64, position: usize) -> [u8; 8] {
    let mut word = (position as u64 ^ seed.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^= word >> 29;
    word.to_le_bytes()
}

const MEGABYTES: usize = 100;

fn send_pattern(mut socket: TcpStream, seed: u64) {
    for megabyte in 0..MEGABYTES {
        let start = megabyte << 17;
        let piece: Vec<u8> = (start..start + (1 << 17)).flat_map(|position| pattern(seed, position)).collect();
        socket.write_all(&piece).expect("send");
    }
    socket.shutdown(Shutdown::Write).expect("finish");
}

/// Reads all of the pattern: for its first eighth slowly, so that everything on the way fills up.
fn expect_pattern(mut socket: TcpStream, seed: u64) {
    let mut piece = vec![0; 1 << 16];
    for number in 0..MEGABYTES << 4 {
        if number < MEGABYTES << 1 {
            thread::sleep(Duration::from_millis(5));
        }
        socket.read_exact(&mut piece).expect("read");
        let start = number << 13;
        let expected = (start..start + (1 << 13)).map(|position| pattern(seed, position));
        assert!(piece.chunks(8).zip(expected).all(|(got, expected)| got == expected), "wrong near {number}");
    }
    assert_eq!(socket.read(&mut piece).expect("the end"), 0);
}

#[test]
fn a_hundred_megabytes_go_both_ways_at_once_in_bounded_memory() {
    let both_ways = |socket: TcpStream, send: u64, expect: u64| {
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let other = socket.try_clone().expect("clone");
        let sending = thread::spawn(move || send_pattern(other, send));
        expect_pattern(socket, expect);
        sending.join().expect("sent");
    };
    let (to, serving) = once(move |socket| both_ways(socket, 1, 2));
    let tls = wrap(&to.to_string(), &[]);
    let plain = originate(&tls, &[]);
    let before = [tls.resident(), plain.resident()];
    let client = TcpStream::connect(plain.address("wrap")).expect("connect");
    let client = thread::spawn(move || both_ways(client, 2, 1));
    while !client.is_finished() {
        for (server, before) in [&tls, &plain].into_iter().zip(before) {
            let growth = server.resident().saturating_sub(before);
            assert!(growth < 8 << 20, "{growth} bytes for one connection");
        }
        thread::sleep(Duration::from_millis(20));
    }
    client.join().expect("client");
    serving.join().expect("server");
    tls.logged("reason=\"peer_closed\"");
}

#[test]
fn a_server_that_is_down_is_told_to_the_client_at_once_and_logged() {
    let free = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = wrap(&free.to_string(), &[]);
    let ragged =
        || succeed(python("ragged.py").args([&server.port("wrap").to_string(), &server.certificate("ca.pem")]));
    assert_eq!(ragged(), "0 cut");
    let line = server.logged("WARN cannot connect");
    assert!(line.contains(&format!("peer={free} ")) && line.contains("refused"), "{line}");
    let line = server.logged("reason=\"upstream\"");
    assert!(line.contains("is --to right?"), "{line}");

    let missing = wrap("unix:/nonexistent.sock", &[]);
    assert_eq!(connect(&missing, b""), b"");
    missing.logged("reason=\"upstream\"");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    // A listener whose backlog is full: further connections are neither taken nor refused.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    listener.listen(0).expect("listen");
    let to = listener.local_addr().expect("address").as_socket().expect("TCP");
    let _filling: Vec<_> =
        (0..2).map_while(|_| TcpStream::connect_timeout(&to, Duration::from_millis(300)).ok()).collect();
    let server = wrap(&to.to_string(), &["--connect-timeout", "1s"]);
    assert_eq!(connect(&server, b""), b"");
    server.logged("reason=\"upstream\"");
}

#[test]
fn a_lost_backend_causes_a_reset_to_its_client() {
    let (to, serving) = once(|mut socket| {
        socket.read_exact(&mut [0]).expect("a question");
        socket.write_all(&[7; 1000]).expect("half an answer");
        let reset = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        reset.expect("the close is a reset");
    });
    let server = wrap(&to.to_string(), &[]);
    let printed = succeed(python("ragged.py").args([&server.port("wrap").to_string(), &server.certificate("ca.pem")]));
    // How much of it a reset leaves is the system's affair.
    assert!(printed.ends_with(" cut"), "{printed}");
    serving.join().expect("served");
    server.logged("reason=\"upstream\"");
}

#[test]
fn nor_does_it_for_a_client_without_tls_whose_wrapper_has_it() {
    let (to, serving) = once(|mut socket| {
        socket.read_exact(&mut [0]).expect("a question");
        socket.write_all(&[7; 1000]).expect("half an answer");
        let reset = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        reset.expect("the close is a reset");
    });
    // The first one can only leave close_notify away, and that must count as a loss for the second.
    let tls = wrap(&to.to_string(), &[]);
    let plain = originate(&tls, &[]);
    let mut client = TcpStream::connect(plain.address("wrap")).expect("connect");
    client.set_read_timeout(Some(PATIENCE)).expect("timeout");
    client.write_all(b"?").expect("write");
    let end = client.read_to_end(&mut Vec::new()).expect_err("not the end of the answer");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    serving.join().expect("served");
    plain.logged("reason=\"no_close_notify\"");
}

/// The header that a version 2 receiver must get, up to the client's port, in hexadecimal.
fn header(source: [u8; 4], destination: [u8; 4], source_port: u16, destination_port: u16) -> String {
    let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
    // PP2_TYPE_SSL: a certificate now and in the session, verified; then TLSv1.3 and the common name.
    let tls = [b"\x20\0\x18\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x06".as_slice(), b"client"].concat();
    let body = [&source[..], &destination, &ports, &tls].concat();
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    let whole = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice(), &length, &body].concat();
    whole.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Folders with certificates for both ends, made by another server's start.
fn identities() -> Server {
    wrap("127.0.0.1:1", &[])
}

#[test]
fn the_server_learns_who_its_client_is() {
    let (_upstream, to) = upstream("upstream_proxy_header.py", &[]);
    let known = identities();
    let file = |name: &str| known.certificate(name);
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let tls = ["--cert", &cert, "--key", &key, "--client-ca", &ca, "--proxy-protocol"];
    let server = wrap(&format!("127.0.0.1:{to}"), &tls);
    let port = server.port("wrap");
    let mut client = python("proxy_client.py");
    client.args([&port.to_string(), &ca, &file("client.pem"), &file("client-key.pem")]);
    let printed = succeed(&mut client);
    let (own_port, answer) = printed.split_once(' ').expect("port and answer");
    let local = [127, 0, 0, 1];
    let expected = header(local, local, own_port.parse().expect("port"), port);
    assert_eq!(answer, format!("{expected} ping"));
}

#[test]
fn over_tls_too_the_header_comes_before_the_handshake() {
    let (to, serving) = once(|mut socket| {
        let mut word = [0; 4];
        socket.read_exact(&mut word).expect("the client's word");
        socket.write_all(&word).expect("answer");
    });
    let inner = wrap(&to.to_string(), &["--accept-proxy-from", "127.0.0.0/8"]);
    let ca = inner.certificate("ca.pem");
    let outer = wrap(&inner.address("wrap"), &["--originate", "--ca", &ca, "--proxy-protocol"]);
    let mut client = TcpStream::connect(outer.address("wrap")).expect("connect");
    client.set_read_timeout(Some(PATIENCE)).expect("timeout");
    client.write_all(b"word").expect("ask");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("answer");
    assert_eq!(answer, b"word");
    serving.join().expect("served");
}

#[test]
fn a_trusted_balancer_says_who_the_client_is_and_others_do_not() {
    let (_upstream, to) = upstream("upstream_proxy_header.py", &[]);
    let known = identities();
    let file = |name: &str| known.certificate(name);
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let to = format!("127.0.0.1:{to}");
    let tls = ["--cert", &cert, "--key", &key, "--client-ca", &ca, "--proxy-protocol", "--accept-proxy-from"];
    let v1 = "50524f5859205443503420312e322e332e3420352e362e372e3820343636302034340d0a";
    let client = |server: &Server| {
        let mut client = python("proxy_client.py");
        client.args([&server.port("wrap").to_string(), &ca, &file("client.pem"), &file("client-key.pem")]);
        client
    };
    let trusting = wrap(&to, &[&tls[..], &["127.0.0.0/8"]].concat());
    let printed = succeed(client(&trusting).arg(v1));
    let (_, answer) = printed.split_once(' ').expect("port and answer");
    assert_eq!(answer, format!("{} ping", header([1, 2, 3, 4], [5, 6, 7, 8], 4660, 44)));
    assert!(!run(&mut client(&trusting)).status.success(), "a balancer without its header was served");
    trusting.logged("reason=\"malformed\"");

    let distrusting = wrap(&to, &[&tls[..], &["10.0.0.0/8"]].concat());
    assert!(!run(client(&distrusting).arg(v1)).status.success(), "a stranger's header was believed");
    succeed(&mut client(&distrusting));
}

#[test]
fn the_other_end_is_verified_and_shown_our_certificate() {
    let (to, serving) = once(|mut socket| socket.write_all(b"in").expect("write"));
    let known = identities();
    let file = |name: &str| known.certificate(name);
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let tls = wrap(&to.to_string(), &["--cert", &cert, "--key", &key, "--client-ca", &ca]);
    let read = |server: &Server| {
        let mut words = String::new();
        let mut socket = TcpStream::connect(server.address("wrap")).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        // Cut or reset, as it happens: what counts is that nothing came.
        let _ = socket.read_to_string(&mut words);
        words
    };
    let stranger = identities();
    let to_tls = |arguments: &[&str]| wrap(&tls.address("wrap"), &[&["--originate"], arguments].concat());
    let deceived = to_tls(&["--ca", &stranger.certificate("ca.pem")]);
    assert_eq!(read(&deceived), "");
    deceived.logged("reason=\"certificate\"");
    let said = deceived.logged("reason=\"upstream\"");
    // Both development CAs have the same name, so that only the signature tells them apart.
    assert!(said.contains("a signature does not verify") && said.contains("--ca FILE"), "{said}");
    let misnamed = to_tls(&["--ca", &ca, "--server-name", "elsewhere.example"]);
    assert_eq!(read(&misnamed), "");
    misnamed.logged("verified as elsewhere.example with ");
    misnamed.logged("reason=\"certificate\"");
    let said = misnamed.logged("reason=\"upstream\"");
    assert!(said.contains("not for elsewhere.example") && said.contains("--server-name"), "{said}");
    let nameless = to_tls(&["--ca", &ca]);
    nameless.logged("no client certificate");
    assert_eq!(read(&nameless), "");
    let said = nameless.logged("reason=\"upstream\"");
    assert!(said.contains("requires a client certificate") && said.contains("--cert FILE --key FILE"), "{said}");
    tls.logged("reason=\"certificate\"");
    let (cert, key) = (file("client.pem"), file("client-key.pem"));
    assert_eq!(read(&to_tls(&["--ca", &ca, "--cert", &cert, "--key", &key])), "in");
    serving.join().expect("served");
}

#[test]
fn a_server_without_tls_is_named_as_such_and_told_nothing_but_hello() {
    let (to, serving) = once(|mut socket| {
        let mut told = vec![0; 5];
        socket.read_exact(&mut told).expect("hello");
        socket.write_all(b"220 a plain server\r\n").expect("write");
        // A reset ends it as well as a close.
        let _ = socket.read_to_end(&mut told);
        told
    });
    let known = identities();
    let server = wrap(&to.to_string(), &["--originate", "--ca", &known.certificate("ca.pem")]);
    let mut client = TcpStream::connect(server.address("wrap")).expect("connect");
    client.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", answer.escape_ascii());
    server.logged("the server does not speak TLS");
    let told = serving.join().expect("served");
    // One handshake record (RFC 8446, 5.1) of the length that it tells, and nothing behind it.
    assert_eq!(
        (told[0], usize::from(told[3]) << 8 | usize::from(told[4])),
        (22, told.len() - 5),
        "{}",
        told.escape_ascii()
    );
}

#[test]
fn rules_say_whose_certificates_are_let_in() {
    const NAMED: &str = "[[rule]]\ncn = 'client'\ngrant = ['read']\n[[rule]]\ncn = 'bob'\ngrant = ['connect']";
    let (to, serving) = once(|mut socket| socket.write_all(b"welcome").expect("write"));
    let known = identities();
    let file = |name: &str| known.certificate(name);
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    let (client, client_key) = (file("client.pem"), file("client-key.pem"));
    let rules = known.dir.path().join("rules.toml");
    let ask = |content: &str| {
        std::fs::write(&rules, content).expect("rules");
        let path = rules.display().to_string();
        let server = wrap(&to.to_string(), &["--cert", &cert, "--key", &key, "--client-ca", &ca, "--authorize", &path]);
        let mut connect = latchkey();
        connect.args(["connect", &server.address("wrap"), "--ca", &ca, "--cert", &client, "--key", &client_key]);
        (succeed(&mut connect), server)
    };
    for others in ["", "[[rule]]\ncn = 'bob'\ngrant = ['connect']", NAMED] {
        let (heard, server) = ask(others);
        assert_eq!(heard, "", "{others}");
        if others.is_empty() {
            server.logged("no rules: every client is denied");
            // The log is written through a queue, so the warning may come before or after the start line.
            let warning = "has no [[rule]], so no client is admitted";
            if !server.seen().iter().any(|line| line.contains(warning)) {
                server.logged(warning);
            }
        }
        let line = server.logged("reason=\"denied\"");
        let why = if others == NAMED { "but none of them grants" } else { "no rule matches client" };
        assert!(line.contains(why), "{others}: {line}");
    }
    assert_eq!(ask("[[rule]]\ncn = 'client'\ngrant = ['connect']").0, "welcome");
    serving.join().expect("served");
}

#[test]
fn sigterm_lets_open_connections_finish() {
    let (heard, asked) = mpsc::channel();
    let (permit, permitted) = mpsc::channel();
    let (to, serving) = once(move |mut socket| {
        socket.read_exact(&mut [0]).expect("a question");
        heard.send(()).expect("the test listens");
        permitted.recv_timeout(PATIENCE).expect("permission");
        socket.write_all(b"answered").expect("answer");
    });
    let mut server = wrap(&to.to_string(), &[]);
    let plain = originate(&server, &[]);
    let mut client = TcpStream::connect(plain.address("wrap")).expect("connect");
    client.write_all(b"?").expect("ask");
    asked.recv_timeout(PATIENCE).expect("it is asked");
    crate::common::signal(server.pid(), "TERM");
    server.logged("stopping");
    permit.send(()).expect("the upstream waits");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("read");
    assert_eq!(answer, "answered");
    drop(client);
    serving.join().expect("served");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn wrap_options_that_cannot_be_enforced_refuse_to_start() {
    let refused = |arguments: &[&str], flag: &str| {
        let mut command = latchkey();
        let said = fail(command.args(["wrap", "--to", "127.0.0.1:1"]).args(arguments), 2);
        assert!(said.contains(flag), "{said}");
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").display().to_string();
    refused(&["--listen", "plain://127.0.0.1:0"], "--listen");
    refused(&["--listen", "0.0.0.0:0", "--originate"], "--allow-plain");
    refused(&["--listen", "127.0.0.1:0", "--originate", "--client-ca", &file], "--client-ca");
    refused(&["--listen", "127.0.0.1:0", "--originate", "--client-auth", "none"], "--client-auth");
    refused(&["--listen", "127.0.0.1:0", "--originate", "--tls-min", "1.3"], "--tls-min");
    refused(&["--listen", "127.0.0.1:0", "--authorize", &file], "--client-ca");
    refused(&["--listen", "127.0.0.1:0", "--originate", "--max-handshakes-per-address", "3"], "--max-handshakes");
    refused(&["--listen", "127.0.0.1:0", "--ca", &file], "--originate");
    refused(&["--listen", "127.0.0.1:0", "--accept-proxy-from", "everybody"], "--accept-proxy-from");
    refused(&["--listen", "127.0.0.1:0", "--max-output", "0"], "--max-output");
}

#[test]
fn a_client_that_loses_its_rule_is_disconnected_from_the_backend() {
    let (to, serving) = once(|mut socket| {
        socket.write_all(b"welcome").expect("write");
        socket.read_to_end(&mut Vec::new())
    });
    let known = identities();
    let [cert, key, ca, client, client_key] =
        ["server.pem", "server-key.pem", "ca.pem", "client.pem", "client-key.pem"].map(|name| known.certificate(name));
    let rules = known.dir.path().join("rules.toml");
    std::fs::write(&rules, "[[rule]]\ncn = 'client'\ngrant = ['connect']").expect("rules");
    let path = rules.display().to_string();
    let server = wrap(&to.to_string(), &["--cert", &cert, "--key", &key, "--client-ca", &ca, "--authorize", &path]);
    let mut command = latchkey();
    command.args(["connect", &server.address("wrap"), "--ca", &ca, "--cert", &client, "--key", &client_key]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start");
    let mut heard = [0; 7];
    child.stdout.take().expect("stdout").read_exact(&mut heard).expect("a welcome");
    std::fs::write(&rules, "[[rule]]\ncn = 'client'\ngrant = ['read']").expect("rules");
    server.logged("reason=\"revoked\"");
    drop(child.stdin.take());
    // What it got need not be all: it is not told that it is.
    assert!(!child.wait().expect("it ends").success(), "a stream that was cut passes for a whole one");
    let _ = serving.join().expect("the server's side has ended too");
}
