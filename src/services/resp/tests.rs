//! The service on its own: what the comparison with a real server does not reach.

use std::time::Duration;

use super::*;
use crate::access::{Access, Rules};
use crate::protocol::resp::Reply;
use crate::store::{Expiry, Kind, StoreOptions};
use crate::testing::{self, ProtocolBench, TestPeer};
use crate::value::Value;

mod compounds;
mod disk;
mod shares;
mod statistics;
mod transactions;

/// The service with its store.
pub(super) type Bench = ProtocolBench<Resp>;

impl Bench {
    pub(super) fn new(options: RespOptions) -> Self {
        let now = testing::now(1_800_000_000_000);
        Self::over(Resp::new(options, now), now)
    }

    /// Sends inline commands, one a line, and returns the replies as text.
    fn ask(&mut self, client: &mut (TestPeer, RespSession), lines: &str) -> String {
        let (reply, ending) = self.send(client, format!("{lines}\n").as_bytes());
        assert_eq!(ending, None, "{lines}");
        String::from_utf8_lossy(&reply).into_owned()
    }
}

fn bench() -> (Bench, (TestPeer, RespSession)) {
    let mut bench = Bench::new(RespOptions::default());
    let client = bench.connect(0, 0);
    (bench, client)
}

#[test]
fn values_of_another_protocol_keep_their_type() {
    let (mut bench, mut client) = bench();
    let values = [
        ("int", Value::Int(i32::MAX - 1)),
        ("i8", Value::I8(-5)),
        ("array", Value::Array(vec![Value::Nil, Value::String("x".to_owned())])),
        ("boolean", Value::Boolean(true)),
        ("string", Value::String("10".to_owned())),
        ("base64", Value::Base64(b"a".to_vec())),
    ];
    for (key, value) in &values {
        bench.store.set_value(key.as_bytes(), value.clone(), bench.now).expect("room");
    }
    let mut is = |line: &str, expected: &str| assert_eq!(bench.ask(&mut client, line), expected, "{line}");
    is("type int", "+int\r\n");
    is("type array", "+array\r\n");
    is("type string", "+string\r\n");
    is("type base64", "+string\r\n");
    is("get array", "$10\r\n[null,\"x\"]\r\n");
    is("mget int boolean", "*2\r\n$10\r\n2147483646\r\n$4\r\ntrue\r\n");
    is("incr int", ":2147483647\r\n");
    is("type int", "+int\r\n");
    is("incr int", ":2147483648\r\n");
    is("type int", "+i8\r\n");
    is("incrby i8 -5", ":-10\r\n");
    is("incr string", ":11\r\n");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for line in ["append int 1", "setrange array 0 x", "incrbyfloat int 1.5", "incr boolean", "incr array"] {
        is(line, wrong);
    }
    is("append string !", ":3\r\n");
    is("append base64 b", ":2\r\n");
    is("set array plain", "+OK\r\n");
    is("type array", "+string\r\n");
    let (store, now) = (&mut bench.store, bench.now);
    assert_eq!(store.value(b"int", now), Some(Value::I8(2_147_483_648)));
    assert_eq!(store.value(b"string", now), Some(Value::String("11!".to_owned())));
    assert_eq!(store.value(b"base64", now), Some(Value::Base64(b"ab".to_vec())));
    assert_eq!(store.value(b"array", now), Some(Value::String("plain".to_owned())));
}

#[test]
fn requests_split_anywhere_get_the_same_replies() {
    let input =
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\0\r\nGET k\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nEXEC\r\n";
    let (mut whole, mut client) = bench();
    let (expected, _) = whole.send(&mut client, input);
    assert_eq!(expected, b"+OK\r\n$5\r\na\r\nb\0\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    let (mut pieces, mut client) = bench();
    let (mut front, mut replies) = (0, Vec::new());
    for end in 1..=input.len() {
        let (peer, session) = &mut client;
        let exchange = &mut peer.exchange(pieces.now);
        front += pieces.protocol.serve(session, &mut pieces.store, &input[front..end], exchange).used();
        replies.extend(peer.take_replies());
    }
    assert_eq!(replies, expected);
}

#[test]
fn malformed_input_ends_the_connection_with_an_error() {
    let (mut bench, _) = bench();
    for (input, reply, ending) in [
        (&b"*1\r\n$-1\r\n"[..], &b"-ERR Protocol error: invalid bulk length\r\n"[..], Disconnect::Malformed),
        (b"get \"k\n", b"-ERR Protocol error: unbalanced quotes in request\r\n", Disconnect::Malformed),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nset k v\r\n", b"", Disconnect::Malformed),
        (b"ping\r\nhost: x\r\n", b"+PONG\r\n", Disconnect::Malformed),
        (
            b"\x16\x03\x01\x02",
            b"-ERR Protocol error: these bytes are a TLS handshake, and here plain RESP is spoken\r\n",
            Disconnect::Malformed,
        ),
        (b"quit\r\nping\r\n", b"+OK\r\n", Disconnect::Finished),
    ] {
        let mut client = bench.connect(1, 1);
        assert_eq!(bench.send(&mut client, input), (reply.to_vec(), Some(ending)));
    }
    let mut client = bench.connect(2, 2);
    let (reply, ending) = bench.send(&mut client, &b"x".repeat(70_000));
    assert_eq!(reply, b"-ERR Protocol error: too big inline request\r\n");
    assert_eq!(ending, Some(Disconnect::TooLarge));
}

#[test]
fn work_on_the_loop_is_bounded() {
    let options = RespOptions {
        keys_per_command: 3,
        keys_searched: 2,
        lcs_cells: 9,
        transaction_cost: 5,
        ..RespOptions::default()
    };
    let mut bench = Bench::new(options);
    let mut client = bench.connect(0, 0);
    client.0.env.limits.request_bytes = 100;
    let mut is = |line: &str, expected: &str| {
        let reply = bench.ask(&mut client, line);
        assert!(reply.starts_with(expected), "{line}: {reply}");
    };
    is("mset a 123 b 456 c 789", "+OK");
    is("mget a b c", "*3");
    is("mget a b c d", "-ERR too many keys");
    is("keys *", "*3");
    is("keys a", "*1");
    is("lcs a b", "$0");
    is("append a 4", ":4");
    is("lcs a b", "-ERR the strings are too long for LCS");
    is("setrange a 100 x", "-ERR string exceeds maximum allowed size (--max-request, 100 bytes)");
    is("setrange a 98 xy", ":100");
    is("append a x", "-ERR string exceeds");
    is("mget a b", "-ERR the values together exceed 100 bytes");
    is("watch a b c", "+OK");
    is("watch a", "-ERR too many watched keys");
    is("multi", "+OK");
    is("get a", "+QUEUED");
    is("lcs a b", "-ERR the transaction is too long");
    is("exec", "-EXECABORT");
    is("multi", "+OK");
    is("client list", "-ERR the transaction is too long");
    is("exec", "-EXECABORT");
    let reply = bench.ask(&mut client, "multi\nget a\nget a\nexec\nget c");
    let refusal =
        "-EXECABORT Transaction discarded because of: the replies together may exceed 100 bytes\r\n$3\r\n789\r\n";
    assert!(reply.ends_with(refusal), "{reply}");
}

/// The most arguments that are taken, of one byte each, sent in pieces as sockets do. They are read, and then it depends on
/// the command; the connection goes on.
#[test]
fn a_million_arguments_are_refused_in_the_commands_own_words() {
    const ARGUMENTS: usize = 1 << 20;
    let (mut bench, mut client) = bench();
    for (name, reply) in [
        ("MSET", "-ERR too many keys in one command: at most 16384 are served\r\n"),
        ("MGET", "-ERR too many keys in one command: at most 16384 are served\r\n"),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command\r\n"),
        ("CONFIG", "-ERR unknown subcommand 'k'. Try CONFIG HELP.\r\n"),
        ("SET", "-ERR too many arguments: at most 128 are served\r\n"),
        ("quux", "-ERR unknown command 'quux', with args beginning with: 'k' "),
    ] {
        let head = format!("*{ARGUMENTS}\r\n${}\r\n{name}\r\n", name.len());
        let request = [head.as_bytes(), &b"$1\r\nk\r\n".repeat(ARGUMENTS - 1)].concat();
        let (peer, session) = &mut client;
        let (mut received, mut most) = (0, 0);
        while received < request.len() {
            received = request.len().min(received + (64 << 10));
            let exchange = &mut peer.exchange(bench.now);
            let used = bench.protocol.serve(session, &mut bench.store, &request[..received], exchange).used();
            assert_eq!(used, if received == request.len() { received } else { 0 });
            most = most.max(session.memory());
        }
        assert!(most > 7 * ARGUMENTS && session.memory() == 0, "what is kept of it counts: {most}");
        let said = String::from_utf8_lossy(&peer.take_replies()).into_owned();
        assert!(said.starts_with(reply) && said.len() < 1000, "{said}");
    }
    assert_eq!(bench.ask(&mut client, "ping"), "+PONG\r\n");
}

#[test]
fn patterns_and_argument_lists_are_bounded() {
    let (mut bench, mut client) = bench();
    let mut is = |line: &str, expected: &str| {
        let reply = bench.ask(&mut client, line);
        assert!(reply.starts_with(expected), "{reply}");
    };
    is(&format!("scan 0 match {}", "x".repeat(257)), "-ERR the pattern is longer than 256 bytes");
    is(&format!("config get {}", "x ".repeat(127)), "-ERR too many arguments");
    is(&format!("config get {}", "x ".repeat(126)), "*0");
    let long = "y".repeat(65_000);
    for _ in 0..16 {
        is(&format!("watch {long}"), "+OK");
    }
    is(&format!("watch {long}"), "-ERR too many watched keys");
    assert_eq!(bench.ask(&mut client, "unwatch\nwatch x"), "+OK\r\n+OK\r\n");
}

#[test]
fn long_keys_end_a_scan_step_early_and_none_is_lost() {
    let (mut bench, mut client) = bench();
    let long = "k".repeat(60_000);
    for index in 0..100 {
        bench.store.set(format!("{index}{long}").as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let reply = bench.ask(&mut client, "scan 0 match nothing count 10000");
    assert!(!reply.starts_with("*2\r\n$1\r\n0\r\n"), "long keys that are not wanted take time too: {reply}");
    bench.ask(&mut client, "flushall");
    client.0.env.limits.output_bytes = 10_000;
    for index in 0..5000 {
        let key = format!("{index:0200}");
        bench.store.set(key.as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let (mut cursor, mut keys, mut steps) = (String::from("0"), std::collections::HashSet::new(), 0);
    loop {
        let reply = bench.ask(&mut client, &format!("scan {cursor} count 10000"));
        let mut bulks = reply.lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
        cursor = bulks.next().expect("a cursor").to_owned();
        keys.extend(bulks.map(str::to_owned));
        steps += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(keys.len(), 5000);
    assert!(steps > 5, "{steps}");
}

#[test]
fn a_watched_key_that_expires_aborts_the_transaction() {
    let (mut bench, mut client) = bench();
    bench.ask(&mut client, "set k v px 50\nwatch k\nmulti\nget k");
    bench.now.unix_ms += 50;
    assert_eq!(bench.ask(&mut client, "exec"), "*-1\r\n");
    bench.ask(&mut client, "watch k\nmulti\nping");
    assert_eq!(bench.ask(&mut client, "exec"), "*1\r\n+PONG\r\n");
}

#[test]
fn clients_see_and_close_each_other() {
    let (mut bench, mut one) = bench();
    let mut two = bench.connect(1, 1);
    bench.ask(&mut two, "client setname worker\nclient setinfo lib-name lib\nhello 3");
    bench.now.unix_ms += 3500;
    let list = bench.ask(&mut one, "client list");
    let line = list.lines().find(|line| line.starts_with("id=2 ")).expect("listed");
    for part in ["addr=127.0.0.1:40001", "name=worker", "age=3", "cmd=hello", "user=default", "resp=3", "lib-name=lib"]
    {
        assert!(line.split(' ').any(|field| field == part), "{part} in {line}");
    }
    assert_eq!(bench.ask(&mut one, "client kill id 2 skipme yes"), ":1\r\n");
    assert_eq!(one.0.take_disconnects(), [(two.0.info.id, Disconnect::Killed)]);
    assert_eq!(bench.ask(&mut one, "client kill laddr 127.0.0.1:6380"), ":1\r\n");
    assert_eq!(bench.ask(&mut one, "client kill laddr 127.0.0.1:6381"), ":0\r\n");
    assert_eq!(bench.ask(&mut one, "client kill 127.0.0.1:9"), "-ERR No such client\r\n");
    assert_eq!(bench.ask(&mut one, "client kill type normal"), ":1\r\n");
    bench.protocol.close(two.1, &mut bench.store, &two.0.info);
    assert_eq!(bench.ask(&mut one, "client kill id 2"), ":0\r\n");
    let (reply, ending) = bench.send(&mut one, b"client kill 127.0.0.1:40000\r\n");
    assert_eq!((reply.as_slice(), ending), (&b"+OK\r\n"[..], Some(Disconnect::Killed)));
}

#[test]
fn a_closed_connection_watches_nothing() {
    let (mut bench, mut client) = bench();
    bench.ask(&mut client, "watch k k j");
    assert_ne!(bench.store.version(b"k"), 0);
    bench.protocol.close(client.1, &mut bench.store, &client.0.info);
    assert_eq!((bench.store.version(b"k"), bench.store.version(b"j")), (0, 0));
}

#[test]
fn configuration_is_reported_and_hardly_changed() {
    let (mut bench, mut client) = bench();
    let mut is = |line: &str, expected: &str| assert_eq!(bench.ask(&mut client, line), expected, "{line}");
    is("config get save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    is("config get APPEND*", "*4\r\n$11\r\nappendfsync\r\n$2\r\nno\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    is("config get nothing", "*0\r\n");
    is("config set save \"\" appendonly no", "+OK\r\n");
    is("config set proto-max-bulk-len 1mb", "+OK\r\n");
    is("config get proto-max-bulk-len", "*2\r\n$18\r\nproto-max-bulk-len\r\n$7\r\n1048576\r\n");
    is(
        "config set databases 16",
        "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config\r\n",
    );
    is("config set nothing 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'\r\n");
    is(
        "debug sleep 1",
        "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.\r\n",
    );
}

#[test]
fn info_is_reported_by_section() {
    let (mut bench, mut client) = bench();
    let all = bench.ask(&mut client, "set k v ex 100\nget k\nget j\ninfo everything");
    for field in [
        "redis_version:7.2.0",
        "connected_clients:1",
        "keyspace_hits:1",
        "keyspace_misses:1",
        "cmdstat_get:calls=2,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
        "db0:keys=1,expires=1,avg_ttl=0",
    ] {
        assert!(all.contains(&format!("{field}\r\n")), "{field} in {all}");
    }
    let one = bench.ask(&mut client, "info clients");
    assert!(one.contains("# Clients\r\n") && !one.contains("# Server"), "{one}");
    bench.ask(&mut client, "hello 3");
    assert!(bench.ask(&mut client, "info keyspace").starts_with('='));
}

#[test]
fn a_refused_client_reads_why() {
    let (mut bench, _) = bench();
    let mut reply = Vec::new();
    bench.protocol.refuse(0, Disconnect::Refused, &mut reply);
    assert_eq!(reply, b"-ERR max number of clients reached\r\n");
    reply.clear();
    bench.protocol.refuse(0, Disconnect::Denied, &mut reply);
    assert!(matches!(Reply::decode(&reply), Ok(Some((Reply::Error(text), _))) if text.starts_with(b"NOPERM ")));
}

#[test]
fn full_memory_refuses_writes_and_serves_reads() {
    let (mut bench, mut client) = bench();
    bench.ask(&mut client, "set k v");
    bench.store = Store::new(StoreOptions { max_memory: Some(1), ..StoreOptions::default() });
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(bench.ask(&mut client, "set k vv\nget k"), format!("{oom}$-1\r\n"));
}

#[test]
fn denied_commands_are_counted_and_change_nothing() {
    let (mut bench, mut client) = bench();
    bench.ask(&mut client, "mset a:1 1 b:1 1");
    client.0.info.access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read', 'write']\nprefix='a:'");
    let denied = "-NOPERM No permissions to access a key\r\n";
    assert_eq!(bench.ask(&mut client, "incr a:1"), ":2\r\n");
    assert_eq!(bench.ask(&mut client, "mset a:1 9 b:1 9"), denied);
    assert_eq!(bench.ask(&mut client, "rename b:1 a:1"), denied);
    assert_eq!(bench.ask(&mut client, "dbsize"), ":1\r\n");
    assert_eq!(client.0.env.metrics.denials, 2);
    client.0.info.access = Access::Everything;
    assert_eq!(bench.ask(&mut client, "mget a:1 b:1"), "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
}

#[test]
fn searches_within_a_transaction_are_bounded() {
    let mut bench = Bench::new(RespOptions { keys_searched: 10, ..RespOptions::default() });
    let mut client = bench.connect(0, 0);
    for key in 0..11 {
        bench.ask(&mut client, &format!("set b:{key} 1"));
    }
    bench.ask(&mut client, "multi\nkeys *\ndbsize");
    let replies = bench.ask(&mut client, "exec");
    assert!(replies.contains("-ERR KEYS within a transaction is refused beyond 10 keys"), "{replies}");
    assert!(replies.ends_with(":11\r\n"), "nobody who sees all keys is bounded: {replies}");
    client.0.info.access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read', 'write']\nprefix='a:'");
    for command in ["dbsize", "randomkey", "keys *"] {
        bench.ask(&mut client, &format!("multi\n{command}"));
        assert!(bench.ask(&mut client, "exec").contains("is refused beyond 10 keys"), "{command}");
    }
    bench.ask(&mut client, "multi");
    let replies = bench.ask(&mut client, &"dbsize\n".repeat(20));
    assert!(replies.contains("the transaction is too long"), "{replies}");
    client.0.info.access = Access::Everything;
    bench.ask(&mut client, "discard");
    bench.ask(&mut client, &format!("del b:1\nset {} 1\nmulti\nkeys *", "long".repeat(1000)));
    let replies = bench.ask(&mut client, "exec");
    assert!(replies.contains("is refused beyond 10 keys of ordinary length"), "{replies}");
}

/// Searches of a few keys a step: what takes many turns at ten million keys does so here.
fn bench_of_small_steps() -> (Bench, (TestPeer, RespSession)) {
    let mut bench = Bench::new(RespOptions { keys_per_step: 1, ..RespOptions::default() });
    let client = bench.connect(0, 0);
    for number in 0..5000 {
        let key = format!("{}:{number}", if number % 5 == 0 { "a" } else { "b" });
        bench.store.set(key.as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    (bench, client)
}

/// Serves one inline command and leaves what it defers to the caller.
fn begin(bench: &mut Bench, (peer, session): &mut (TestPeer, RespSession), line: &str) {
    let used = bench.protocol.serve(session, &mut bench.store, line.as_bytes(), &mut peer.exchange(bench.now));
    assert_eq!(used, Served::Used(line.len()));
}

#[test]
fn a_long_search_takes_many_turns_and_visits_every_key_once() {
    let (mut bench, mut client) = bench_of_small_steps();
    begin(&mut bench, &mut client, "keys a:*\n");
    let mut turns = 0;
    while client.0.is_alone() {
        assert!(client.0.take_replies().is_empty());
        bench.tick();
        // Others write meanwhile: the table grows and shrinks under the scan.
        for number in 0..200 {
            let key = format!("c:{turns}:{number}");
            bench.store.set(key.as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
            bench.store.remove(format!("b:{}", turns * 200 + number).as_bytes(), bench.now);
        }
        turns += 1;
    }
    assert!(turns > 5, "{turns}");
    let Ok(Some((Reply::Array(keys), _))) = Reply::decode(&client.0.take_replies()) else { panic!("no array") };
    let unique: std::collections::HashSet<_> = keys.iter().map(|key| format!("{key:?}")).collect();
    assert_eq!((keys.len(), unique.len()), (1000, 1000));
    assert_eq!(bench.tick(), None, "nothing is left to do");
}

#[test]
fn steps_count_segments_of_expired_keys() {
    let (mut bench, mut client) = bench_of_small_steps();
    bench.store.clear();
    for number in 0..50_000_u32 {
        let (key, expiry) = (number.to_be_bytes(), Expiry::At(bench.now.unix_ms + 1));
        bench.store.set(&key, Kind::Bytes, b"", expiry, bench.now).expect("room");
    }
    bench.now.unix_ms += 10;
    begin(&mut bench, &mut client, "keys *\n");
    let mut turns = 0;
    while client.0.is_alone() {
        bench.tick();
        turns += 1;
    }
    assert!(turns > 50, "{turns}");
    assert_eq!(client.0.take_replies(), b"*0\r\n");
    let reply = bench.ask(&mut client, "scan 0");
    assert!(reply.starts_with("*2\r\n") && !reply.starts_with("*2\r\n$1\r\n0\r\n"), "{reply}");
}

#[test]
fn searches_are_answered_in_order_and_end_with_their_clients() {
    let (mut bench, mut one) = bench_of_small_steps();
    let (mut two, mut three) = (bench.connect(1, 1), bench.connect(2, 2));
    three.0.info.access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read']\nprefix='a:'");
    begin(&mut bench, &mut one, "keys *\n");
    begin(&mut bench, &mut two, "keys nothing*\n");
    begin(&mut bench, &mut three, "dbsize\n");
    bench.tick();
    bench.protocol.close(one.1, &mut bench.store, &one.0.info);
    bench.finish(&mut three.0);
    assert_eq!(three.0.take_replies(), b":1000\r\n");
    assert!(!two.0.is_alone());
    assert_eq!(two.0.take_replies(), b"*0\r\n");
    assert!(bench.ask(&mut three, "randomkey").contains("a:"));
}

#[test]
fn a_search_with_too_long_a_reply_is_refused() {
    let (mut bench, mut client) = bench_of_small_steps();
    client.0.env.limits.request_bytes = 20_000;
    let refusal = "-ERR the reply exceeds 20000 bytes: use SCAN\r\n";
    assert_eq!(bench.ask(&mut client, "keys *"), refusal);
    assert!(bench.ask(&mut client, "keys a:*").starts_with("*1000\r\n"));
}

#[test]
fn any_number_of_clients_is_listed_in_steps() {
    let (mut bench, mut client) = bench();
    let others: Vec<_> = (1..1200).map(|key| bench.connect(key, key)).collect();
    begin(&mut bench, &mut client, "client list\n");
    assert!(client.0.is_alone());
    bench.finish(&mut client.0);
    let list = String::from_utf8_lossy(&client.0.take_replies()).into_owned();
    assert_eq!(list.matches(" laddr=").count(), 1 + others.len());
    client.0.env.limits.request_bytes = 100_000;
    let refusal = "-ERR the reply exceeds 100000 bytes: name some by ID\r\n";
    assert_eq!(bench.ask(&mut client, "client list"), refusal);
}
