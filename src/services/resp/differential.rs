//! The same commands against this service and against a real `redis-server`: the replies must be equal, byte for byte.
//!
//! Differences by design, which the comparison allows for:
//!
//! - what depends on when it is asked (`TTL` and its kin: a few seconds' tolerance);
//! - what has no order (`KEYS`, `SCAN`: compared as sets) or is random (`RANDOMKEY`: asked only for its presence);
//! - `INCRBYFLOAT` where 80-bit rounding shows: equal as numbers;
//! - what Redis 7.2 has and 7.0 lacks: `CLIENT SETINFO`, `CLIENT NO-TOUCH`, and `COMMAND GETKEYS` of a bare command.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::command::find;
use super::tests::Bench;
use super::*;
use crate::connection::testing::TestPeer;
use crate::protocol::resp::{Reply, ReplyScanner, encode_command};

/// A process that ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `redis-server` of our own on a free port.
struct Redis {
    stream: TcpStream,
    received: Vec<u8>,
    _process: Killed,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let mut process = Process::new("redis-server");
        process.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let process = process.args(["--databases", "1"]).stdout(Stdio::null()).spawn();
        let absent = "this test compares with a real redis-server: install one (Debian: redis-server)";
        let mut process = Killed(process.expect(absent));
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(50));
            // Whoever listens must be the server started here.
            assert_eq!(process.0.try_wait().expect("a child of ours"), None, "redis-server stopped at once");
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_nodelay(true).expect("a socket option");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
                return Self { stream, received: Vec::new(), _process: process };
            }
        }
        panic!("redis-server did not listen");
    }

    /// Another connection to the same server.
    fn another(&self) -> TcpStream {
        let stream = self.stream.peer_addr().and_then(TcpStream::connect).expect("redis-server takes another client");
        stream.set_nodelay(true).expect("a socket option");
        stream
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).expect("redis-server takes the request");
        let mut scanner = ReplyScanner::default();
        loop {
            if let Some(length) = scanner.advance(&self.received).expect("redis-server speaks RESP") {
                return self.received.drain(..length).collect();
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("redis-server answers");
            assert_ne!(count, 0, "redis-server closed the connection on {}", String::from_utf8_lossy(request));
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Both servers, asked the same.
struct Pair {
    redis: Redis,
    bench: Bench,
    client: (TestPeer, RespSession),
}

impl Pair {
    fn start() -> Self {
        let mut bench = Bench::new(RespOptions::default());
        let client = bench.connect(0, 0);
        Self { redis: Redis::start(), bench, client }
    }

    /// The replies of Redis and of this service.
    fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> (Vec<u8>, Vec<u8>) {
        let mut request = Vec::new();
        encode_command(&mut request, command);
        let theirs = self.redis.ask(&request);
        #[expect(clippy::disallowed_methods, reason = "both servers must have the same time")]
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        self.bench.now.unix_ms = u64::try_from(elapsed.as_millis()).expect("before the year 500 million");
        let (ours, ending) = self.bench.send(&mut self.client, &request);
        assert_eq!(ending, None, "{}", String::from_utf8_lossy(&request));
        (theirs, ours)
    }

    /// What differs in the replies to a command, to be shown.
    fn difference(&mut self, line: &str) -> Option<String> {
        let command: Vec<&str> = line.split(' ').collect();
        let (theirs, ours) = self.ask(&command);
        (theirs != ours).then(|| format!("{line}\nredis: {}\n ours: {}", theirs.escape_ascii(), ours.escape_ascii()))
    }

    /// All keys that a SCAN finds, sorted.
    fn scanned(&mut self, arguments: &[&str]) -> [Vec<Vec<u8>>; 2] {
        let mut cursors = [b"0".to_vec(), b"0".to_vec()];
        let mut found = [Vec::new(), Vec::new()];
        let mut done = [false; 2];
        while done != [true; 2] {
            for side in 0..2 {
                if done[side] {
                    continue;
                }
                let mut command = vec![b"SCAN".to_vec(), cursors[side].clone()];
                command.extend(arguments.iter().map(|argument| argument.as_bytes().to_vec()));
                let (theirs, ours) = self.ask(&command);
                let (reply, _) = Reply::decode(if side == 0 { &theirs } else { &ours }).unwrap().unwrap();
                let Reply::Array(parts) = reply else { panic!("{reply:?}") };
                let [Reply::Bulk(cursor), Reply::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
                found[side].extend(keys.iter().map(bulk));
                done[side] = cursor == b"0";
                cursors[side].clone_from(cursor);
            }
        }
        found.map(|mut keys| {
            keys.sort();
            keys.dedup();
            keys
        })
    }
}

fn bulk(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    }
}

/// How replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Exactly,
    /// Integers may differ by so much: seconds that pass between the two servers' looks at the clock.
    Within(i64),
    AsSets,
    AsNumbers,
    /// Only whether there is something.
    Presence,
}

impl Compare {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "ttl" | "expiretime" => Self::Within(10),
            "pttl" | "pexpiretime" => Self::Within(10_000),
            "keys" => Self::AsSets,
            "incrbyfloat" => Self::AsNumbers,
            "randomkey" | "scan" | "hello" => Self::Presence,
            _ => Self::Exactly,
        }
    }

    fn accepts(self, theirs: &[u8], ours: &[u8]) -> bool {
        if theirs == ours {
            return true;
        }
        let read = |bytes| Reply::decode(bytes).ok().flatten().map(|(reply, _)| reply);
        match (self, read(theirs), read(ours)) {
            (Self::Within(most), Some(Reply::Integer(theirs)), Some(Reply::Integer(ours))) => {
                theirs > 0 && ours > 0 && (theirs - ours).abs() <= most
            }
            (Self::AsSets, Some(Reply::Array(theirs)), Some(Reply::Array(ours))) => {
                let sorted = |replies: Vec<Reply>| {
                    let mut keys: Vec<_> = replies.iter().map(bulk).collect();
                    keys.sort();
                    keys
                };
                sorted(theirs) == sorted(ours)
            }
            (Self::AsNumbers, Some(Reply::Bulk(theirs)), Some(Reply::Bulk(ours))) => {
                let number = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().parse::<f64>().unwrap();
                let (theirs, ours) = (number(theirs), number(ours));
                (theirs - ours).abs() <= theirs.abs() * 1e-12
            }
            (Self::Presence, Some(Reply::Bulk(_)), Some(Reply::Bulk(_)))
            | (Self::Presence, Some(Reply::Array(_)), Some(Reply::Array(_)))
            | (Self::Presence, Some(Reply::Map(_)), Some(Reply::Map(_))) => true,
            _ => false,
        }
    }
}

/// Commands with places to fill: K a key, V a value, N an integer, F a number, T a relative and A an absolute time in
/// seconds, P a pattern. Relative times do not meet GT and LT, whose answer would depend on the millisecond.
const TEMPLATES: &[&str] = &[
    "set K V",
    "set K V",
    "set K N",
    "set K V NX",
    "set K V XX",
    "set K V GET",
    "set K V NX GET",
    "set K V EX T",
    "set K V PX T000",
    "set K V EXAT A",
    "set K V PXAT A000",
    "set K V KEEPTTL",
    "set K V XX KEEPTTL GET",
    "set K V EX T KEEPTTL",
    "set K V NX XX",
    "set K V EX N",
    "get K",
    "get K",
    "getdel K",
    "getex K",
    "getex K EX T",
    "getex K PXAT A000",
    "getex K PERSIST",
    "getex K EX T PERSIST",
    "getex K EX N",
    "getset K V",
    "setnx K V",
    "setex K T V",
    "setex K N V",
    "psetex K T000 V",
    "mget K K K",
    "mset K V K V",
    "mset K V K",
    "msetnx K V K V",
    "append K V",
    "append K N",
    "strlen K",
    "getrange K N N",
    "substr K N N",
    "setrange K 3 V",
    "setrange K N V",
    "setrange K 0 V",
    "incr K",
    "decr K",
    "incrby K N",
    "decrby K N",
    "incrbyfloat K F",
    "lcs K K",
    "lcs K K LEN",
    "lcs K K IDX",
    "lcs K K IDX WITHMATCHLEN MINMATCHLEN N",
    "lcs K K IDX LEN",
    "del K",
    "del K K",
    "unlink K K",
    "exists K",
    "exists K K K",
    "touch K K",
    "type K",
    "keys P",
    "randomkey",
    "rename K K",
    "renamenx K K",
    "copy K K",
    "copy K K REPLACE",
    "copy K K DB N",
    "dbsize",
    "expire K T",
    "expire K N",
    "expire K T NX",
    "expire K T XX",
    "expireat K A",
    "expireat K A GT",
    "expireat K A LT",
    "expireat K A NX GT",
    "expireat K A GT LT",
    "pexpire K T000",
    "pexpireat K A000 GT",
    "pexpireat K A000 XX LT",
    "pexpireat K N",
    "expire K T FOO",
    "ttl K",
    "pttl K",
    "expiretime K",
    "pexpiretime K",
    "persist K",
    "object freq K",
    "object foo K",
    "multi",
    "multi",
    "exec",
    "exec",
    "exec",
    "discard",
    "watch K",
    "watch K K",
    "unwatch",
    "select 0",
    "select N",
    "ping",
    "ping V",
    "echo V",
    "flushdb",
    "flushall async",
    "flushall foo",
    "nothing V K",
    "client getname",
    "client setname V",
    "client foo",
    "client no-evict on",
    "client no-evict V",
    "auth V",
    "auth V V",
    "command getkeys mset K V K V",
    "command getkeys set K V",
    "command list filterby foo bar",
    "config foo",
    "config set nothing V",
    "debug sleep 0",
    "memory usage K SAMPLES -1",
    "scan foo",
    "scan 0 COUNT 0",
    "scan 0 COUNT V",
    "scan 0 FOO",
    "quux",
    "object",
    "config",
    "hello 4",
    "hello V",
];

const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"hello world",
    b"ohmytext",
    b"mynewtext",
    b"10",
    b"-7",
    b"0.5",
    b"-2.25",
    b"9223372036854775807",
    b"\x00\xff\r\n\x80",
    b"the quick brown fox jumps over the lazy dog and then some more",
    b" 1",
    b"-0",
];
const INTEGERS: &[&str] =
    &["0", "1", "-1", "2", "5", "-3", "100", "-9223372036854775808", "9223372036854775807", "x", "", "1.5", "01"];
const NUMBERS: &[&str] = &["1", "-1", "0.5", "-0.25", "3", "5.0e3", "1e-3", "x", "inf", "nan", "", " 1", "+2"];
const PATTERNS: &[&str] = &["*", "k*", "?1", "k[0-2]", "k[^1]", "k1", "nothing", "\\k2", "*[", "k[1"];

/// Commands whose replies tell something about what came before them, asked in this order.
const CHOSEN: &[&str] = &[
    "set n 10.50",
    "incrbyfloat n 0.1",
    "incrbyfloat n -5",
    "set n 5.0e3",
    "incrbyfloat n 2.0e2",
    "set n 0.1",
    "incrbyfloat n 0.2",
    "set n 314",
    "object encoding n",
    "set n text",
    "object encoding n",
    "object encoding missing",
    "object freq missing",
    "object refcount missing",
    "memory usage missing",
    "memory usage",
    "config get save",
    "config get appendonly",
    "config get databases*",
    "client setname a",
    "client getname",
    "reset",
    "client getname",
    "get n",
    "multi",
    "nothing a b c",
    "exec",
    "multi",
    "watch n",
    "exec",
    "multi",
    "multi",
    "exec",
    "exec",
    "discard",
    "watch n",
    "set n 1",
    "multi",
    "get n",
    "exec",
    "hello 2 foo",
    "hello 2 setname",
    "hello 2 auth a b",
    "client id x",
    "client kill id 0",
    "client kill id x",
    "client kill foo",
    "client kill type foo",
    "client kill id 999999",
    "client kill 1.2.3.4:5",
    "client list type foo",
    "client list foo",
    "command info nothing",
    "command docs nothing",
    "command getkeys copy a b",
    "config get",
    "config set a",
    "config rewrite",
    "select 1",
    "select -1",
    "select 99999999999999999999",
    "copy n n",
    "rename missing a",
    "rename n n",
    "renamenx n n",
    "flushall sync",
    "exec x",
    "lcs a b minmatchlen",
    "lcs a b foo",
    "client setname a\nb",
];

/// A seeded source of choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn fill(&mut self, word: &str) -> Vec<u8> {
        match word {
            "K" => format!("k{}", self.below(6)).into_bytes(),
            "V" => self.pick(VALUES).to_vec(),
            "N" => self.pick(INTEGERS).into(),
            "F" => self.pick(NUMBERS).into(),
            "T" => self.pick(&["100", "2000", "50000"]).into(),
            "T000" => self.pick(&["100000", "2000000"]).into(),
            "A" => self.pick(&["4000000000", "4100000000", "1000000000", "-5"]).into(),
            "A000" => self.pick(&["4000000000000", "4100000000000", "1000000000000"]).into(),
            "P" => self.pick(PATTERNS).into(),
            word if self.below(3) == 0 => word.to_uppercase().into_bytes(),
            word => word.into(),
        }
    }

    fn command(&mut self) -> Vec<Vec<u8>> {
        let mut command: Vec<Vec<u8>> = self.pick(TEMPLATES).split(' ').map(|word| self.fill(word)).collect();
        match self.below(25) {
            // Keep the name, so that a key is not taken for one.
            0 if command.len() > 1 => {
                command.pop();
            }
            1 => command.push(self.fill("V")),
            _ => {}
        }
        command
    }
}

/// What is compared in another way, or whose reply changes with time, stays out of transactions; so does `DEBUG`, which
/// Redis refuses before it would be queued.
fn may_be_queued(name: &str) -> bool {
    Compare::of(name) == Compare::Exactly && !matches!(name, "debug" | "dbsize")
}

fn compare_random_commands(protocol: &str, seed: u64, count: usize) {
    let mut pair = Pair::start();
    let mut dice = Dice(seed);
    let mut in_transaction = false;
    pair.ask(&["HELLO", protocol]);
    for turn in 0..count {
        let command = dice.command();
        let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
        if in_transaction && !may_be_queued(&name) {
            continue;
        }
        if name == "dbsize" {
            // Redis counts a key that was set to a time in the past until it looks at the key again.
            pair.ask(&["EXISTS", "k0", "k1", "k2", "k3", "k4", "k5"]);
        }
        let (theirs, ours) = pair.ask(&command);
        let shown: Vec<_> = command.iter().map(|argument| argument.escape_ascii().to_string()).collect();
        assert!(
            Compare::of(&name).accepts(&theirs, &ours),
            "seed {seed}, command {turn}: {}\nredis: {}\n ours: {}",
            shown.join(" "),
            theirs.escape_ascii(),
            ours.escape_ascii()
        );
        match (name.as_str(), ours.starts_with(b"-")) {
            ("multi", false) => in_transaction = true,
            ("exec" | "discard", _) if command.len() == 1 => in_transaction = false,
            ("incrbyfloat", _) if theirs != ours => {
                pair.ask(&[b"DEL", &command[1][..]]);
            }
            _ => {}
        }
        if turn % 500 == 0 && !in_transaction {
            for arguments in [&[][..], &["COUNT", "2"], &["MATCH", "k[0-3]"], &["TYPE", "string"], &["TYPE", "hash"]] {
                let [theirs, ours] = pair.scanned(arguments);
                assert_eq!(ours, theirs, "seed {seed}, command {turn}: SCAN {arguments:?}");
            }
        }
    }
}

#[test]
fn random_commands_get_the_replies_of_redis_in_version_2() {
    for seed in 0..3 {
        compare_random_commands("2", seed, 5000);
    }
}

#[test]
fn random_commands_get_the_replies_of_redis_in_version_3() {
    for seed in 100..103 {
        compare_random_commands("3", seed, 5000);
    }
}

#[test]
fn chosen_commands_get_the_replies_of_redis() {
    let mut pair = Pair::start();
    for protocol in ["2", "3"] {
        pair.ask(&["HELLO", protocol]);
        let differences: Vec<_> = CHOSEN.iter().filter_map(|line| pair.difference(line)).collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

/// Values of all sizes, edited in place and by copying: those that stand in the table's pages, those apart, and those
/// that change between the two.
#[test]
fn edits_of_long_values_get_the_replies_of_redis() {
    let mut pair = Pair::start();
    let mut dice = Dice(7);
    for turn in 0..4000 {
        let key = dice.pick(&["a", "b", "c"]);
        let bytes = vec![b'a' + u8::try_from(turn % 26).unwrap(); dice.below(3000)];
        let place = dice.below(9000).to_string();
        let number = |dice: &mut Dice| (i64::try_from(dice.below(20_000)).unwrap() - 10_000).to_string();
        let command: Vec<Vec<u8>> = match dice.below(9) {
            0 => vec!["set".into(), key.into(), bytes],
            1 | 2 => vec!["append".into(), key.into(), bytes],
            3 | 4 => vec!["setrange".into(), key.into(), place.into(), bytes],
            5 => vec!["getrange".into(), key.into(), number(&mut dice).into(), number(&mut dice).into()],
            6 => vec!["copy".into(), key.into(), dice.pick(&["a", "b", "c"]).into(), "replace".into()],
            7 => vec!["rename".into(), key.into(), dice.pick(&["a", "b", "c"]).into()],
            _ => vec!["get".into(), key.into()],
        };
        let (theirs, ours) = pair.ask(&command);
        let shown = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{turn}: {shown}");
        if turn % 100 == 0 {
            pair.ask(&["del", dice.pick(&["a", "b", "c"])]);
        }
    }
}

/// Two connections, one of which watches what the other changes.
#[test]
fn transactions_interleaved_with_another_client_get_the_replies_of_redis() {
    const WATCHER: &[&str] =
        &["watch K", "watch K K", "multi", "exec", "exec", "discard", "unwatch", "get K", "set K V", "incr K", "quux"];
    const WRITER: &[&str] = &[
        "set K V",
        "set K V NX",
        "set K V XX",
        "get K",
        "del K",
        "expire K 1000",
        "persist K",
        "append K V",
        "incr K",
        "touch K",
        "rename K K",
        "copy K K REPLACE",
        "flushall",
        "set K V EXAT 5",
        "getdel K",
        "setrange K 1 ",
        "getex K PERSIST",
        "msetnx K V K V",
    ];
    let mut pair = Pair::start();
    let mut writer = pair.redis.another();
    let mut own_writer = pair.bench.connect(1, 1);
    let mut dice = Dice(11);
    let mut history = std::collections::VecDeque::new();
    for turn in 0..20_000 {
        let is_watcher = dice.below(2) == 0;
        let template = if is_watcher { dice.pick(WATCHER) } else { dice.pick(WRITER) };
        let command: Vec<Vec<u8>> = template.split(' ').map(|word| dice.fill(word)).collect();
        let mut swap = |pair: &mut Pair| {
            std::mem::swap(&mut pair.redis.stream, &mut writer);
            std::mem::swap(&mut pair.client, &mut own_writer);
        };
        if !is_watcher {
            swap(&mut pair);
        }
        let (theirs, ours) = pair.ask(&command);
        if !is_watcher {
            swap(&mut pair);
        }
        let shown = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        let [theirs, ours] = [theirs, ours].map(|reply| reply.escape_ascii().to_string());
        history.push_back(format!("{} {shown}: {theirs}", if is_watcher { "watcher" } else { " writer" }));
        assert_eq!(ours, theirs, "command {turn}, after\n{}", history.make_contiguous().join("\n"));
        if history.len() > 20 {
            history.pop_front();
        }
    }
}

/// The first seven fields of `COMMAND INFO` and the key specifications, as Redis tells them.
#[test]
fn the_table_of_commands_is_that_of_redis() {
    let mut pair = Pair::start();
    let later_than_7_0 = ["client|setinfo", "client|no-touch", "command|getkeys"];
    for protocol in ["2", "3"] {
        pair.ask(&["HELLO", protocol]);
        for command in COMMANDS.iter().filter(|command| !later_than_7_0.contains(&command.name)) {
            let (theirs, ours) = pair.ask(&["COMMAND", "INFO", command.name]);
            assert_eq!(described(&ours), described(&theirs), "{} in version {protocol}", command.name);
        }
    }
}

/// What is compared of one command in a reply to `COMMAND INFO`.
fn described(reply: &[u8]) -> (Vec<Reply>, Vec<Reply>) {
    let Some((Reply::Array(mut commands), _)) = Reply::decode(reply).unwrap() else { panic!("no array") };
    let Some(Reply::Array(mut fields)) = commands.pop() else { panic!("no command") };
    let specs = match fields.swap_remove(8) {
        Reply::Array(specs) | Reply::Set(specs) => specs.into_iter().map(without_notes).collect(),
        other => panic!("{other:?}"),
    };
    fields.truncate(7);
    (fields, specs)
}

/// A key specification without the remark that Redis puts before some.
fn without_notes(spec: Reply) -> Reply {
    let notes = Reply::Bulk(b"notes".to_vec());
    match spec {
        Reply::Array(fields) if fields.first() == Some(&notes) => Reply::Array(fields[2..].to_vec()),
        Reply::Map(mut fields) => {
            fields.retain(|(name, _)| *name != notes);
            Reply::Map(fields)
        }
        other => other,
    }
}

#[test]
fn templates_name_commands_or_are_meant_not_to() {
    for template in TEMPLATES {
        let name = template.split(' ').next().unwrap();
        assert!(find(name.as_bytes()).is_some() || ["nothing", "quux"].contains(&name), "{template}");
    }
}
