//! The cost of a transaction is bounded, and it is executed as a whole or not at all.

use super::*;
use crate::protocol::resp::encode_command;
use crate::services::resp::call::Call;
use crate::services::resp::call::budget::Sum;
use crate::services::resp::differential::commands::Dice;
use crate::services::resp::tests::disk::attach_disk;
use crate::store::Eviction;

/// `MULTI`, the command `count` times, `EXEC`.
fn transaction<A: AsRef<[u8]>>(commands: &[Vec<A>]) -> Vec<u8> {
    let mut input = b"MULTI\r\n".to_vec();
    for command in commands {
        encode_command(&mut input, command);
    }
    input.extend_from_slice(b"EXEC\r\n");
    input
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The reply to the `EXEC` of so many of a command.
fn executed(bench: &mut Bench, client: &mut (TestPeer, RespSession), line: &str, count: usize) -> String {
    let (reply, ending) = bench.send(client, &transaction(&vec![words(line); count]));
    assert_eq!(ending, None, "{line}");
    let replies = String::from_utf8_lossy(&reply).into_owned();
    replies.rsplit_once("+QUEUED\r\n").map_or(replies.clone(), |(_, last)| last.to_owned())
}

#[test]
fn a_transaction_that_would_take_long_does_nothing() {
    let (mut bench, mut client) = bench();
    let large = vec![b'x'; 10 << 20];
    bench.store.set(b"large", Kind::Bytes, &large, Expiry::Never, bench.now).expect("room");
    for number in 0..50_000 {
        bench.store.set(format!("key:{number}").as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let members = (0..200_000).map(|number| (format!("m{number}"), Value::Int(1))).collect();
    bench.store.set_value(b"struct", Value::Struct(members), bench.now).expect("room");
    let patterns = " *a*b*c*d*e*f*g*h".repeat(126);
    for (line, few, many) in [
        ("get large", 5, 4000),
        ("append large x", 1000, 10_000),
        ("setrange new 9000000 x", 1, 10_000),
        ("getrange large 0 999999", 20, 1000),
        ("copy large copied replace", 3, 12),
        ("getset large x", 10, 13_000),
        ("strlen struct", 1, 50),
        ("command", 10, 30_000),
        ("info all", 10, 30_000),
        ("scan 0 count 10000 match zz*", 5, 5000),
        ("client list", 1, 20),
        ("keys zz*", 1, 15),
        (&format!("config get{patterns}"), 10, 500),
    ] {
        let fits = executed(&mut bench, &mut client, line, few);
        assert!(fits.starts_with(&format!("*{few}\r\n")), "{line}: {}", &fits[..fits.len().min(200)]);
        bench.store.set(b"large", Kind::Bytes, &large, Expiry::Never, bench.now).expect("room");
        let is_light = line.starts_with("getset") || line.starts_with("append") || line.starts_with("setrange");
        let refused = executed(&mut bench, &mut client, line, many);
        let is_refused = refused.starts_with("-EXECABORT") || refused.contains("transaction is too long");
        assert_eq!(is_refused, !is_light, "{line}: {}", &refused[..refused.len().min(200)]);
        bench.store.set(b"large", Kind::Bytes, &large, Expiry::Never, bench.now).expect("room");
    }
    assert_eq!(
        bench
            .ask(
                &mut client,
                "multi\nset a 1\nget large\nget large\nget large\nget large\nget large\nget large\nget \
         large\nexec\nget a"
            )
            .lines()
            .last(),
        Some("$-1"),
        "nothing of it was done"
    );
}

#[test]
fn the_forecast_counts_costs_that_no_argument_shows() {
    let (mut bench, mut client) = bench();
    let mut judge = |bench: &mut Bench, line: &str, few: usize, many: usize| {
        let fits = executed(bench, &mut client, line, few);
        assert!(fits.starts_with(&format!("*{few}\r\n")), "{line}: {}", &fits[..fits.len().min(200)]);
        let refused = executed(bench, &mut client, line, many);
        assert!(refused.starts_with("-EXECABORT"), "{line}: {}", &refused[..refused.len().min(200)]);
    };
    judge(&mut bench, "object help", 100, 10_000);
    judge(&mut bench, "client info", 100, 30_000);
    judge(&mut bench, "incrbyfloat n 1e308", 1, 10_000);
    // A key is as long as 64 KiB, and any number of copies of it could be asked for.
    bench.store.set(&vec![b'k'; 65_534], Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    judge(&mut bench, "randomkey", 100, 2000);
    // Keys that have expired and are not removed yet are passed over, each time again.
    bench.store.clear();
    for number in 0..20_000 {
        let expiry = Expiry::At(bench.now.unix_ms + 1);
        bench.store.set(format!("key:{number}").as_bytes(), Kind::Bytes, b"", expiry, bench.now).expect("room");
    }
    bench.now.unix_ms += 1;
    judge(&mut bench, "randomkey", 100, 2000);
}

/// Finding a key in a large table waits for memory, some hundred times as long as reading its name.
#[test]
fn keys_of_a_large_table_cost_a_transaction_more() {
    let (mut bench, mut client) = bench();
    let names = |first: usize, count: usize| (first..first + count).map(|number| format!("key:{number}"));
    let removal = |first| [vec!["del".to_owned()], names(first, 16_000).collect()].concat();
    let removals: Vec<_> = (0..4).map(|part| removal(part * 16_000)).collect();
    let mut refused = |bench: &mut Bench, commands: &[Vec<String>]| {
        let (reply, _) = bench.send(&mut client, &transaction(commands));
        String::from_utf8_lossy(&reply).contains("-EXECABORT")
    };
    assert!(!refused(&mut bench, &removals), "in an empty table nothing is waited for");
    for key in names(0, 64_000) {
        bench.store.set(key.as_bytes(), Kind::Bytes, &[b'v'; 16], Expiry::Never, bench.now).expect("room");
    }
    assert!(bench.store.outgrows_caches());
    for (name, keys, count) in [("del", 16_000, 2), ("mget", 16_000, 2), ("exists", 16_000, 2), ("rename", 2, 11_000)] {
        let command = [vec![name.to_owned()], names(0, keys).collect()].concat();
        assert!(refused(&mut bench, &vec![command; count]), "{name}");
    }
    assert_eq!(bench.store.len(), 64_000, "nothing of it was done");
    // One transaction may name as many keys as one command.
    let most = bench.protocol.core.options.keys_per_command;
    let pairs = names(0, most).flat_map(|key| [key, "w".to_owned()]);
    assert!(!refused(&mut bench, &[[vec!["mset".to_owned()], pairs.collect()].concat()]));
    assert!(!refused(&mut bench, &[[vec!["del".to_owned()], names(0, most).collect()].concat()]));
    assert_eq!(bench.store.len(), 64_000 - most);
}

/// A key that is changed in place is looked up once more at the end of the turn, to be written to disk.
#[test]
fn changes_of_a_large_table_that_go_to_disk_cost_a_transaction_more() {
    for is_durable in [false, true] {
        let (mut bench, mut client) = bench();
        let _disk = is_durable.then(|| attach_disk(&mut bench));
        for number in 0..30_000 {
            let key = format!("key:{number}");
            bench.store.set(key.as_bytes(), Kind::Bytes, &[b'v'; 16], Expiry::Never, bench.now).expect("room");
        }
        assert!(bench.store.outgrows_caches());
        for line in ["append key:1 w", "expire key:1 1000", "getex key:2 persist", "rename key:1 key:1"] {
            let reply = executed(&mut bench, &mut client, line, 10_500);
            assert_eq!(reply.starts_with("-EXECABORT"), is_durable, "{line}: {}", &reply[..reply.len().min(100)]);
        }
    }
}

#[test]
fn with_full_memory_a_transaction_is_executed_whole_or_not_at_all() {
    let (mut bench, mut client) = bench();
    bench.store = Store::new(StoreOptions { max_memory: Some(1 << 20), ..StoreOptions::default() });
    bench.ask(&mut client, "set old v");
    let mut number = 0;
    let mut fill = |bench: &mut Bench, client: &mut _, length: usize| {
        while bench.ask(client, &format!("set f{number} {}", "x".repeat(length))) == "+OK\r\n" {
            number += 1;
        }
    };
    fill(&mut bench, &mut client, 10_000);
    fill(&mut bench, &mut client, 50);
    let oom = "OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let replies = bench.ask(&mut client, &format!("multi\nset new {}\ndel old\nexec\nget old", "x".repeat(5000)));
    let expected =
        format!("+OK\r\n-{oom}+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n$1\r\nv\r\n");
    assert_eq!(replies, expected, "refused when it is queued");
    // What is known only when all is put together is refused as a whole, and so is what has become too much meanwhile.
    bench.ask(&mut client, "del f0");
    let some = "x".repeat(4000);
    let replies = bench
        .ask(&mut client, &format!("multi\nset a {some}\nset b {some}\nset c {some}\ndel old\nexec\nexists old a b c"));
    assert!(replies.ends_with(&format!("-EXECABORT Transaction discarded because of: {oom}:1\r\n")), "{replies}");
    bench.ask(&mut client, &format!("multi\nset a {some}\ndel old"));
    bench.store.set_client_memory(100_000);
    let replies = bench.ask(&mut client, "exec\nexists old a");
    assert_eq!(replies, format!("-EXECABORT Transaction discarded because of: {oom}:1\r\n"));
    bench.store.set_client_memory(0);
    // A transaction that frees the room that it needs is executed.
    let replies = bench.ask(&mut client, &format!("multi\ndel f1\nset a {some}\nset b {some}\nexec\nexists a b f1"));
    assert!(replies.ends_with("*3\r\n:1\r\n+OK\r\n+OK\r\n:2\r\n"), "{replies}");
    // Outside of a transaction the limit holds as before.
    fill(&mut bench, &mut client, 50);
    assert_eq!(bench.ask(&mut client, &format!("set new {some}")), format!("-{oom}"));
}

#[test]
fn eviction_happens_before_a_transaction_begins() {
    let (mut bench, mut client) = bench();
    let (max_memory, eviction) = (Some(1 << 20), Eviction::AllKeys);
    bench.store = Store::new(StoreOptions { max_memory, eviction, ..StoreOptions::default() });
    for number in 0..200 {
        assert_eq!(bench.ask(&mut client, &format!("set f{number} {}", "x".repeat(10_000))), "+OK\r\n");
    }
    let sets: Vec<_> =
        (0..50).map(|number| vec![b"set".to_vec(), format!("n{number}").into(), vec![1; 10_000]]).collect();
    let (reply, _) = bench.send(&mut client, &transaction(&sets));
    assert!(reply.ends_with(&[&b"*50\r\n"[..], &b"+OK\r\n".repeat(50)].concat()));
    assert!(bench.store.table_memory() <= 1 << 20, "{}", bench.store.table_memory());
    assert_eq!((0..50).filter(|number| bench.store.contains(format!("n{number}").as_bytes(), bench.now)).count(), 50);
}

/// As in Redis, where room is made before `EXEC` looks at its watched keys.
#[test]
fn a_watched_key_evicted_by_its_own_transaction_aborts_it() {
    let (mut bench, mut client) = bench();
    let (max_memory, eviction) = (Some(1 << 20), Eviction::AllKeys);
    bench.store = Store::new(StoreOptions { max_memory, eviction, ..StoreOptions::default() });
    let value = "x".repeat(50_000);
    for number in 0..19 {
        assert_eq!(bench.ask(&mut client, &format!("set f{number} {value}")), "+OK\r\n");
    }
    let names = (0..19).map(|number| format!("f{number}")).collect::<Vec<_>>().join(" ");
    let watch = format!("watch {names}\nmulti");
    let replies = bench.ask(&mut client, &format!("{watch}\nset new v\nexec"));
    assert!(replies.ends_with("*1\r\n+OK\r\n"), "{replies}");
    let replies = bench.ask(&mut client, &format!("{watch}\nset a {value}\nset b {value}\nexec\nexists a b"));
    assert!(replies.ends_with("*-1\r\n:0\r\n"), "{replies}");
    // Nothing is left reserved: writes evict again.
    for number in 0..40 {
        bench.ask(&mut client, &format!("set g{number} {value}"));
    }
    assert!(bench.store.table_memory() <= 1 << 20, "{}", bench.store.table_memory());
}

/// Finding the keys of a transaction that is refused takes time too.
#[test]
fn a_forecast_ends_when_the_transaction_is_known_to_be_refused() {
    let (mut bench, mut client) = bench();
    for number in 0..30_000 {
        let key = format!("key:{number}");
        bench.store.set(key.as_bytes(), Kind::Bytes, &[b'v'; 16], Expiry::Never, bench.now).expect("room");
    }
    assert!(bench.store.outgrows_caches());
    let names = (0..16_000).map(|number| format!("key:{number}"));
    let removal = [vec!["del".to_owned()], names.collect()].concat();
    let input = transaction(&vec![removal; 4]);
    bench.send(&mut client, &input[..input.len() - b"EXEC\r\n".len()]);
    let work = foresee(&mut bench, &mut client).work;
    assert!((65_536..2 * 65_536).contains(&work), "{work}");
}

/// A value of another protocol.
fn put_typed(bench: &mut Bench, dice: &mut Dice) {
    let key = format!("k{}", dice.below(4));
    let value = match dice.below(3) {
        0 => Value::Array(vec![Value::Nil; dice.below(3000)]),
        1 => Value::String("text".repeat(dice.below(900))),
        _ => Value::Int(5),
    };
    bench.store.set_value(key.as_bytes(), value, bench.now).expect("room");
}

/// The estimated cost of the transaction of this client.
fn foresee(bench: &mut Bench, (peer, session): &mut (TestPeer, RespSession)) -> Sum {
    let mut exchange = peer.exchange(bench.now);
    let transaction = session.transaction.take().expect("it was begun");
    let (id, entry) = TABLE.find(b"exec").expect("a command");
    let (core, store, exchange) = (&mut bench.protocol.core, &mut bench.store, &mut exchange);
    let (mut decoder, mut arguments) = (crate::protocol::resp::Decoder::default(), Arguments::default());
    let request = decoder.decode(b"EXEC\r\n", &RequestLimits::new(100), &mut arguments);
    let (request, _) = request.expect("a request").expect("all of it");
    let (table, command) = (&TABLE, &entry.command);
    let mut call = Call { table, core, session, store, command, id, request, exchange, is_atomic: false };
    let sum = engine::transactions::foresee(&mut call, &transaction);
    session.transaction = Some(transaction);
    sum
}

/// Commands to queue, with places to fill: K a key, V a value, N a number that counts from the front or from the end.
const LINES: &[&str] = &[
    "set K V",
    "set K V NX",
    "set K V XX GET",
    "get K",
    "getset K V",
    "getdel K",
    "getex K PERSIST",
    "mget K K K",
    "append K V",
    "setrange K N V",
    "setrange K NNN V",
    "getrange K N -1",
    "getrange K -NN -N",
    "strlen K",
    "copy K K",
    "copy K K REPLACE",
    "rename K K",
    "renamenx K K",
    "del K",
    "incr K",
    "incrbyfloat K 1.5",
    "mset K V K V",
    "msetnx K V K V",
    "setnx K V",
    "expire K 100",
    "keys *",
    "scan 0",
    "randomkey",
    "object help",
    "client help",
    "client info",
    "echo V",
    "flushall",
    "command count",
    "info",
    "command info get set client",
    "config get *",
    "lcs K K",
    "client list",
    "type K",
    "setex K 100 V",
];

fn filled(line: &str, dice: &mut Dice) -> Vec<Vec<u8>> {
    let fill = |word: &str| match word {
        "K" => format!("k{}", dice.below(4)).into_bytes(),
        "V" => vec![b'v'; dice.below(3000)],
        "N" => dice.below(1000).to_string().into_bytes(),
        "NNN" => dice.below(200_000).to_string().into_bytes(),
        "-N" => format!("-{}", dice.below(10)).into_bytes(),
        "-NN" => format!("-{}", dice.below(9000)).into_bytes(),
        word => word.as_bytes().to_vec(),
    };
    line.split(' ').map(fill).collect()
}

/// `EXEC` replies no more and takes no more memory than its forecast, so that no queued command fails for want of either.
#[test]
fn no_transaction_costs_more_than_its_forecast() {
    let (mut bench, mut client) = bench();
    let mut dice = Dice(5);
    for round in 0..1500 {
        if round % 3 == 0 {
            put_typed(&mut bench, &mut dice);
        }
        let count = 1 + dice.below(12);
        let commands: Vec<_> = (0..count).map(|_| filled(dice.pick(LINES), &mut dice)).collect();
        let input = transaction(&commands);
        let (queueing, exec) = input.split_at(input.len() - b"EXEC\r\n".len());
        bench.send(&mut client, queueing);
        let foreseen = foresee(&mut bench, &mut client);
        let before = bench.store.table_memory();
        let (reply, ending) = bench.send(&mut client, exec);
        assert_eq!(ending, None);
        let shown = String::from_utf8_lossy(&input);
        // Heads, ends of lines and errors are the arguments' share.
        let framing = 200 * (count + 3);
        assert!(reply.len() <= foreseen.reply + framing, "round {round}: {} in {foreseen:?} for {shown}", reply.len());
        // Pages are begun whole.
        let grown = bench.store.table_memory().saturating_sub(before);
        assert!(grown <= foreseen.memory + (16 << 10), "round {round}: {grown} in {foreseen:?} for {shown}");
        bench.store.tick(bench.now);
    }
}
