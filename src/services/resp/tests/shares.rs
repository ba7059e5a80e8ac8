//! A request that takes long uses up its client's share of the turn, whether it is served or refused.

use super::*;
use crate::store::Eviction;

/// Whether the last of these lines leaves its client, a new one, no share of this turn.
fn uses_up_the_turn(bench: &mut Bench, lines: &str, expected: &str) -> bool {
    let mut client = bench.connect(0, 0);
    let reply = bench.ask(&mut client, lines);
    assert!(reply.contains(expected), "{}", &reply[..reply.len().min(200)]);
    client.0.served() >= client.0.env.limits.requests_per_turn
}

#[test]
fn a_heavy_command_uses_up_its_clients_share_of_the_turn() {
    let (mut bench, _) = bench();
    assert!(!uses_up_the_turn(&mut bench, "set a 1", "+OK"));
    assert!(uses_up_the_turn(&mut bench, "copy a b", ":1"));
}

#[test]
fn a_refused_mget_uses_up_its_clients_share_of_the_turn() {
    let (mut bench, _) = bench();
    let large = vec![b'x'; 40 << 20];
    bench.store.set(b"large", Kind::Bytes, &large, Expiry::Never, bench.now).expect("room");
    assert!(uses_up_the_turn(&mut bench, "mget large large", "-ERR the values together exceed"));
    let array = Value::Array(vec![Value::String("x".repeat(10_000)); 500]);
    bench.store.set_value(b"array", array, bench.now).expect("room");
    assert!(uses_up_the_turn(&mut bench, "mget array array", "-ERR the arrays and structs together"));
    assert!(!uses_up_the_turn(&mut bench, "mget a b c", "*3"));
}

#[test]
fn a_refused_transaction_uses_up_its_clients_share_of_the_turn() {
    let (mut bench, _) = bench();
    let large = vec![b'x'; 10 << 20];
    bench.store.set(b"large", Kind::Bytes, &large, Expiry::Never, bench.now).expect("room");
    let lines = format!("multi\n{}exec", "get large\n".repeat(10));
    assert!(uses_up_the_turn(&mut bench, &lines, "-EXECABORT"));
    assert!(!uses_up_the_turn(&mut bench, "multi\nget a\nexec", "*1"));
}

#[test]
fn long_keys_that_a_scan_matches_use_up_its_clients_share_of_the_turn() {
    let (mut bench, _) = bench();
    for index in 0..60 {
        let key = format!("{}{index}", "k".repeat(60_000));
        bench.store.set(key.as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    assert!(uses_up_the_turn(&mut bench, &format!("scan 0 match *{}", "?".repeat(200)), "*2"));
    bench.store.clear();
    bench.store.set(b"key", Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    assert!(!uses_up_the_turn(&mut bench, "scan 0 match *k*", "key"));
}

#[test]
fn evicting_many_keys_uses_up_its_clients_share_of_the_turn() {
    let (mut bench, _) = bench();
    let (max_memory, eviction) = (Some(1 << 20), Eviction::AllKeys);
    bench.store = Store::new(StoreOptions { max_memory, eviction, ..StoreOptions::default() });
    for number in 0..40_000 {
        bench.store.set(format!("{number}").as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    assert!(!uses_up_the_turn(&mut bench, "set a v", "+OK"));
    assert!(uses_up_the_turn(&mut bench, "setrange large 500000 v", ":500001"));
}
