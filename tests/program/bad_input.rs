//! Bytes that are wrong in every way: each is answered in its own protocol's terms, ends in one line of the log with a
//! typed reason that is counted, and costs a neighbour nothing.

mod hello;
mod stage;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use crate::common::{Server, run, tls};
use flate2::Compression;
use flate2::write::GzEncoder;
use hello::{alert, good_hello, hello, record, sealed};
use rustls::ClientConfig;
use stage::{ECHO, HTTP, PLAIN_HTTP, PLAIN_RESP, RESP, Stage, Then, case, hear, until};

#[test]
fn plain_text_on_a_tls_port_is_answered_in_its_own_protocol() {
    let mut stage = Stage::set(&[]);
    let http = "HTTP/1.1 400 Bad Request\r\n";
    let resp = "-ERR this port speaks TLS";
    for to in [ECHO, HTTP, RESP] {
        for (name, says, hears) in [
            ("GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", http),
            ("POST", "POST /RPC2 HTTP/1.0\r\nContent-Length: 0\r\n\r\n", http),
            ("HTTP/0.9", "GET /\r\n", http),
            ("HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http),
            ("RESP, inline", "PING\r\n", resp),
            ("RESP, inline GET", "GET spam\r\n", resp),
            ("RESP, an array", "*1\r\n$4\r\nPING\r\n", resp),
            ("an SSH client", "SSH-2.0-OpenSSH_9.2\r\n", resp),
            ("SSL 2", "\u{1}\u{2e}\u{1}\u{3}\u{1}\0\u{15}\0\0\0\u{10}", resp),
        ] {
            stage.play(&case(name, to, says, hears, "not_tls"));
        }
    }
    stage.end();
}

#[test]
fn real_clients_without_tls_can_read_the_answer() {
    let server = Server::start(&["--resp", "127.0.0.1:0"]);
    let url = format!("http://{}/RPC2", server.address("xmlrpc"));
    let curl = run(std::process::Command::new("curl").args(["-sS", "-i", &url]));
    let said = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("use an https:// URL."), "{said}");

    let port = server.port("resp").to_string();
    let redis = run(std::process::Command::new("redis-cli").args(["-p", &port, "get", "spam"]));
    let said = String::from_utf8_lossy(&redis.stdout).into_owned() + &String::from_utf8_lossy(&redis.stderr);
    assert!(said.contains("this port speaks TLS"), "{said}");
}

#[test]
fn broken_tls_is_answered_with_the_alert_that_says_why() {
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let mut stage = Stage::set(&[]);
    let hello_of = |body: &[u8]| record(&[&[1, 0, 0, u8::try_from(body.len()).expect("short")], body].concat());
    let broken = [
        ("TLS 1.1 at most", hello(&[0x0302, 0x0301], &[0xc009], &[]), alert(70)),
        ("no suite in common", hello(&[0x0304, 0x0303], &[0x0005], &[]), alert(40)),
        ("application data first", vec![23, 3, 3, 0, 1, 0], alert(10)),
        ("a message that no client begins with", record(&[20, 0, 0, 0]), alert(10)),
        ("a hello that is cut short inside", hello_of(&[3, 3, 1]), alert(50)),
        (
            "a hello with bytes behind its end",
            hello_of(&[&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0, 9]].concat()),
            alert(50),
        ),
        ("a record longer than any may be", [&[22, 3, 1, 0xff, 0xff][..], &vec![0; 70_000]].concat(), alert(50)),
    ];
    for to in [ECHO, HTTP, RESP] {
        for (name, says, hears) in &broken {
            stage.play(&case(name, to, says, hears, "handshake"));
        }
        stage.play(&case("it gives up with an alert", to, alert(40), "", "alert"));
    }
    // Over TLS 1.3 this alert is encrypted.
    let h2 = hello(&[0x0303], &[0xc02b], &[(16, b"\0\x03\x02h2")]);
    stage.play(&case("HTTP/2 or nothing", HTTP, h2, alert(NO_APPLICATION_PROTOCOL), "handshake"));
    stage.end();
}

#[test]
fn ways_of_disconnecting_have_reasons_of_their_own() {
    let mut stage = Stage::set(&[]);
    let half = &good_hello()[..60];
    for to in [ECHO, HTTP, RESP] {
        stage.play(&case("nothing, then FIN", to, "", "", "peer_closed").then(Then::Fin));
        stage.play(&case("half a hello, then FIN", to, half, "", "cut_off").then(Then::Fin));
        stage.play(&case("half a hello, then RST", to, half, "", "reset").then(Then::Reset));
        let whole = case("a whole hello, then FIN", to, good_hello(), [22, 3, 3], "cut_off");
        stage.play(&whole.then(Then::AnswerThenFin));
    }
    for (to, says) in
        [(PLAIN_HTTP, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n<met"), (PLAIN_HTTP, "POST")]
    {
        stage.play(&case("half a request, then FIN", to, says, "HTTP/1.1 400 ", "cut_off").then(Then::Fin));
        stage.play(&case("half a request, then RST", to, says, "", "reset").then(Then::Reset));
    }
    stage.play(&case("half a command, then FIN", PLAIN_RESP, "*2\r\n$3\r\nget\r\n", "", "cut_off").then(Then::Fin));
    stage.end();
}

#[test]
fn the_silent_and_the_slow_are_dropped_at_their_deadline() {
    let mut stage = Stage::set(&["--handshake-timeout", "1s", "--request-timeout", "1s"]);
    let head = "POST / HTTP/1.1\r\nHost: x\r\n";
    for (name, to, says, hears, reason) in [
        ("silence", ECHO, Vec::new(), "", "handshake_timeout"),
        ("the first byte of a record", HTTP, vec![22], "", "handshake_timeout"),
        ("half a hello", RESP, good_hello()[..60].to_vec(), "", "handshake_timeout"),
        ("half a head", PLAIN_HTTP, head.into(), "HTTP/1.1 408 ", "request_timeout"),
        (
            "half a body",
            PLAIN_HTTP,
            format!("{head}Content-Length: 5\r\n\r\n<").into(),
            "HTTP/1.1 408 ",
            "request_timeout",
        ),
        (
            "a chunk that never comes",
            PLAIN_HTTP,
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n").into(),
            "HTTP/1.1 408 ",
            "request_timeout",
        ),
        (
            "half a command",
            PLAIN_RESP,
            "*2\r\n$3\r\nget\r\n".into(),
            "-ERR the request did not arrive",
            "request_timeout",
        ),
    ] {
        stage.play(&case(name, to, says, hears, reason));
    }
    stage.end();
}

/// rustls keeps offsets into what it has seen of a handshake message, so whatever is written meanwhile must be written
/// with those bytes at hand.
#[test]
fn half_a_handshake_message_behind_the_handshake_does_not_hurt_what_is_written_next() {
    let mut stage = Stage::set(&["--request-timeout", "1s"]);
    let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for (to, request) in [(ECHO, "hello"), (HTTP, get), (RESP, "PING\r\n")] {
        let mut config = ClientConfig::clone(&tls::config(&stage.server));
        config.enable_secret_extraction = true;
        let mut client = tls::wrap(&Arc::new(config), stage.dial(to));
        let half = case("half a KeyUpdate", to, "", "", "request_timeout");
        stage.expect(&client.sock, &half);
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock).expect("a handshake");
        }
        // A request and the half message come together, so the reply is written with that half at hand.
        let mut bytes = Vec::new();
        client.conn.writer().write_all(request.as_bytes()).expect("memory");
        client.conn.write_tls(&mut bytes).expect("memory");
        let (mut socket, key_update) = (client.sock, [24, 0, 0, 1, 0]);
        bytes.extend(sealed(client.conn, &key_update[..2]));
        socket.write_all(&bytes).expect("send");
        stage.neighbour_is_served(half.name);
        // Then the deadline passes, and close_notify is written.
        hear(&mut socket);
        drop(socket);
        stage.check(&half, b"");
    }
    stage.end();
}

#[test]
fn random_bytes_harm_nobody() {
    let mut stage = Stage::set(&[]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |count: usize| {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        };
        (0..count).flat_map(|_| next()).collect::<Vec<u8>>()
    };
    for round in 0..100 {
        for to in [ECHO, HTTP, RESP, PLAIN_HTTP, PLAIN_RESP] {
            let mut socket = stage.dial(to);
            let mut bytes = random(1 + round % 40);
            if round % 3 == 0 {
                bytes.splice(0..0, [22, 3, 1, 0, 200]);
            }
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(Shutdown::Write);
            hear(&mut socket);
        }
        stage.neighbour_is_served("garbage");
    }
    stage.end();
}

#[test]
fn a_damaged_record_is_answered_with_its_alert() {
    let mut stage = Stage::set(&[]);
    for to in [ECHO, HTTP, RESP] {
        let mut tls = tls::wrap(&tls::config(&stage.server), stage.dial(to));
        let none = case("a damaged record", to, "", "", "tls");
        stage.expect(&tls.sock, &none);
        tls.conn.complete_io(&mut tls.sock).expect("a handshake");
        tls.conn.writer().write_all(b"PING\r\n").expect("memory");
        let mut bytes = Vec::new();
        tls.conn.write_tls(&mut bytes).expect("memory");
        *bytes.last_mut().expect("a record") ^= 1;
        tls.sock.write_all(&bytes).expect("send");
        stage.neighbour_is_served(none.name);
        let error = tls.read_to_end(&mut Vec::new()).expect_err("an alert").to_string();
        assert!(error.contains("BadRecordMac"), "{error}");
        drop(tls);
        stage.check(&none, b"");
    }
    stage.end();
}

/// Requests that are not HTTP/1.1 as it should be, with the status that answers them.
fn malformed_http() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").into_bytes();
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let fields = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<Vec<_>>().concat();
    let (malformed, large) = ("malformed", "too_large");
    let lengths = "Content-Length: 5\r\nContent-Length: ";
    vec![
        ("two lengths that differ", post(&format!("{lengths}6\r\n"), "hello!"), "400", malformed),
        ("two lengths that agree", post(&format!("{lengths}5\r\n"), "hello"), "400", malformed),
        ("a list of lengths", post("Content-Length: 5, 5\r\n", "hello"), "400", malformed),
        ("a negative length", post("Content-Length: -1\r\n", ""), "400", malformed),
        ("a length with a sign", post("Content-Length: +5\r\n", "hello"), "400", malformed),
        (
            "length and chunks",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
            malformed,
        ),
        (
            "chunks and length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            "400",
            malformed,
        ),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
            malformed,
        ),
        ("chunked, but not at last", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), "400", malformed),
        ("a coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501", malformed),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "400", malformed),
        ("a chunk size that is no number", chunked("zz\r\n"), "400", malformed),
        ("a negative chunk size", chunked("-5\r\n"), "400", malformed),
        ("a chunk size with 0x", chunked("0x5\r\nhello\r\n"), "400", malformed),
        ("a chunk longer than it says", chunked("4\r\nhello\r\n0\r\n\r\n"), "400", malformed),
        ("a chunk size beyond counting", chunked("fffffffffffffffff\r\n"), "413", large),
        ("a chunk size beyond the limit", chunked("7fffffff\r\n"), "413", large),
        ("a folded field", post("X: a\r\n b\r\nContent-Length: 0\r\n", ""), "400", malformed),
        ("a bare LF", b"POST / HTTP/1.1\nHost: x\nContent-Length: 0\n\n".to_vec(), "400", malformed),
        ("a bare CR", b"POST / HTTP/1.1\rHost: x\r\r".to_vec(), "400", malformed),
        ("NUL in a field", post("X: a\0b\r\nContent-Length: 0\r\n", ""), "400", malformed),
        ("a field without a name", post(": x\r\nContent-Length: 0\r\n", ""), "400", malformed),
        ("101 fields", post(&fields(101), ""), "431", large),
        ("a field without end", post(&format!("X: {}", "y".repeat(100_000)), ""), "431", large),
        ("a target without end", format!("GET /{}", "a".repeat(100_000)).into_bytes(), "414", large),
        ("HTTP/0.9", b"GET /\r\n".to_vec(), "400", malformed),
        ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "505", malformed),
        ("no Host", b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_vec(), "400", malformed),
        ("two Hosts", post("Host: y\r\nContent-Length: 0\r\n", ""), "400", malformed),
        ("no length at all", post("", ""), "411", malformed),
        ("a body beyond the limit", post("Content-Length: 2000000\r\n", ""), "413", large),
        ("a length beyond counting", post("Content-Length: 99999999999999999999\r\n", ""), "413", large),
        ("chunks without end", chunked(&"1\r\nx\r\n".repeat(180_000)), "413", large),
        ("a call from a web page", post("Origin: null\r\nContent-Length: 0\r\n", ""), "403", malformed),
        ("an unknown expectation", post("Expect: the worst\r\nContent-Length: 0\r\n", ""), "417", malformed),
        ("an unknown content coding", post("Content-Encoding: br\r\nContent-Length: 0\r\n", ""), "415", malformed),
        ("gzip that is none", post("Content-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"), "400", malformed),
        ("a gzip bomb", gzip_bomb(), "413", large),
        ("RESP", b"*1\r\n$4\r\nPING\r\n".to_vec(), "400", malformed),
        ("TLS where none is", good_hello(), "400", malformed),
    ]
}

/// Thirty megabytes of nothing, in some thirty kilobytes.
fn gzip_bomb() -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![0; 30 << 20]).expect("memory");
    let body = gzip.finish().expect("memory");
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

#[test]
fn malformed_http_is_answered_by_a_status_and_closed() {
    let mut stage = Stage::set(&["--max-request", "1m"]);
    for to in [PLAIN_HTTP, HTTP] {
        for (name, says, status, reason) in malformed_http() {
            stage.play_inside(&case(name, to, says, format!("HTTP/1.1 {status} "), reason));
        }
    }
    stage.end();
}

#[test]
fn malformed_resp_is_answered_by_an_error_and_closed() {
    let mut stage = Stage::set(&["--max-request", "1m"]);
    let long = "x".repeat(70_000);
    for to in [PLAIN_RESP, RESP] {
        for (name, says, hears, reason) in [
            ("a count that is no number", "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n", "malformed"),
            (
                "more arguments than allowed",
                "*1048577\r\n",
                "-ERR Protocol error: invalid multibulk length\r\n",
                "malformed",
            ),
            ("a length that is no number", "*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n", "malformed"),
            (
                "a length beyond the limit",
                "*1\r\n$536870913\r\n",
                "-ERR Protocol error: invalid bulk length\r\n",
                "malformed",
            ),
            ("a negative length", "*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n", "malformed"),
            ("no length", "*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n", "malformed"),
            ("an argument longer than it says", "*1\r\n$3\r\nPING\r\n", "-ERR Protocol error", "malformed"),
            (
                "a quote that stays open",
                "get \"spam\r\n",
                "-ERR Protocol error: unbalanced quotes in request\r\n",
                "malformed",
            ),
            ("a line without end", &long, "-ERR Protocol error: too big inline request\r\n", "too_large"),
            (
                "an argument longer than a request may be",
                "*1\r\n$2000000\r\n",
                "-ERR Protocol error: too big request\r\n",
                "too_large",
            ),
            (
                "arguments beyond the limit",
                &format!("*3\r\n$3\r\nSET\r\n$600000\r\n{}\r\n$600000\r\n", "x".repeat(600_000)),
                "-ERR Protocol error: too big request\r\n",
                "too_large",
            ),
            (
                "a TLS client",
                "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}",
                "-ERR Protocol error: these bytes are a TLS handshake",
                "malformed",
            ),
            ("a browser's POST", "POST / HTTP/1.1\r\nHost: x\r\n\r\nset k v\r\n", "", "malformed"),
        ] {
            stage.play_inside(&case(name, to, says, hears, reason));
        }
    }
    stage.end();
}

/// Documents that are no calls: what they are, the standard fault code, the class that Python's server names, the
/// reason in the log.
fn malformed_calls() -> Vec<(&'static str, Vec<u8>, i32, &'static str, &'static str)> {
    const EXPAT: &str = "xml.parsers.expat.ExpatError";
    let call = |value: &str| {
        let params = format!("<params><param><value>{value}</value></param></params>");
        format!("<methodCall><methodName>get</methodName>{params}</methodCall>").into_bytes()
    };
    let lol = |n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10));
    let lol = (1..10).map(lol).collect::<Vec<_>>().concat();
    let bomb =
        format!("<!DOCTYPE b [<!ENTITY l0 \"lol\">{lol}]><methodCall><methodName>&l9;</methodName></methodCall>");
    let outside =
        "<!DOCTYPE b [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><methodCall><methodName>&x;</methodName></methodCall>";
    let (xml, invalid, scalar, bound) = ("not_well_formed", "invalid", "scalar", "bound");
    let (response, value) = ("xmlrpc.client.ResponseError", "ValueError");
    vec![
        ("nothing", Vec::new(), -32700, EXPAT, xml),
        ("no XML", b"get spam".to_vec(), -32700, EXPAT, xml),
        ("cut short", b"<methodCall><methodName>get".to_vec(), -32700, EXPAT, xml),
        ("tags that cross", b"<methodCall><methodName>get</methodCall></methodName>".to_vec(), -32700, EXPAT, xml),
        ("a second root", [call("spam"), call("spam")].concat(), -32700, EXPAT, xml),
        ("an entity bomb", bomb.into(), -32700, EXPAT, xml),
        ("an entity from a file", outside.into(), -32700, EXPAT, xml),
        ("an unknown entity", call("&spam;"), -32700, EXPAT, xml),
        ("another root", b"<methodResponse/>".to_vec(), -32600, response, invalid),
        ("no method", b"<methodCall/>".to_vec(), -32600, response, invalid),
        ("an unknown type", call("<float>1</float>"), -32600, response, invalid),
        ("a hundred thousand arrays", call(&"<array><data><value>".repeat(100_000)), -32600, value, bound),
        ("a hundred thousand unknown elements", "<a>".repeat(100_000).into(), -32600, response, invalid),
        ("no integer", call("<int>1.5</int>"), -32602, value, scalar),
        ("an integer of 33 bits", call("<int>4294967296</int>"), -32602, value, scalar),
        ("no boolean", call("<boolean>2</boolean>"), -32602, value, scalar),
        ("no double", call("<double>much</double>"), -32602, value, scalar),
        ("no base64", call("<base64>$</base64>"), -32602, value, scalar),
        ("no date", call("<dateTime.iso8601>soon</dateTime.iso8601>"), -32602, value, scalar),
        (
            "broken UTF-8",
            call("spam").iter().map(|&byte| if byte == b'm' { 0xff } else { byte }).collect(),
            -32702,
            EXPAT,
            "character",
        ),
        ("a character that XML has not", call("&#0;"), -32700, EXPAT, xml),
        (
            "an unknown encoding",
            b"<?xml version='1.0' encoding='EBCDIC'?><methodCall/>".to_vec(),
            -32701,
            "LookupError",
            "encoding",
        ),
    ]
}

#[test]
fn malformed_xml_is_answered_by_a_fault_and_the_connection_lives_on() {
    for style in ["python", "standard"] {
        let mut stage = Stage::set(&["--faults", style]);
        let mut client = tls::connect(&stage.server, "xmlrpc");
        let peer = client.sock.local_addr().expect("address");
        for (name, document, code, class, _) in malformed_calls() {
            let head = format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", document.len());
            client.write_all(&[head.as_bytes(), &document].concat()).expect("send");
            stage.neighbour_is_served(name);
            let reply = until(&mut client, "</methodResponse>");
            assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {reply}");
            let wanted = match style {
                "python" => format!(
                    "<int>1</int></value></member><member><name>faultString</name><value><string>&lt;class '{class}'&gt;:"
                ),
                _ => format!("<int>{code}</int>"),
            };
            assert!(reply.contains(&wanted), "{name}: {reply}");
        }
        let calls = malformed_calls();
        stage.neighbour.write_all(b"info stats\r\n").expect("ask");
        let stats = until(&mut stage.neighbour, "acl_access_denied_cmd:0\r\n\r\n");
        assert!(stats.contains(&format!("malformed_xmlrpc_calls:{}\r\n", calls.len())), "{stats}");
        drop((client, stage.neighbour));
        assert_eq!(stage.server.stop(), Some(0));
        let log = stage.server.log();
        let lines: Vec<_> = log.iter().filter(|line| line.contains("malformed call")).collect();
        assert_eq!(lines.len(), calls.len(), "{lines:#?}");
        for (line, (name, _, _, _, reason)) in lines.iter().zip(calls) {
            assert!(
                line.contains(&format!("reason=\"{reason}\"")) && line.contains(&format!("peer={peer} ")),
                "{name}: {line}"
            );
            assert!(!line.contains("spam"), "what clients send is not logged: {line}");
        }
    }
}
