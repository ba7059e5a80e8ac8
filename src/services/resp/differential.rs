//! The same commands against this service and against a real `redis-server`: the replies must be equal, byte for byte.
//!
//! Differences by design, which the comparison allows for:
//!
//! - what depends on when it is asked (`TTL` and its kin: a few seconds' tolerance);
//! - what has no order (`KEYS`, `SCAN`: compared as sets) or is random (`RANDOMKEY`: asked only for its presence);
//! - transactions have no bound here, as in Redis;
//! - where Redis 7.2 and 7.0 differ: [`DIFFERENCES`].

pub(super) mod commands;
mod learned;
mod versions;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::commands::{CHOSEN, Dice, ODD_KEYS, RAW, TEMPLATES};
use self::versions::DIFFERENCES;
use super::tests::Bench;
use super::*;
use crate::protocol::resp::{Reply, ReplyScanner, encode_command};
use crate::testing::TestPeer;

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
            // The process that listens must be the server started here.
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
            let count = self.stream.read(&mut buffer);
            let count = count.unwrap_or_else(|error| {
                panic!("no answer to {} but {}: {error}", request.escape_ascii(), self.received.escape_ascii())
            });
            assert_ne!(count, 0, "redis-server closed the connection on {}", request.escape_ascii());
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Both servers, asked the same.
struct BothServers {
    redis: Redis,
    bench: Bench,
    client: (TestPeer, RespSession),
}

impl BothServers {
    fn start() -> Self {
        // Redis's transactions have no bound; some that are made up here would be too long.
        let mut bench = Bench::new(RespOptions { transaction_cost: usize::MAX, ..RespOptions::default() });
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

    /// The difference of the replies to a command, for the failure message.
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
    /// Only whether there is something.
    Presence,
}

impl Compare {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "ttl" | "expiretime" => Self::Within(10),
            "pttl" | "pexpiretime" => Self::Within(10_000),
            "keys" => Self::AsSets,
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
            (Self::Presence, Some(Reply::Bulk(_)), Some(Reply::Bulk(_)))
            | (Self::Presence, Some(Reply::Array(_)), Some(Reply::Array(_)))
            | (Self::Presence, Some(Reply::Map(_)), Some(Reply::Map(_))) => true,
            _ => false,
        }
    }
}

/// Commands that are compared in another way, or whose reply changes with time, stay out of transactions.
fn may_be_queued(name: &str) -> bool {
    Compare::of(name) == Compare::Exactly && name != "dbsize"
}

fn compare_random_commands(protocol: &str, seed: u64, count: usize) {
    let mut pair = BothServers::start();
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
            let command: Vec<&[u8]> = [&[&b"EXISTS"[..], b"k0", b"k1", b"k2", b"k3", b"k4", b"k5"], ODD_KEYS].concat();
            pair.ask(&command);
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

/// Other seeds, and more of them: `DIFFERENTIAL_SEEDS=50 cargo test differential`.
fn seeds() -> u64 {
    std::env::var("DIFFERENTIAL_SEEDS").map_or(3, |seeds| seeds.parse().expect("DIFFERENTIAL_SEEDS is a number"))
}

#[test]
fn random_commands_get_the_replies_of_redis_in_version_2() {
    for seed in 0..seeds() {
        compare_random_commands("2", seed, 5000);
    }
}

#[test]
fn random_commands_get_the_replies_of_redis_in_version_3() {
    for seed in 1_000_000..1_000_000 + seeds() {
        compare_random_commands("3", seed, 5000);
    }
}

#[test]
fn chosen_commands_get_the_replies_of_redis() {
    let mut pair = BothServers::start();
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
    let mut pair = BothServers::start();
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

/// A number as nobody would write it: of any length, with its point anywhere.
fn odd_number(dice: &mut Dice) -> String {
    let digit = |dice: &mut Dice| char::from(b'0' + u8::try_from(dice.below(10)).unwrap());
    let some = |dice: &mut Dice, most: usize| (0..dice.below(most)).map(|_| digit(dice)).collect::<String>();
    let most = dice.pick(&[4, 12, 25, 60]);
    let (whole, last, fraction) = (some(dice, most), digit(dice), some(dice, most));
    let sign = dice.pick(&["", "", "-", "+"]);
    let point = if fraction.is_empty() { "" } else { "." };
    let exponent = match dice.below(4) {
        0 => format!("e{}", i64::try_from(dice.below(80)).unwrap() - 40),
        1 if dice.below(10) == 0 => format!("E+{}", dice.below(250)),
        1 if dice.below(10) == 0 => format!("e-{}", dice.below(250)),
        _ => String::new(),
    };
    format!("{sign}{whole}{last}{point}{fraction}{exponent}")
}

#[test]
fn sums_of_numbers_are_those_of_redis_to_the_last_digit() {
    let mut pair = BothServers::start();
    let mut dice = Dice(3);
    let mut differences = Vec::new();
    for turn in 0..8000 {
        let (one, two) = (odd_number(&mut dice), odd_number(&mut dice));
        if dice.below(2) == 0 {
            pair.ask(&["set", "n", &one]);
        }
        differences.extend(pair.difference(&format!("incrbyfloat n {two}")).map(|it| format!("{turn}: {one} {it}")));
        // As they come from a sum: what is far apart, and what nearly cancels out.
        let nearly = format!("-{one}").replace("-+", "-").replace("--", "");
        differences.extend(pair.difference(&format!("incrbyfloat n {nearly}")).map(|it| format!("{turn}: {one} {it}")));
    }
    assert!(differences.is_empty(), "{}: {}", differences.len(), differences[..differences.len().min(10)].join("\n"));
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
    let mut pair = BothServers::start();
    let mut writer = pair.redis.another();
    let mut own_writer = pair.bench.connect(1, 1);
    let mut dice = Dice(11);
    let mut history = std::collections::VecDeque::new();
    for turn in 0..20_000 {
        let is_watcher = dice.below(2) == 0;
        let template = if is_watcher { dice.pick(WATCHER) } else { dice.pick(WRITER) };
        let command: Vec<Vec<u8>> = template.split(' ').map(|word| dice.fill(word)).collect();
        let mut swap = |pair: &mut BothServers| {
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

/// Bytes as no library sends them, each on a connection of its own: the same answer, and the same end.
#[test]
fn odd_bytes_get_the_replies_of_redis() {
    let pair = BothServers::start();
    let BothServers { redis, mut bench, .. } = pair;
    for (number, input) in RAW.iter().enumerate() {
        let mut stream = redis.another();
        // A server that closes the connection answers no PING behind it.
        let whole = [input, &b"\r\nPING end\r\n"[..]].concat();
        stream.write_all(&whole).expect("redis-server takes it");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        let (mut theirs, mut buffer) = (Vec::new(), [0; 4096]);
        while !theirs.ends_with(b"end\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => theirs.extend_from_slice(&buffer[..count]),
            }
        }
        let mut client = bench.connect(u32::try_from(number).unwrap() + 2, 1);
        let (ours, ending) = bench.send(&mut client, &whole);
        let shown = input.escape_ascii().to_string();
        let [theirs_shown, ours_shown] = [&theirs, &ours].map(|bytes| without_greeting(bytes));
        assert_eq!(ours_shown, theirs_shown, "{shown}");
        assert_eq!(ending.is_none(), theirs.ends_with(b"end\r\n"), "{shown}");
    }
}

/// The replies behind that to `HELLO`, which contains a version and a client number.
fn without_greeting(reply: &[u8]) -> String {
    let shown = reply.escape_ascii().to_string();
    shown.split_once("modules\\r\\n*0\\r\\n").map_or(shown.clone(), |(_, after)| after.to_owned())
}

/// Commands that Redis does not have. Nothing compares their replies: each needs tests of its own.
const NOT_IN_REDIS: &[&str] = &[];

/// The first seven fields of `COMMAND INFO` and the key specifications, as Redis tells them.
#[test]
fn command_info_equals_that_of_redis() {
    let mut pair = BothServers::start();
    let differs = |name| DIFFERENCES.iter().any(|difference| difference.described == Some(name));
    for protocol in ["2", "3"] {
        pair.ask(&["HELLO", protocol]);
        for command in TABLE.commands().filter(|command| !differs(command.name)) {
            let (theirs, ours) = pair.ask(&["COMMAND", "INFO", command.name]);
            assert!(described(&ours).is_some(), "{}", command.name);
            if NOT_IN_REDIS.contains(&command.name) {
                assert_eq!(described(&theirs), None, "{}", command.name);
                continue;
            }
            let theirs = described(&theirs);
            assert!(theirs.is_some(), "Redis has no {}: name it in NOT_IN_REDIS", command.name);
            assert_eq!(described(&ours), theirs, "{} in version {protocol}", command.name);
        }
    }
}

/// The compared part of one command in a reply to `COMMAND INFO`; `None` where the command is unknown.
fn described(reply: &[u8]) -> Option<(Vec<Reply>, Vec<Reply>)> {
    let Some((Reply::Array(mut commands), _)) = Reply::decode(reply).unwrap() else { panic!("no array") };
    let Some(Reply::Array(mut fields)) = commands.pop() else { return None };
    // Hints are left out, but stand in what Redis has them stand in; and so do subcommands, of which Redis has more.
    let kinds: Vec<Reply> = fields.iter().skip(7).map(|field| Reply::Boolean(matches!(field, Reply::Set(_)))).collect();
    let specs = match fields.swap_remove(8) {
        Reply::Array(specs) | Reply::Set(specs) => specs.into_iter().map(without_notes).collect(),
        other => panic!("{other:?}"),
    };
    fields.truncate(7);
    fields.extend(kinds);
    Some((fields, specs))
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
fn templates_name_served_commands() {
    for template in TEMPLATES {
        let name = template.split(' ').next().unwrap();
        assert!(TABLE.find(name.as_bytes()).is_some() || ["nothing", "quux"].contains(&name), "{template}");
    }
}
