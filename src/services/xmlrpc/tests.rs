//! Requests and replies as bytes, and the texts that clients of Python's server match.

use super::*;
use crate::access::Rules;
use crate::protocol::http::{ResponseDecoder, append_post};
use crate::protocol::xmlrpc::{Fault, append_call, parse_response};
use crate::store::{Expiry, Kind};
use crate::testing::{self, ProtocolBench, TestPeer};
use crate::value::Value;

type Bench = ProtocolBench<XmlRpc>;

fn bench(faults: FaultStyle) -> Bench {
    Bench::over(XmlRpc::new(XmlRpcOptions { faults }), testing::now(784_111_777_000))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

const NIL: Result<Value, Fault> = Ok(Value::Nil);

impl Bench {
    /// All replies to `input`, and why the connection ends if it does.
    fn serve(&mut self, input: &[u8], limits: &Limits) -> (Vec<u8>, Option<Disconnect>) {
        let mut client = self.connect(0, 0);
        client.0.env.limits = limits.clone();
        self.send(&mut client, input)
    }

    fn text(&mut self, input: &str) -> (String, Option<Disconnect>) {
        let (out, end) = self.serve(input.as_bytes(), &Limits::default());
        (String::from_utf8(out).expect("text"), end)
    }

    fn post(&mut self, document: &[u8]) -> Result<Value, Fault> {
        let mut request = Vec::new();
        append_post(&mut request, "localhost", "/RPC2", document);
        let (reply, end) = self.serve(&request, &Limits::default());
        assert_eq!(end, None);
        let response = ResponseDecoder::default().decode(&reply, true, &HttpLimits::default());
        let response = response.expect("HTTP").expect("complete");
        assert_eq!((response.status, response.used), (200, reply.len()));
        parse_response(&response.body, &xmlrpc::XmlLimits::default()).expect("XML-RPC")
    }

    fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Fault> {
        let mut document = Vec::new();
        append_call(&mut document, method, params);
        self.post(&document)
    }

    fn fault(&mut self, method: &str, params: &[Value]) -> (i32, String) {
        let fault = self.call(method, params).expect_err("a fault");
        (fault.code, fault.text)
    }
}

#[test]
fn calls_of_the_recipe_work() {
    let mut bench = bench(FaultStyle::Python);
    let list = Value::Array(vec![Value::Int(1), Value::Int(2), Value::Int(3)]);
    assert_eq!(bench.call("set", &[text("foo"), text("bar")]), NIL);
    assert_eq!(bench.call("set", &[text("spam"), list.clone()]), NIL);
    let Ok(Value::Array(keys)) = bench.call("keys", &[]) else { panic!("keys is an array") };
    assert!(keys.len() == 2 && keys.contains(&text("foo")) && keys.contains(&text("spam")));
    assert_eq!(bench.call("get", &[text("foo")]), Ok(text("bar")));
    assert_eq!(bench.call("get", &[text("spam")]), Ok(list));
    assert_eq!(bench.call("delete", &[text("spam")]), NIL);
    assert_eq!(bench.call("exists", &[text("spam")]), Ok(Value::Boolean(false)));
    assert_eq!(bench.call("exists", &[text("foo")]), Ok(Value::Boolean(true)));
}

#[test]
fn keys_are_bytes_and_come_back_as_text_where_they_can() {
    let mut bench = bench(FaultStyle::Python);
    let binary = Value::Base64(vec![0, 255]);
    assert_eq!(bench.call("set", &[binary.clone(), Value::I8(1)]), NIL);
    assert_eq!(bench.call("get", std::slice::from_ref(&binary)), Ok(Value::I8(1)));
    assert_eq!(bench.call("keys", &[]), Ok(Value::Array(vec![binary])));
    assert_eq!(bench.call("set", &[text("a\u{e9}"), Value::Nil]), NIL);
    assert_eq!(bench.call("get", &[Value::Base64("a\u{e9}".into())]), Ok(Value::Nil));
}

#[test]
fn bytes_that_xml_cannot_carry_are_base64() {
    let mut bench = bench(FaultStyle::Python);
    for (data, expected) in
        [(&b"plain"[..], text("plain")), (b"a\0", Value::Base64(b"a\0".to_vec())), (b"\xff", Value::Base64(vec![255]))]
    {
        bench.store.set(b"k", Kind::Bytes, data, Expiry::Never, bench.now).expect("room");
        assert_eq!(bench.call("get", &[text("k")]), Ok(expected));
    }
}

#[test]
fn faults_have_pythons_text() {
    let mut bench = bench(FaultStyle::Python);
    for (method, params, expected) in [
        ("get", vec![text("zz")], "<class 'KeyError'>:'zz'"),
        ("delete", vec![text("it's")], "<class 'KeyError'>:\"it's\""),
        ("get", vec![Value::Base64(vec![b'z', 255])], "<class 'KeyError'>:b'z\\xff'"),
        ("nope", vec![], "<class 'Exception'>:method \"nope\" is not supported"),
        ("__class__", vec![], "<class 'Exception'>:method \"__class__\" is not supported"),
        ("get", vec![], "<class 'TypeError'>:get() missing 1 required positional argument: 'name'"),
        ("set", vec![], "<class 'TypeError'>:set() missing 2 required positional arguments: 'name' and 'value'"),
        ("set", vec![text("a")], "<class 'TypeError'>:set() missing 1 required positional argument: 'value'"),
        ("get", vec![Value::Nil; 2], "<class 'TypeError'>:get() takes 1 positional argument but 2 were given"),
        ("set", vec![Value::Nil; 3], "<class 'TypeError'>:set() takes 2 positional arguments but 3 were given"),
        ("keys", vec![Value::Nil], "<class 'TypeError'>:keys() takes 0 positional arguments but 1 was given"),
        ("get", vec![Value::Int(5)], "<class 'TypeError'>:a key is a string or base64, not int"),
        ("system.methodHelp", vec![text("nope")], "<class 'Exception'>:method \"nope\" is not supported"),
    ] {
        assert_eq!(bench.fault(method, &params), (1, expected.to_owned()), "{method}");
    }
    for (document, expected) in [
        ("", "<class 'xml.parsers.expat.ExpatError'>:no element found: line 1, column 0"),
        ("hello", "<class 'xml.parsers.expat.ExpatError'>:syntax error: line 1, column 0"),
        ("<methodCall/>", "<class 'xmlrpc.client.ResponseError'>:<methodName> is missing"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "<class 'LookupError'>:unknown encoding: klingon"),
    ] {
        let fault = bench.post(document.as_bytes()).expect_err("a fault");
        assert_eq!((fault.code, fault.text.as_str()), (1, expected), "{document}");
    }
}

#[test]
fn faults_have_standard_codes_on_request() {
    let mut bench = bench(FaultStyle::Standard);
    assert_eq!(bench.fault("get", &[text("zz")]), (-32500, "no such key: 'zz'".to_owned()));
    assert_eq!(bench.fault("nope", &[]).0, -32601);
    assert_eq!(bench.fault("get", &[]).0, -32602);
    assert_eq!(bench.fault("get", &[Value::Nil]).0, -32602);
    for (document, code) in [
        (&b"<methodCall>"[..], -32700),
        (b"<!DOCTYPE a><methodCall/>", -32700),
        (b"<?xml version='1.0' encoding='klingon'?><a/>", -32701),
        (b"<methodCall>\x01", -32702),
        (b"<methodCall/>", -32600),
    ] {
        assert_eq!(bench.post(document).expect_err("a fault").code, code, "{}", document.escape_ascii());
    }
    let Ok(Value::Struct(capabilities)) = bench.call("system.getCapabilities", &[]) else { panic!("a struct") };
    assert!(capabilities.iter().any(|(name, _)| name == "faults_interop"));
}

#[test]
fn methods_describe_themselves() {
    let mut bench = bench(FaultStyle::Python);
    let Ok(Value::Array(names)) = bench.call("system.listMethods", &[]) else { panic!("an array") };
    assert!(names.contains(&text("get")) && names.contains(&text("system.multicall")));
    for name in names {
        let Ok(Value::String(help)) = bench.call("system.methodHelp", std::slice::from_ref(&name)) else {
            panic!("help is a string")
        };
        assert!(help.len() > 10, "{help}");
        let Ok(Value::Array(signatures)) = bench.call("system.methodSignature", &[name]) else { panic!("an array") };
        assert!(!signatures.is_empty());
    }
    let exists = Ok(Value::Array(vec![
        Value::Array(vec![text("boolean"), text("string")]),
        Value::Array(vec![text("boolean"), text("base64")]),
    ]));
    assert_eq!(bench.call("system.methodSignature", &[text("exists")]), exists);
}

/// The fault among the results of a multicall.
fn fault(result: &Value) -> Option<Value> {
    match result {
        Value::Struct(members) => members.last().map(|(_, text)| text.clone()),
        _ => None,
    }
}

fn inner(method: &str, params: Vec<Value>) -> Value {
    Value::Struct(vec![("methodName".into(), text(method)), ("params".into(), Value::Array(params))])
}

#[test]
fn multicall_answers_each_call() {
    let mut bench = bench(FaultStyle::Python);
    let calls = Value::Array(vec![
        inner("set", vec![text("k"), Value::Int(7)]),
        inner("get", vec![text("k")]),
        inner("get", vec![text("zz")]),
        inner("system.multicall", vec![Value::Array(vec![])]),
        Value::Int(1),
        Value::Struct(vec![("methodName".into(), text("get"))]),
    ]);
    let Ok(Value::Array(results)) = bench.call("system.multicall", &[calls]) else { panic!("an array") };
    assert_eq!(results[0], Value::Array(vec![Value::Nil]));
    assert_eq!(results[1], Value::Array(vec![Value::Int(7)]));
    assert_eq!(fault(&results[2]), Some(text("<class 'KeyError'>:'zz'")));
    assert_eq!(fault(&results[3]), Some(text("<class 'Exception'>:recursive system.multicall is not supported")));
    let shape = "<class 'TypeError'>:a call is a struct of a string methodName and an array params";
    assert_eq!((fault(&results[4]), fault(&results[5])), (Some(text(shape)), Some(text(shape))));
    assert_eq!(results.len(), 6);

    let many = Value::Array(vec![inner("keys", vec![]); 1001]);
    let (_, told) = bench.fault("system.multicall", &[many]);
    assert_eq!(told, "<class 'OverflowError'>:one system.multicall makes at most 1000 calls");
}

#[test]
fn a_multicall_cannot_multiply_a_large_value() {
    let mut bench = bench(FaultStyle::Python);
    bench.store.set(b"large", Kind::Bytes, &[b'x'; 2000], Expiry::Never, bench.now).expect("room");
    let mut calls = vec![inner("get", vec![text("large")]); 5];
    calls.push(inner("set", vec![text("after"), Value::Nil]));
    let mut dispatcher = Dispatcher::new(&mut bench.store, bench.now, FaultStyle::Python, &Access::Everything);
    dispatcher.limits.reply_bytes = 7000;
    let results = dispatcher.call("system.multicall".to_owned(), vec![Value::Array(calls)]);
    let Ok(Value::Array(results)) = results else { panic!("an array") };
    let answered = results.iter().filter(|result| matches!(result, Value::Array(_))).count();
    assert_eq!((answered, results.len()), (3, 6));
    assert!(!bench.store.contains(b"after", bench.now), "what cannot be answered is not done");
}

#[test]
fn too_many_keys_in_a_multicall_are_refused_with_advice() {
    let mut bench = bench(FaultStyle::Python);
    for key in [b"a", b"b", b"c"] {
        bench.store.set(key, Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let mut keys = |limit, bytes| {
        let calls = vec![inner("keys", vec![]); 2];
        let mut dispatcher = Dispatcher::new(&mut bench.store, bench.now, FaultStyle::Python, &Access::Everything);
        dispatcher.limits.keys = limit;
        dispatcher.limits.reply_bytes = bytes;
        let results = dispatcher.call("system.multicall".to_owned(), vec![Value::Array(calls)]);
        let Ok(Value::Array(results)) = results else { panic!("an array") };
        results
    };
    let counts = |results: &[Value]| {
        let count = |result: &Value| match result {
            Value::Array(keys) => matches!(&keys[0], Value::Array(keys) if keys.len() == 3),
            _ => false,
        };
        results.iter().filter(|result| count(result)).count()
    };
    assert_eq!(counts(&keys(6, 1000)), 2);
    let told = "<class 'OverflowError'>:more than 5 keys to look through within system.multicall: call keys by itself";
    let results = keys(5, 1000);
    assert_eq!((counts(&results), fault(&results[1])), (1, Some(text(told))));
    let told = "<class 'OverflowError'>:the reply would be larger than 50 bytes: ask for less at once, or over RESP";
    assert_eq!(fault(&keys(6, 50)[0]), Some(text(told)));
}

/// The reply to `keys` of `bench`, and the number of turns it takes. Others write meanwhile.
fn scanned(bench: &mut Bench, peer: &mut TestPeer, line: &str) -> (Vec<u8>, usize) {
    let document = "<methodCall><methodName>keys</methodName></methodCall>";
    let request = format!("POST / {line}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{document}", document.len());
    let mut session = HttpSession::default();
    let served =
        bench.protocol.serve(&mut session, &mut bench.store, request.as_bytes(), &mut peer.exchange(bench.now));
    let expected =
        if line.ends_with("1.0") { Served::Close(Disconnect::Finished) } else { Served::Used(request.len()) };
    assert_eq!(served, expected);
    let mut turns = 0;
    while peer.is_alone() {
        bench.store.scan_tick(bench.now);
        bench.store.set(b"new", Kind::Bytes, &[0; 100], Expiry::Never, bench.now).expect("room");
        turns += 1;
    }
    (peer.take_replies(), turns)
}

#[test]
fn keys_of_a_large_store_are_found_in_steps_and_complete() {
    let mut bench = bench(FaultStyle::Python);
    for number in 0..20_000_u32 {
        let key = if number % 100 == 0 { number.to_be_bytes().to_vec() } else { format!("<{number}>").into_bytes() };
        bench.store.set(&key, Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let mut peer = TestPeer::new(0, 0);
    for line in ["HTTP/1.1", "HTTP/1.0"] {
        let (reply, turns) = scanned(&mut bench, &mut peer, line);
        assert!(turns >= 10, "{turns}");
        let response = ResponseDecoder::default().decode(&reply, true, &HttpLimits::default());
        let response = response.expect("HTTP").expect("complete");
        assert_eq!((response.status, response.used), (200, reply.len()));
        let keys =
            parse_response(&response.body, &xmlrpc::XmlLimits { values: usize::MAX, ..xmlrpc::XmlLimits::default() });
        let Ok(Value::Array(keys)) = keys.expect("XML-RPC") else { panic!("an array") };
        let distinct: std::collections::HashSet<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        assert_eq!(distinct.len(), keys.len(), "none twice");
        assert!((20_000..=20_001).contains(&keys.len()), "{}", keys.len());
        assert!(keys.contains(&text("<7>")) && keys.contains(&Value::Base64(vec![0, 0, 0, 100])));
    }
    peer.info.access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read']\nprefix='<77'");
    let (reply, _) = scanned(&mut bench, &mut peer, "HTTP/1.1");
    assert_eq!(String::from_utf8_lossy(&reply).matches("<string>&lt;77").count(), 110);
}

#[test]
fn a_key_scan_ends_with_its_client_and_is_bounded() {
    let mut bench = bench(FaultStyle::Python);
    let long = "k".repeat(1_000);
    for number in 0..2_100 {
        bench
            .store
            .set(format!("{number}{long}").as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now)
            .expect("room");
    }
    let (mut gone, mut peer) = (TestPeer::new(0, 0), TestPeer::new(1, 1));
    bench.protocol.queue_keys(KeepAlive::Open, &mut bench.store, &mut gone.exchange(bench.now));
    bench.store.scan_tick(bench.now);
    bench.protocol.close(HttpSession::default(), &mut bench.store, &gone.info);
    peer.env.limits.request_bytes = 1 << 20;
    let (reply, turns) = scanned(&mut bench, &mut peer, "HTTP/1.1");
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.contains("the reply would be larger than 1048576 bytes") && reply.len() < 1000, "{reply}");
    assert!(turns > 4, "long keys make short steps: {turns}");
    assert_eq!(bench.store.scan_tick(bench.now), None, "nothing is left to do");
    let (again, _) = scanned(&mut bench, &mut peer, "HTTP/1.1");
    assert_eq!(String::from_utf8_lossy(&again), reply);
}

#[test]
fn values_too_long_to_get_cannot_be_set_and_replies_are_bounded() {
    let mut bench = bench(FaultStyle::Standard);
    let limits = Limits { call_bytes: 4_000, ..Limits::default() };
    let mut call = |method: &str, params: &[Value]| {
        let (mut document, mut request) = (Vec::new(), Vec::new());
        append_call(&mut document, method, params);
        append_post(&mut request, "localhost", "/", &document);
        let (reply, _) = bench.serve(&request, &limits);
        let response = ResponseDecoder::default().decode(&reply, true, &HttpLimits::default());
        let response = response.expect("HTTP").expect("complete");
        let status = response.status;
        let parsed = parse_response(&response.body, &xmlrpc::XmlLimits::default());
        (status, parsed.unwrap_or(Ok(Value::Nil)).map_err(|fault| fault.text))
    };
    assert_eq!(call("set", &[text("k"), text(&"x".repeat(3_000))]), (200, Ok(Value::Nil)));
    assert_eq!(call("get", &[text("k")]), (200, Ok(text(&"x".repeat(3_000)))));
    assert_eq!(call("set", &[text("k"), text(&"x".repeat(4_000))]).0, 413);
    let call_of = |method: &str, key: &str| {
        let params = ("params".to_owned(), Value::Array(vec![text(key)]));
        Value::Struct(vec![("methodName".to_owned(), text(method)), params])
    };
    let (status, answers) = call("system.multicall", &[Value::Array(vec![call_of("get", "k"); 3])]);
    let Ok(Value::Array(answers)) = answers else { panic!("an array") };
    assert_eq!((status, answers.len()), (200, 3));
    assert!(matches!(&answers[..], [Value::Array(_), Value::Struct(_), Value::Struct(_)]), "{answers:?}");
    // Each call is short, and would have a long reply.
    let (_, answers) = call("system.multicall", &[Value::Array(vec![call_of("system.methodSignature", "set"); 12])]);
    let Ok(Value::Array(answers)) = answers else { panic!("an array") };
    assert!(matches!(answers.last(), Some(Value::Struct(_))), "{answers:?}");
    // Escaped markup is four times as long.
    let raw = "<methodCall><methodName>set</methodName><params><param><value>k</value></param><param><value>~</value></param></params></methodCall>";
    let mut request = Vec::new();
    append_post(&mut request, "localhost", "/", raw.replace('~', &">".repeat(1_500)).as_bytes());
    let (reply, _) = bench.serve(&request, &limits);
    assert!(String::from_utf8_lossy(&reply).contains("takes more than 4000 bytes as XML"));
}

#[test]
fn the_length_of_a_value_is_known_before_it_is_written() {
    for value in [
        Value::Nil,
        Value::Int(i32::MIN),
        Value::I8(i64::MIN),
        Value::Double(f64::MAX),
        Value::Double(-f64::MIN_POSITIVE),
        Value::Double(5e-324),
        Value::Double(-1.234_567_890_123_456_7e-300),
        Value::Double(f64::NEG_INFINITY),
        Value::Double(0.0),
        text("a<&>\r\n"),
        text("\0\0\0\0"),
        Value::Base64(vec![0; 10]),
        Value::DateTime("19980717T14:08:55".to_owned()),
        Value::Struct(vec![("\u{1}<".to_owned(), Value::Array(vec![Value::Boolean(true); 3]))]),
    ] {
        let mut written = Vec::new();
        xmlrpc::append_value(&mut written, &value);
        let counted = xmlrpc::encoded_bytes(&value);
        assert!(written.len() <= counted && counted <= written.len() + 60, "{value:?}: {counted}, {}", written.len());
    }
}

#[test]
fn a_reply_has_the_expected_bytes() {
    let call =
        "<methodCall><methodName>exists</methodName><params><param><value>k</value></param></params></methodCall>";
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{call}", call.len());
    let (reply, end) = bench(FaultStyle::Python).text(&post);
    let body = "<?xml version=\"1.0\"?><methodResponse><params><param><value><boolean>0</boolean></value></param></params>\
                </methodResponse>";
    assert_eq!(
        reply,
        format!(
            "HTTP/1.1 200 OK\r\nServer: latchkey\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    );
    assert_eq!(end, None);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let one = |n: usize| {
        let mut document = Vec::new();
        append_call(&mut document, "set", &[text(&n.to_string()), Value::Nil]);
        let mut post = Vec::new();
        append_post(&mut post, "x", "/", &document);
        post
    };
    let mut bench = bench(FaultStyle::Python);
    let many: Vec<u8> = (0..2000).flat_map(one).collect();
    let (replies, end) = bench.serve(&many, &Limits::default());
    assert_eq!((bench.store.len(), end), (2000, None));
    assert_eq!(String::from_utf8(replies).expect("text").matches("HTTP/1.1 200 OK").count(), 2000);
}

#[test]
fn other_methods_and_paths_get_their_status_codes() {
    let mut bench = bench(FaultStyle::Python);
    for (request, status, has) in [
        ("GET / HTTP/1.1", "405 Method Not Allowed", "\r\nAllow: POST\r\n"),
        ("GET /RPC2 HTTP/1.1", "405 Method Not Allowed", "This is an XML-RPC endpoint"),
        ("DELETE / HTTP/1.1", "405 Method Not Allowed", "\r\nAllow: POST\r\n"),
        ("GET /favicon.ico HTTP/1.1", "404 Not Found", "No such page"),
        ("GET /RPC2?x=1 HTTP/1.1", "404 Not Found", "No such page"),
        ("OPTIONS / HTTP/1.1", "204 No Content", "\r\nAllow: POST\r\n"),
        ("OPTIONS * HTTP/1.1", "204 No Content", "\r\nAllow: POST\r\n"),
    ] {
        let (reply, end) = bench.text(&format!("{request}\r\nHost: x\r\n\r\n"));
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {reply}");
        assert!(reply.contains(has), "{request}: {reply}");
        assert_eq!(end, None, "{request}");
    }
    let (reply, _) = bench.text("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 405") && reply.ends_with("\r\n\r\n"), "{reply}");
}

#[test]
fn connections_close_on_request() {
    let mut bench = bench(FaultStyle::Python);
    let (reply, end) = bench.text("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!((reply.matches("Connection: close\r\n").count(), end), (1, Some(Disconnect::Finished)));
    let (reply, end) = bench.text("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(reply.contains("Connection: keep-alive\r\n"));
    assert_eq!(end, None);
}

#[test]
fn malformed_requests_get_an_error_and_end_the_connection() {
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    for (request, status, reason) in [
        ("\x16\x03\x01".to_owned(), "400 Bad Request", Disconnect::Malformed),
        ("PING\r\n".to_owned(), "400 Bad Request", Disconnect::Malformed),
        (format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "400 Bad", Disconnect::Malformed),
        (format!("{post}Content-Length: -1\r\n\r\n"), "400 Bad", Disconnect::Malformed),
        (format!("{post}\r\n"), "411 Length Required", Disconnect::Malformed),
        (format!("{post}Content-Length: 99999999999\r\n\r\n"), "413 Content", Disconnect::TooLarge),
        (format!("{post}Content-Encoding: br\r\nContent-Length: 0\r\n\r\n"), "415 Unsup", Disconnect::Malformed),
        (format!("{post}A: {}", "a".repeat(20_000)), "431 Request", Disconnect::TooLarge),
        (format!("GET /{}", "a".repeat(20_000)), "414 URI", Disconnect::TooLarge),
        ("GET / HTTP/3.0\r\n".to_owned(), "505 HTTP", Disconnect::Malformed),
        ("POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 0\r\n\r\n".to_owned(), "400 Bad", Disconnect::Malformed),
        ("POST http://x?q=/RPC2 HTTP/1.1\r\nHost: x\r\n".to_owned(), "400 Bad", Disconnect::Malformed),
        ("POST http:///RPC2 HTTP/1.1\r\nHost: x\r\n".to_owned(), "400 Bad", Disconnect::Malformed),
        ("POST http://u@x/RPC2 HTTP/1.1\r\nHost: x\r\n".to_owned(), "400 Bad", Disconnect::Malformed),
    ] {
        let (reply, end) = bench(FaultStyle::Python).text(&request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {reply}");
        assert!(reply.contains("\r\nConnection: close\r\n\r\n"), "{reply}");
        assert_eq!(end, Some(reason), "{request}");
    }
}

#[test]
fn large_replies_are_compressed_on_request() {
    let mut bench = bench(FaultStyle::Python);
    let value = text(&"a".repeat(2000));
    assert_eq!(bench.call("set", &[text("k"), value.clone()]), NIL);
    assert_eq!(bench.call("get", &[text("k")]), Ok(value), "the client half asks for gzip");
    let call = "<methodCall><methodName>get</methodName><params><param><value>k</value></param></params></methodCall>";
    let length = call.len();
    let ask = |coding: &str| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n{call}")
    };
    let (zipped, _) = bench.serve(ask("gzip").as_bytes(), &Limits::default());
    let (plain, _) = bench.serve(ask("gzip;q=0").as_bytes(), &Limits::default());
    assert!(zipped.len() < 500 && plain.len() > 2000);
    assert!(String::from_utf8_lossy(&zipped).contains("\r\nContent-Encoding: gzip\r\n"));
}

#[test]
fn refused_clients_get_the_reason() {
    for (reason, status) in [
        (Disconnect::Refused, "503 Service Unavailable"),
        (Disconnect::Denied, "403 Forbidden"),
        (Disconnect::RequestTimeout, "408 Request Timeout"),
        (Disconnect::HeaderTimeout, "408 Request Timeout"),
        (Disconnect::Memory, "503 Service Unavailable"),
    ] {
        let mut out = Vec::new();
        http::refuse(reason, &mut out);
        let reply = String::from_utf8(out).expect("text");
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}\r\n")) && reply.contains("Connection: close\r\n"));
        assert_eq!(reply.contains("Retry-After: "), status.starts_with("503"));
    }
}

#[test]
fn denied_calls_are_counted_one_by_one() {
    let mut bench = bench(FaultStyle::Standard);
    let access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read', 'delete']\nprefix='a:'");
    let mut dispatcher = Dispatcher::new(&mut bench.store, bench.now, FaultStyle::Standard, &access);
    let mut call = |name: &str, key: &str| dispatcher.call(name.to_owned(), vec![text(key)]);
    assert_eq!(call("exists", "a:1"), Ok(Value::Boolean(false)));
    assert_eq!(call("delete", "a:1"), Err(CallError::MissingKey(text("a:1"))));
    assert_eq!(call("exists", "b:1"), Err(CallError::DeniedKey("exists")));
    assert_eq!(call("delete", "b:1"), Err(CallError::DeniedKey("delete")));
    let params = vec![text("a:1"), text("value")];
    assert_eq!(dispatcher.call("set".to_owned(), params), Err(CallError::Denied("set")));
    assert_eq!(dispatcher.denials, 3);
}

/// Work on a reply that is refused took as long as work on one that is sent.
#[test]
fn a_large_reply_uses_up_its_clients_share_of_the_turn_also_when_it_is_refused() {
    let mut bench = bench(FaultStyle::Python);
    let now = bench.now;
    bench.store.set(b"small", Kind::Bytes, b"v", Expiry::Never, now).expect("room");
    bench.store.set(b"large", Kind::Bytes, &vec![b'&'; 4 << 20], Expiry::Never, now).expect("room");
    let mut uses_up_the_turn = |method: &str, params: &[Value], expected: &str| {
        let (mut document, mut request) = (Vec::new(), Vec::new());
        append_call(&mut document, method, params);
        append_post(&mut request, "localhost", "/RPC2", &document);
        let mut client = bench.connect(0, 0);
        let (reply, _) = bench.send(&mut client, &request);
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.contains(expected), "{}", &reply[..reply.len().min(500)]);
        client.0.served() >= client.0.env.limits.requests_per_turn
    };
    assert!(!uses_up_the_turn("get", &[text("small")], "<string>v</string>"));
    assert!(uses_up_the_turn("get", &[text("large")], "OverflowError"));
    assert!(!uses_up_the_turn("keys", &[], "<string>large</string>"));
}

#[test]
fn long_keys_are_looked_through_until_the_reply_is_too_long() {
    let mut bench = bench(FaultStyle::Python);
    for number in 0..1000 {
        let key = format!("{}{number}", "k".repeat(60_000));
        bench.store.set(key.as_bytes(), Kind::Bytes, b"", Expiry::Never, bench.now).expect("room");
    }
    let access = crate::access::Access::Everything;
    let mut dispatcher = Dispatcher::new(&mut bench.store, bench.now, FaultStyle::Python, &access);
    assert!(dispatcher.call("keys".to_owned(), Vec::new()).is_err());
    let most = dispatcher.limits.reply_bytes;
    assert!(dispatcher.spent < most + (4 << 20), "{} with a limit of {most}", dispatcher.spent);
}
