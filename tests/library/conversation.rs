//! Whole conversations on the simulated network: whatever a client says and however it is cut into pieces.

mod property;

use property::{Line, conversation};
use proptest::prelude::*;

/// What clients say, and beginnings and middles of it.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
            "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
            "incr n\r\n",
            "multi\r\nset a 1\r\nget a\r\nexec\r\n",
            "hello 3\r\n",
            "keys *\r\n",
            "setrange long 900 x\r\nget long\r\nget long\r\nget long\r\n",
            "quit\r\n",
            "*1\r\n$9999\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: 86\r\nExpect: 100-continue\r\n\r\n",
            "<methodCall><methodName>keys</methodName><params>                </params></methodCall>",
            "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "\u{16}\u{3}\u{1}\0\u{5}\u{1}\0\0\u{1}\0",
            "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        (0_usize..5_000).prop_map(|length| vec![b'x'; length]),
    ]
}

fn any_pieces_on(line: Line, cases: u32) {
    let said = (any::<u8>(), prop::collection::vec(piece(), 0..6));
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    proptest!(ProptestConfig::with_cases(cases), |((how, pieces) in said, cuts in cuts)| {
        let input = [vec![how], pieces.concat()].concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.sort_unstable();
        conversation(line, &input, &cuts);
    });
}

#[test]
fn in_plain_any_pieces_are_one_conversation() {
    any_pieces_on(Line::Plain, 300);
}

#[test]
fn encrypted_any_pieces_are_one_conversation() {
    any_pieces_on(Line::Tls, 60);
}

#[test]
fn bytes_that_are_not_tls_are_answered_alike_in_any_pieces() {
    any_pieces_on(Line::Raw, 300);
}

#[test]
fn nonsense_behind_a_record_is_judged_as_tls_in_pieces_too() {
    // A warning that TLS passes over, and then what is no record.
    let said = b"\x07\x15\x03\x03\0\x02\x01\xffPING\r\nPING\r\n";
    for cut in 1..said.len() {
        conversation(Line::Raw, said, &[cut]);
    }
}
