//! Arrays and structs, which only XML-RPC stores, as RESP serves them.

use super::*;

/// Writing one as text takes many times as long as copying its bytes.
#[test]
fn arrays_and_structs_of_one_request_are_bounded() {
    let (mut bench, mut client) = bench();
    let megabyte = Value::Array(vec![Value::String("x".repeat(10_000)); 100]);
    bench.store.set_value(b"one", megabyte, bench.now).expect("room");
    bench
        .store
        .set_value(b"ten", Value::Array(vec![Value::String("x".repeat(10_000)); 1000]), bench.now)
        .expect("room");
    let eight = bench.ask(&mut client, &format!("mget{} missing", " one".repeat(8)));
    assert!(eight.starts_with("*9\r\n$1000301\r\n[\"xxx"), "{}", &eight[..30]);
    let refusal = "-ERR the arrays and structs together take too long to write as text: ask for fewer at once\r\n";
    assert_eq!(bench.ask(&mut client, &format!("mget missing{}", " one".repeat(9))), refusal);
    // A value that can be set can be read.
    assert!(bench.ask(&mut client, "mget missing ten").starts_with("*2\r\n$-1\r\n$10003001\r\n"));
    assert_eq!(bench.ask(&mut client, "mget ten one"), refusal);
}
