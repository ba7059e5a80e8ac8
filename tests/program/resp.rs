//! RESP with the clients that people have, unchanged, over TLS and mutual TLS.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Server, certs, client, python, run, succeed};

/// The libraries that `tests/install` put there.
fn installed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients").join(path);
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    path.display().to_string()
}

/// A server as it starts without arguments, but for its port.
fn over_tls() -> Server {
    Server::start_in(tempfile::tempdir().expect("a folder"), &["--resp", "127.0.0.1:0"])
}

/// A server whose clients must show certificates; `alice` has one.
fn over_mutual_tls() -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost --san IP:127.0.0.1");
    certs(dir.path(), "client alice");
    let line = "--resp 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-ca certs/ca.pem";
    Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>())
}

/// One of Redis's own programs, aimed at `server`.
fn redis(program: &str, server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &server.port("resp").to_string(), "--tls", "--cacert", "certs/ca.pem"]);
    command.args(arguments).current_dir(server.dir.path());
    command
}

fn cli(server: &Server, arguments: &[&str]) -> String {
    succeed(&mut redis("redis-cli", server, arguments))
}

/// What redis-cli prints for lines that somebody types.
fn typed(server: &Server, arguments: &[&str], lines: &str) -> String {
    let mut command = redis("redis-cli", server, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("redis-cli (tests/install)");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("redis-cli reads");
    String::from_utf8_lossy(&child.wait_with_output().expect("its end").stdout).into_owned()
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

fn redis_py(server: &Server, protocol: &str, identity: &[&str]) {
    let mut command = python("redis_py.py");
    command.env("PYTHONPATH", installed("python")).current_dir(server.dir.path());
    let printed = succeed(command.arg(server.port("resp").to_string()).arg(protocol).args(identity));
    assert_eq!(printed, "redis-py done");
}

fn node(script: &str, server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new("node");
    command.arg(client(script)).arg(server.port("resp").to_string()).args(arguments);
    succeed(command.env("NODE_PATH", installed("node/node_modules")).current_dir(server.dir.path()))
}

#[test]
fn redis_py_speaks_both_versions_over_tls_and_mutual_tls() {
    let (tls, mutual) = (over_tls(), over_mutual_tls());
    for protocol in ["2", "3"] {
        redis_py(&tls, protocol, &[]);
        redis_py(&mutual, protocol, &["alice"]);
    }
}

#[test]
fn debians_redis_py_of_years_ago_works_too() {
    let server = over_tls();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(client("redis_py.py")).arg(server.port("resp").to_string()).arg("2").current_dir(server.dir.path());
    assert_eq!(succeed(command.env_remove("PYTHONPATH")), "redis-py done");
}

#[test]
fn node_redis_speaks_both_versions_over_tls_and_mutual_tls() {
    let (tls, mutual) = (over_tls(), over_mutual_tls());
    for protocol in ["2", "3"] {
        assert_eq!(node("node_redis.cjs", &tls, &[protocol]), "node-redis done");
        assert_eq!(node("node_redis.cjs", &mutual, &[protocol, "alice"]), "node-redis done");
    }
}

#[test]
fn ioredis_works_over_tls_and_mutual_tls() {
    assert_eq!(node("ioredis.cjs", &over_tls(), &[]), "ioredis done");
    assert_eq!(node("ioredis.cjs", &over_mutual_tls(), &["alice"]), "ioredis done");
}

#[test]
fn redis_cli_is_at_home() {
    let server = over_tls();
    assert_eq!(cli(&server, &["set", "spam", "eggs"]), "OK");
    assert_eq!(cli(&server, &["-3", "get", "spam"]), "eggs");
    assert_eq!(cli(&server, &["-r", "1000", "incr", "n"]).lines().last(), Some("1000"));
    let session =
        "multi\nincr n\nget spam\nexec\nconfig get save\nhello 3\nclient getname\nreset\nping\nnothing\nquit\n";
    let shown = typed(&server, &["--no-raw"], session);
    for part in
        ["QUEUED", "1) (integer) 1001\n2) \"eggs\"", "1# \"server\" => \"redis\"", "RESET", "ERR unknown command"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let keys = lines(2000, |number| format!("set key:{number} {number}\n"));
    assert_eq!(typed(&server, &[], &keys).matches("OK").count(), 2000);
    assert_eq!(cli(&server, &["--scan", "--pattern", "key:*"]).lines().count(), 2000);
    assert_eq!(cli(&server, &["--no-raw", "keys", "key:199?"]).lines().count(), 10);
    assert!(cli(&server, &["--bigkeys"]).contains("Biggest string found"), "by SCAN, TYPE and STRLEN");
    assert!(cli(&server, &["--memkeys"]).contains("Biggest string found"), "by MEMORY USAGE");
    assert!(cli(&server, &["info"]).contains("db0:keys=2002,expires=0"));
    // Mass insertion sends raw protocol and waits for the answer to an ECHO of its own.
    let raw = lines(5000, |number| format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n{number:04}\r\n"));
    assert!(typed(&server, &["--pipe"], &raw).contains("errors: 0, replies: 5000"));
    assert_eq!(cli(&server, &["get", "k"]), "4999");
    let mutual = over_mutual_tls();
    let shown = ["--cert", "certs/alice.pem", "--key", "certs/alice-key.pem", "client", "list"];
    assert!(cli(&mutual, &shown).contains(" user=alice "));
    assert!(!run(&mut redis("redis-cli", &mutual, &["ping"])).stdout.starts_with(b"PONG"));
}

#[test]
fn redis_benchmark_gets_every_answer() {
    let server = over_tls();
    for arguments in [
        &["-t", "ping,set,get,incr,mset", "-n", "2000", "-c", "50"][..],
        &["-t", "set,get", "-n", "20000", "-c", "50", "-P", "16", "-r", "100000"],
        &["-t", "set,get,incr", "-n", "4000", "-c", "20", "-P", "4", "--threads", "2"],
        &["-n", "2000", "-P", "8", "getex", "key:__rand_int__", "ex", "100"],
    ] {
        let printed = cli_benchmark(&server, arguments);
        assert!(printed.contains("requests per second") && !printed.contains("Error"), "{printed}");
        assert!(!printed.contains("WARNING"), "it could not read CONFIG: {printed}");
    }
    assert_eq!(cli(&server, &["get", "counter:__rand_int__"]), "6000");
}

fn cli_benchmark(server: &Server, arguments: &[&str]) -> String {
    let output = run(&mut redis("redis-benchmark", server, arguments));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

/// Raw bytes out, raw bytes back, until the server closes.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let dir = server.dir.path();
    let mut command = crate::common::latchkey();
    command.args(["connect", &server.address("resp"), "--ca", "certs/ca.pem"]).current_dir(dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    String::from_utf8_lossy(&child.wait_with_output().expect("its end").stdout).into_owned()
}

#[test]
fn the_opening_of_java_clients_is_answered() {
    let server = over_tls();
    // What Jedis and Lettuce send before anything else, in one go.
    let opening = "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n\
                   *4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$8\r\nLIB-NAME\r\n$5\r\njedis\r\n\
                   *4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$7\r\nLIB-VER\r\n$5\r\n5.1.0\r\n\
                   *2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n\
                   *7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\nsecret\r\n$7\r\nSETNAME\r\n$1\r\nj\r\n\
                   *2\r\n$6\r\nCLIENT\r\n$4\r\nINFO\r\n*1\r\n$4\r\nQUIT\r\n";
    let replies = exchange(&server, opening.as_bytes());
    assert!(replies.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{replies}");
    assert!(replies.contains("+OK\r\n+OK\r\n+OK\r\n+PONG\r\n%7\r\n"), "{replies}");
    assert!(replies.contains("name=j ") && replies.contains("lib-name=jedis lib-ver=5.1.0"), "{replies}");
    assert!(replies.ends_with("+OK\r\n"), "{replies}");
}

#[test]
fn memtier_benchmark_is_served() {
    let server = over_tls();
    let command = |words: &[&str]| {
        let arguments = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        arguments.fold(format!("*{}\r\n", words.len()), |request, argument| request + &argument)
    };
    let requests = [
        &["HELLO", "2"][..],
        &["AUTH", "default", "secret"],
        &["SELECT", "0"],
        &["SET", "memtier-1", "0123456789abcdef"],
        &["SETEX", "memtier-2", "100", "xyz"],
        &["SETRANGE", "memtier-1", "4", "----"],
        &["GET", "memtier-1"],
        &["GETRANGE", "memtier-1", "2", "5"],
        &["MGET", "memtier-2", "memtier-3"],
        &["QUIT"],
    ];
    let requests: String = requests.into_iter().map(command).collect();
    let replies = exchange(&server, requests.as_bytes());
    let expected = "+OK\r\n+OK\r\n+OK\r\n+OK\r\n:16\r\n$16\r\n0123----89abcdef\r\n$4\r\n23--\r\n\
                    *2\r\n$3\r\nxyz\r\n$-1\r\n+OK\r\n";
    assert!(replies.starts_with("*14\r\n") && replies.ends_with(expected), "{replies}");
}

#[test]
fn a_long_keys_is_not_overtaken_by_what_its_client_asks_next() {
    let server = over_tls();
    let mut requests = lines(60_000, |number| format!("set key:{number} x\r\n"));
    requests.push_str("keys *\r\nflushall\r\ndbsize\r\nkeys *\r\nquit\r\n");
    let replies = exchange(&server, requests.as_bytes());
    let (_, after) = replies.split_once("*60000\r\n").expect("all keys");
    assert_eq!(after.matches("key:").count(), 60_000);
    assert!(after.ends_with("+OK\r\n:0\r\n*0\r\n+OK\r\n"));
}

#[test]
fn http_aimed_at_this_port_is_not_taken_for_commands() {
    let server = over_tls();
    let attack = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nset stolen yes\r\n";
    assert_eq!(exchange(&server, attack), "");
    assert_eq!(exchange(&server, b"ping\r\nHost: localhost\r\nset stolen yes\r\n"), "+PONG\r\n");
    assert_eq!(cli(&server, &["exists", "stolen"]), "0");
}

#[test]
fn memory_stays_under_its_limit() {
    const LIMIT: usize = 48 << 20;
    let limit = LIMIT.to_string();
    for (policy, is_full) in [("allkeys", false), ("noeviction", true)] {
        let arguments = ["--resp", "127.0.0.1:0", "--max-memory", &limit, "--max-memory-policy", policy];
        let server = Server::start_in(tempfile::tempdir().expect("a folder"), &arguments);
        let before = server.resident();
        // Five times what fits, into as many keys.
        let printed = run(&mut redis(
            "redis-benchmark",
            &server,
            &["-t", "set", "-n", "250000", "-r", "1000000000", "-d", "1000", "-P", "32", "-c", "20", "-q"],
        ));
        let grown = server.resident() - before;
        assert!(grown < LIMIT + LIMIT / 4, "{policy}: {grown} bytes more are resident");
        let refusal = "OOM command not allowed when used memory > 'maxmemory'.";
        let said = String::from_utf8_lossy(&[printed.stdout, printed.stderr].concat()).into_owned();
        assert_eq!(said.contains(refusal), is_full, "{policy}: {said}");
        // What the clients held has come free since; five megabytes are more than that.
        let mut sets = (0..50).map(|key| cli(&server, &["set", &format!("k{key}"), &"v".repeat(100_000)]));
        assert_eq!(sets.any(|reply| reply.starts_with(refusal)), is_full, "{policy}");
        assert!(cli(&server, &["randomkey"]).starts_with("key:"), "reads go on");
        let told = cli(&server, &["info", "stats"]);
        assert_eq!(told.contains("evicted_keys:0"), is_full, "{told}");
    }
}
