//! Requests that say one thing and mean another.

use std::io::{Read, Write};
use std::net::Shutdown;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::attack::{Attack, scale};

/// What comes back to `request` when nothing follows it.
fn answer(address: &str, request: &[u8]) -> String {
    let mut stream = Attack::plain(address);
    // The server may have had enough before the end.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut words = Vec::new();
    let _ = stream.read_to_end(&mut words);
    String::from_utf8_lossy(&words).into_owned()
}

fn post(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn zipped(byte: u8, count: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let piece = vec![byte; 1 << 20];
    for _ in 0..count >> 20 {
        encoder.write_all(&piece).expect("memory");
    }
    encoder.finish().expect("memory")
}

#[test]
fn bombs_do_not_go_off() {
    let attack = Attack::begin("bombs", &["--max-request", "1m"]);
    let gzip = post("Content-Encoding: gzip\r\n", &zipped(b' ', 512 << 20));
    let entity = |level: usize| format!("<!ENTITY l{level} \"{}\">", format!("&l{};", level - 1).repeat(10));
    let entities = (1..10).map(entity).collect::<Vec<_>>().concat();
    let laughs = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY l0 \"ha\">{entities}]><methodCall><methodName>&l9;</methodName></methodCall>"
    );
    let outside = "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>\
        <methodCall><methodName>get</methodName><params><param><value>&e;</value></param></params></methodCall>";
    let deep = format!(
        "<methodCall><methodName>get</methodName><params><param>{}",
        "<value><array><data>".repeat(100_000 / 3)
    );
    let deep_to_the_end =
        format!("{deep}{}</param></params></methodCall>", "</data></array></value>".repeat(100_000 / 3));
    let elements = format!("<methodCall>{}", "<a>".repeat(100_000));
    let many = format!("<methodCall><methodName>get</methodName><params>{}", "<param><value/></param>".repeat(40_000));
    for _ in 0..2 * scale() {
        let words = answer(&attack.xmlrpc, &gzip);
        assert!(words.starts_with("HTTP/1.1 413 "), "{words}");
        for (name, document) in [
            ("laughs", laughs.as_str()),
            ("outside", outside),
            ("deep", &deep),
            ("elements", &elements),
            ("many", &many),
        ] {
            let words = answer(&attack.xmlrpc, &post("", document.as_bytes()));
            assert!(words.contains("<fault>") && !words.contains("root:"), "{name}: {words}");
        }
        let words = answer(&attack.xmlrpc, &post("", deep_to_the_end.as_bytes()));
        assert!(words.contains("<fault>") || words.starts_with("HTTP/1.1 413 "), "{words}");
    }
    // Sizes that are promised and never come, and such as no machine has.
    for words in ["*1000000000\r\n", "$99999999999999999999\r\n", "*1\r\n$1000000000\r\nx", "*-5\r\n*0\r\n\r\n"] {
        answer(&attack.resp, words.as_bytes());
    }
    attack.end(2 << 20);
}

#[test]
fn no_request_hides_in_another() {
    let attack = Attack::begin("smuggling", &[]);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ambiguous = [
        ("both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("both lengths, turned", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
        ("a list of lengths", "Content-Length: 0, 44\r\n\r\n"),
        ("a length with a sign", "Content-Length: +0\r\n\r\n"),
        ("a negative length", "Content-Length: -1\r\n\r\n"),
        ("a length in hexadecimal", "Content-Length: 0x0\r\n\r\n"),
        ("a length with an underscore", "Content-Length: 1_0\r\n\r\n"),
        ("space before the colon", "Content-Length : 0\r\n\r\n"),
        ("space before the name", " Content-Length: 0\r\n\r\n"),
        ("a folded line", "X: y\r\n Content-Length: 0\r\n\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunked is not the last", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a vertical tab in the coding", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        ("a bare CR in a field", "X: a\rContent-Length: 0\r\n\r\n"),
        ("a NUL in a field", "X: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("a chunk size with a sign", "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n"),
        ("a chunk size beyond 64 bits", "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n"),
        ("a chunk without its end", "Transfer-Encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n"),
        ("two hosts", "Host: elsewhere\r\nContent-Length: 0\r\n\r\n"),
        ("no length", "\r\n"),
    ];
    for (name, rest) in ambiguous {
        let words = answer(&attack.xmlrpc, format!("POST / HTTP/1.1\r\nHost: localhost\r\n{rest}{hidden}").as_bytes());
        let statuses: Vec<_> = words.match_indices("HTTP/1.1 ").map(|(at, _)| &words[at + 9..at + 12]).collect();
        assert!(matches!(statuses.as_slice(), [only] if only.starts_with('4') || *only == "501"), "{name}: {words}");
    }
    // An HTTP request on the other protocol's port, as a browser would be made to send it.
    let words = answer(&attack.resp, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET hidden 1\r\nGET hidden\r\n");
    assert_eq!(words, "");
    attack.server.logged("reason=\"malformed\"");
    attack.end(0);
}

#[test]
fn nothing_that_clients_send_is_logged() {
    let attack = Attack::begin("secrets", &["--log-level", "debug", "--max-request", "1k"]);
    let large = format!("SET secret-key {}\r\n", "secret-value".repeat(200));
    for words in [
        "SET secret-key secret-value\r\nGET secret-key\r\n",
        "*1\r\nsecret-value\r\n",
        "secret-command secret-value\r\n",
        "SET secret-key secret-val",
        &large,
        "GET /secret-path HTTP/1.1\r\n",
    ] {
        answer(&attack.resp, words.as_bytes());
        answer(&attack.destination.resp, words.as_bytes());
        answer(&attack.xmlrpc, words.as_bytes());
        answer(&attack.xmlrpc, &post("Secret-Field: secret-value\r\n", words.as_bytes()));
    }
    let log = attack.end(0).log().join("\n");
    assert!(log.contains("connection closed"), "the log is lost: {log}");
    assert!(!log.to_lowercase().contains("secret"), "{log}");
}
