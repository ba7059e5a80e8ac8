//! Both halves over whole byte streams, in any pieces.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const POST: &str = "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("writes to memory");
    encoder.finish().expect("writes to memory")
}

fn chunked(data: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in data.chunks(size.max(1)) {
        write!(framed, "{:x};ext=1\r\n", chunk.len()).expect("writes to memory");
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\nTrailer: t\r\n\r\n");
    framed
}

/// The compared parts of a request, owned.
type Seen = (Method, String, Vec<u8>, KeepAlive, bool);

/// Feeds `bytes` up to each of `cuts` and then whole; returns the requests and the error of the stream.
fn requests(bytes: &[u8], cuts: &[usize], bounds: &HttpLimits) -> (Vec<Seen>, Option<HttpError>) {
    let mut decoder = RequestDecoder::default();
    let (mut seen, mut front) = (Vec::new(), 0);
    for &arrived in cuts.iter().chain([&bytes.len()]) {
        loop {
            match decoder.decode(bytes.get(front..arrived).unwrap_or_default(), bounds) {
                Ok(DecodeProgress::Complete(request)) => {
                    front += request.used;
                    let target = request.target.to_owned();
                    let body = request.body.into_owned();
                    seen.push((request.method, target, body, request.persistence, request.accepts_gzip));
                }
                Ok(DecodeProgress::Incomplete) => break,
                Ok(DecodeProgress::Continue) => {}
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fn one(bytes: &[u8]) -> Seen {
    let (mut seen, error) = requests(bytes, &[], &HttpLimits::default());
    assert_eq!((seen.len(), error), (1, None), "{}", String::from_utf8_lossy(bytes));
    seen.remove(0)
}

fn failure(bytes: &[u8]) -> Option<HttpError> {
    requests(bytes, &[], &HttpLimits::default()).1
}

#[test]
fn a_post_with_an_origin_is_refused() {
    let bounds = HttpLimits::default();
    for (origin, kind) in
        [("http://elsewhere.example", "text/plain"), ("null", "text/xml"), ("https://localhost", "text/xml")]
    {
        let head = format!("Origin: {origin}\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\n");
        let call = format!("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{head}hi");
        assert_eq!(requests(call.as_bytes(), &[], &bounds), (Vec::new(), Some(HttpError::Origin)), "{call}");
    }
    assert_eq!(HttpError::Origin.status(), HttpStatus::FORBIDDEN);
    // A page may request what is public, and a browser does not show it the reply.
    assert_eq!(one(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n").0, Method::Get);
}

#[test]
fn a_python_call() {
    let bytes =
        format!("{POST}Accept-Encoding: gzip\r\nUser-Agent: Python-xmlrpc/3.11\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(one(bytes.as_bytes()), (Method::Post, "/RPC2".into(), b"hello".to_vec(), KeepAlive::Open, true));
}

#[test]
fn persistence_by_version_and_field() {
    for (version, field, expected) in [
        ("1.1", "", KeepAlive::Open),
        ("1.1", "Connection: close\r\n", KeepAlive::Close),
        ("1.1", "Connection: TE, Close\r\n", KeepAlive::Close),
        ("1.1", "Connection: keep-alive\r\n", KeepAlive::Open),
        ("1.2", "", KeepAlive::Open),
        ("1.0", "", KeepAlive::Close),
        ("1.0", "Connection: Keep-Alive\r\n", KeepAlive::Announced),
        ("1.0", "Connection: keep-alive, close\r\n", KeepAlive::Close),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: x\r\n{field}\r\n");
        assert_eq!(one(bytes.as_bytes()).3, expected, "{bytes}");
    }
    assert_eq!(one(b"GET / HTTP/1.0\r\n\r\n").3, KeepAlive::Close);
}

#[test]
fn targets_in_each_form() {
    for (target, path) in [
        ("/", "/"),
        ("/RPC2?x=1", "/RPC2?x=1"),
        ("http://localhost:15000/RPC2", "/RPC2"),
        ("HTTPS://localhost", "/"),
        ("*", "*"),
    ] {
        let bytes = format!("\r\nOPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(one(bytes.as_bytes()).1, path);
    }
}

#[test]
fn bytes_that_are_not_http_are_refused_at_the_first_line() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"POST /\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET  / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"G(T / HTTP/1.1\r\n",
        b"GET /\x7f HTTP/1.1\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n",
        b"GET / http/1.1\r\n",
        b"GET / HTTP/1.10\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rHost: x\r\n",
    ] {
        let error = failure(bytes);
        assert!(matches!(error, Some(HttpError::Malformed(_))), "{}: {error:?}", bytes.escape_ascii());
    }
    let tls = HttpError::Malformed("these bytes are a TLS handshake, and here plain HTTP is spoken");
    assert_eq!(failure(b"\x16\x03\x01\n"), Some(tls));
    assert_eq!(failure(b"PRI * HTTP/2.0\r\n"), Some(HttpError::Version));
    assert_eq!(failure(b"GET / HTTP/0.9\r\n"), Some(HttpError::Version));
}

#[test]
fn ambiguous_framing_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5,6\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\n folded\r\n",
        "Content-Length: 5\r\nHost: again\r\n",
    ] {
        let error = failure(format!("{POST}{fields}\r\nhello").as_bytes());
        assert!(matches!(error, Some(HttpError::Malformed(_))), "{fields:?}: {error:?}");
    }
    let without_host = failure(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(without_host, Some(HttpError::Malformed(_))));
    let chunked_1_0 = failure(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(matches!(chunked_1_0, Some(HttpError::Malformed(_))));
    for (fields, expected) in [
        ("Transfer-Encoding: gzip, chunked\r\n", HttpError::TransferCoding),
        ("Expect: 200-ok\r\nContent-Length: 5\r\n", HttpError::Expectation),
        ("Content-Encoding: br\r\nContent-Length: 5\r\n", HttpError::ContentCoding),
        ("Content-Encoding: gzip, gzip\r\nContent-Length: 5\r\n", HttpError::ContentCoding),
        ("Content-Encoding: gzip\r\nContent-Length: 5\r\n", HttpError::Gzip),
        ("", HttpError::LengthRequired),
    ] {
        assert_eq!(failure(format!("{POST}{fields}\r\nhello").as_bytes()), Some(expected), "{fields:?}");
    }
}

#[test]
fn every_part_of_a_message_has_a_limit() {
    let bounds = HttpLimits { head: 200, message: 300, decoded: 1000 };
    let fails = |bytes: &[u8]| requests(bytes, &[], &bounds).1;
    let long = "a".repeat(200);
    assert_eq!(fails(format!("GET /{long}").as_bytes()), Some(HttpError::TargetTooLong));
    assert_eq!(fails(format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()), Some(HttpError::TargetTooLong));
    assert_eq!(fails(format!("GET / HTTP/1.1\r\nA: {long}").as_bytes()), Some(HttpError::HeadTooLarge));
    assert_eq!(fails(format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n").as_bytes()), Some(HttpError::HeadTooLarge));
    assert_eq!(fails("\r\n".repeat(101).as_bytes()), Some(HttpError::TargetTooLong));
    // Rejected by the head alone, before any byte of the body.
    assert_eq!(fails(format!("{POST}Content-Length: 300\r\n\r\n").as_bytes()), Some(HttpError::BodyTooLarge));
    let expecting = format!("{POST}Expect: 100-continue\r\nContent-Length: 300\r\n\r\n");
    assert_eq!(fails(expecting.as_bytes()), Some(HttpError::BodyTooLarge));
    let huge = format!("{POST}Content-Length: 99999999999999999999999999\r\n\r\n");
    assert_eq!(fails(huge.as_bytes()), Some(HttpError::BodyTooLarge));
    let chunks = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(60));
    assert_eq!(fails(chunks.as_bytes()), Some(HttpError::BodyTooLarge));
    // A chunk that is too large is rejected by its announced size.
    for size in ["1000", "7fffffffffffffff"] {
        let chunk = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{size}\r\n");
        assert_eq!(fails(chunk.as_bytes()), Some(HttpError::BodyTooLarge), "{size}");
    }
    let zipped = gzip(&[0; 1001]);
    let mut bomb = format!("{POST}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", zipped.len()).into_bytes();
    bomb.extend_from_slice(&zipped);
    assert_eq!(fails(&bomb), Some(HttpError::BodyTooLarge));
}

#[test]
fn continue_is_sent_once_and_only_to_a_waiting_client() {
    let bounds = HttpLimits::default();
    let head = format!("{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let mut decoder = RequestDecoder::default();
    assert_eq!(decoder.decode(head.as_bytes(), &bounds), Ok(DecodeProgress::Continue));
    assert_eq!(decoder.decode(head.as_bytes(), &bounds), Ok(DecodeProgress::Incomplete));
    let whole = format!("{head}ok");
    assert!(matches!(decoder.decode(whole.as_bytes(), &bounds), Ok(DecodeProgress::Complete(_))));

    let begun = format!("{head}o");
    assert_eq!(RequestDecoder::default().decode(begun.as_bytes(), &bounds), Ok(DecodeProgress::Incomplete));
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(RequestDecoder::default().decode(old.as_bytes(), &bounds), Ok(DecodeProgress::Incomplete));
    let empty = format!("{POST}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(RequestDecoder::default().decode(empty.as_bytes(), &bounds), Ok(DecodeProgress::Complete(_))));
}

#[test]
fn a_reply_announces_whether_its_connection_continues() {
    for persistence in [KeepAlive::Open, KeepAlive::Announced, KeepAlive::Close] {
        let mut bytes = Vec::new();
        let body = b"\r\nConnection: close\r\n\r\n";
        HttpReply { persistence, ..HttpReply::text(body, Some(b"Thu, 01 Jan 1970 00:00:00 GMT")) }.append(&mut bytes);
        assert_eq!(KeepAlive::of(&bytes), persistence);
    }
    assert_eq!(KeepAlive::of(b""), KeepAlive::Open);
}

#[test]
fn replies_have_the_fields_that_a_client_needs() {
    let reply = HttpReply {
        status: HttpStatus::OK,
        content_type: "text/xml",
        body: b"<a/>",
        fields: "",
        persistence: KeepAlive::Open,
        accepts_gzip: true,
        head_only: false,
        date: Some(b"Thu, 01 Jan 1970 00:00:00 GMT"),
    };
    let text = |reply: &HttpReply<'_>| {
        let mut out = Vec::new();
        reply.append(&mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        text(&reply),
        "HTTP/1.1 200 OK\r\nServer: latchkey\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Content-Type: text/xml\r\nContent-Length: 4\r\n\r\n<a/>"
    );
    let closing = HttpReply { persistence: KeepAlive::Close, head_only: true, ..reply.clone() };
    assert!(text(&closing).ends_with("Content-Length: 4\r\nConnection: close\r\n\r\n"));
    let empty = HttpReply { status: HttpStatus::NO_CONTENT, body: b"", fields: "Allow: POST\r\n", date: None, ..reply };
    assert_eq!(text(&empty), "HTTP/1.1 204 No Content\r\nServer: latchkey\r\nAllow: POST\r\n\r\n");
}

/// Status, body, whether the connection continues, bytes used.
type SeenResponse = (u16, Vec<u8>, bool, usize);

/// Feeds a response in pieces, then ends the stream.
fn response(bytes: &[u8], cuts: &[usize]) -> Result<Option<SeenResponse>, HttpError> {
    let mut decoder = ResponseDecoder::default();
    let arrivals = cuts.iter().map(|cut| (*cut, false)).chain([(bytes.len(), false), (bytes.len(), true)]);
    for (arrived, at_end) in arrivals {
        if let Some(response) = decoder.decode(&bytes[..arrived], at_end, &HttpLimits::default())? {
            return Ok(Some((response.status, response.body.into_owned(), response.keep_alive, response.used)));
        }
    }
    Ok(None)
}

#[test]
fn responses_in_each_framing() {
    let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nServer: x\r\n";
    let with = |rest: &str| response(format!("{head}{rest}").as_bytes(), &[]).map(|r| r.map(|r| (r.0, r.1, r.2)));
    assert_eq!(with("Content-Length: 2\r\n\r\nokNEXT"), Ok(Some((200, b"ok".to_vec(), true))));
    assert_eq!(with("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), Ok(Some((200, b"ok".to_vec(), true))));
    assert_eq!(with("\r\nuntil the end"), Ok(Some((200, b"until the end".to_vec(), false))));
    assert_eq!(with("Connection: close\r\nContent-Length: 0\r\n\r\n"), Ok(Some((200, Vec::new(), false))));
    assert!(with("Content-Length: 3\r\n\r\nok").is_err());
    assert!(with("Content-Le").is_err());
    assert_eq!(response(b"HTTP/1.0 404\r\n\r\n", &[]), Ok(Some((404, Vec::new(), false, 16))));
    for broken in ["HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 20x OK\r\n\r\n", "220 ready\r\n", "HTTP/1.1  200\r\n\r\n"] {
        assert!(response(broken.as_bytes(), &[]).is_err(), "{broken:?}");
    }
}

#[test]
fn a_post_is_decoded_by_the_server_half() {
    let mut out = Vec::new();
    append_post(&mut out, "localhost:15000", "/RPC2", b"<a/>");
    assert_eq!(one(&out), (Method::Post, "/RPC2".into(), b"<a/>".to_vec(), KeepAlive::Open, true));
}

/// One valid request and what it must decode to.
fn any_request() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    (any::<Vec<u8>>(), 0..4_u8, any::<bool>(), 1..40_usize).prop_map(|(body, kind, compressed, size)| {
        let mut wire = if compressed { gzip(&body) } else { body.clone() };
        let mut head = POST.to_owned();
        if compressed {
            head.push_str("Content-Encoding: gzip\r\n");
        }
        if kind == 0 {
            head.push_str("Expect: 100-continue\r\n");
        }
        if kind < 2 {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            wire = chunked(&wire, size);
        } else {
            head = format!("{head}Content-Length: {}\r\n\r\n", wire.len());
        }
        let mut bytes = head.into_bytes();
        bytes.append(&mut wire);
        (bytes, (Method::Post, "/RPC2".into(), body, KeepAlive::Open, false))
    })
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=length, 0..8).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(
        (sent, cuts) in prop::collection::vec(any_request(), 1..4).prop_flat_map(|sent| {
            let length = sent.iter().map(|(bytes, _)| bytes.len()).sum();
            (Just(sent), cuts(length))
        })
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Seen> = sent.into_iter().map(|(_, seen)| seen).collect();
        prop_assert_eq!(requests(&bytes, &cuts, &HttpLimits::default()), (expected, None));
    }

    #[test]
    fn any_split_of_damaged_bytes_gives_the_same_requests(
        (bytes, cuts) in (any_request(), any::<(prop::sample::Index, u8)>()).prop_flat_map(|((mut bytes, _), (at, with))| {
            let at = at.index(bytes.len());
            bytes[at] = with;
            let length = bytes.len();
            (Just(bytes), cuts(length))
        })
    ) {
        // The error's wording may depend on how much of the line has arrived; the status must not.
        let outcome = |cuts: &[usize]| {
            let (seen, error) = requests(&bytes, cuts, &HttpLimits::default());
            (seen, error.map(HttpError::status))
        };
        prop_assert_eq!(outcome(&cuts), outcome(&[]));
    }

    #[test]
    fn any_split_gives_the_same_response(
        (bytes, cuts) in (any::<Vec<u8>>(), any::<bool>()).prop_flat_map(|(body, in_chunks)| {
            let (field, body) = if in_chunks {
                ("Transfer-Encoding: chunked".to_owned(), chunked(&gzip(&body), 9))
            } else {
                let body = gzip(&body);
                (format!("Content-Length: {}", body.len()), body)
            };
            let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n{field}\r\n\r\n").into_bytes();
            bytes.extend_from_slice(&body);
            let length = bytes.len();
            (Just(bytes), cuts(length))
        })
    ) {
        let whole = response(&bytes, &[]);
        prop_assert!(matches!(whole, Ok(Some((200, _, true, _)))));
        prop_assert_eq!(response(&bytes, &cuts), whole);
    }
}
