//! Requests and the checks of their replies, protocol by protocol.

use super::outcome::RequestFailure;
use super::wording::words;
use super::workload::{Operation, OperationKind, Values};
use crate::protocol::http::{self, ResponseDecoder, append_post};
use crate::protocol::resp::{Digits, ReplyScanner, encode_command};
use crate::protocol::xmlrpc::{self, append_call, parse_response};
use crate::value::Value;

/// One connection's protocol, with the state of its decoder.
#[derive(Debug)]
pub enum ProtocolCodec {
    /// Every byte comes back.
    Echo,
    /// Redis's protocol: GET and SET.
    Resp(ReplyScanner),
    /// XML-RPC over HTTP: the methods `get` and `set`.
    XmlRpc(Box<ResponseDecoder>),
    /// No requests: the handshake is all.
    HandshakeOnly,
}

/// The result of checking a complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyCheck {
    /// As expected, to the byte.
    Good,
    /// The key has no value.
    Missing,
    /// An error, in these words.
    Refused(String),
    /// Something else.
    Bad(RequestFailure),
}

/// A reply at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedReply {
    /// How many bytes it took.
    pub used: usize,
    /// Whether it is as expected.
    pub answer: ReplyCheck,
    /// Whether further requests may follow on this connection.
    pub keep_alive: bool,
}

/// What all requests of a run have in common.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The bytes of keys and values.
    pub values: Values,
    /// The Host field of HTTP.
    pub host: String,
    /// Where XML-RPC calls go.
    pub path: String,
    /// One XML-RPC call that is made every time, as a body, in place of `get` and `set`. Any answer to it is good but a
    /// fault.
    pub call: Option<Vec<u8>>,
}

impl RequestTemplate {
    /// What most servers understand.
    #[must_use]
    pub fn new(values: Values, host: String) -> Self {
        Self { values, host, path: DEFAULT_XMLRPC_PATH.to_owned(), call: None }
    }
}

/// The path that every server of Python's accepts.
pub const DEFAULT_XMLRPC_PATH: &str = "/RPC2";

impl ProtocolCodec {
    /// Appends the request for `operation` to `out`.
    pub fn encode(&self, operation: Operation, template: &RequestTemplate, out: &mut Vec<u8>) {
        let value = template.values.value(operation.key);
        match self {
            Self::HandshakeOnly => {}
            Self::Echo => out.extend_from_slice(value),
            Self::Resp(_) => {
                let key = template.values.key(operation.key);
                match operation.kind {
                    OperationKind::Read => encode_command(out, &[b"GET", key.as_slice()]),
                    OperationKind::Write => encode_command(out, &[b"SET", key.as_slice(), value]),
                }
            }
            Self::XmlRpc(_) => {
                if let Some(call) = &template.call {
                    return append_post(out, &template.host, &template.path, call);
                }
                let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
                let key = template.values.key(operation.key);
                let mut body = Vec::with_capacity(256 + value.len());
                match operation.kind {
                    OperationKind::Read => append_call(&mut body, "get", &[text(&key)]),
                    OperationKind::Write => append_call(&mut body, "set", &[text(&key), text(value)]),
                }
                append_post(out, &template.host, &template.path, &body);
            }
        }
    }

    /// Looks for the reply to `operation` at the front of `input`. After `None`, call again with the same bytes and more
    /// behind them; `at_end` says that there will be no more, which ends some replies of HTTP/1.0.
    ///
    /// # Errors
    ///
    /// The bytes are not this protocol; the connection is of no further use.
    pub fn decode(
        &mut self,
        input: &[u8],
        operation: Operation,
        template: &RequestTemplate,
        at_end: bool,
    ) -> Result<Option<DecodedReply>, RequestFailure> {
        let value = template.values.value(operation.key);
        match self {
            Self::HandshakeOnly => Err(RequestFailure::Malformed),
            Self::Echo => Ok(input.get(..value.len()).map(|echoed| DecodedReply {
                used: value.len(),
                answer: if echoed == value { ReplyCheck::Good } else { ReplyCheck::Bad(RequestFailure::WrongBytes) },
                keep_alive: true,
            })),
            Self::Resp(scanner) => {
                let Some(used) = scan(scanner, input, value.len().saturating_add(REPLY_SLACK))? else {
                    return Ok(None);
                };
                let reply = input.get(..used).unwrap_or_default();
                Ok(Some(DecodedReply { used, answer: judge_resp(reply, operation.kind, value), keep_alive: true }))
            }
            Self::XmlRpc(decoder) => {
                // Cut off in the middle, if this is the end; else it is no HTTP.
                let failure = if at_end { RequestFailure::Closed } else { RequestFailure::Malformed };
                let response = decoder.decode(input, at_end, &limits_of_http(value, template)).map_err(|_| failure)?;
                Ok(response.map(|response| DecodedReply {
                    used: response.used,
                    answer: match &template.call {
                        None => judge_xmlrpc(&response, operation.kind, value),
                        // Like a write, it is done if there is no fault.
                        Some(_) => judge_xmlrpc(&response, OperationKind::Write, value),
                    },
                    keep_alive: response.keep_alive,
                }))
            }
        }
    }

    /// Looks at bytes for which nothing was asked. A server that turns a connection away says so at once: the words of an
    /// error of RESP, or `None` while there may be more of them.
    ///
    /// # Errors
    ///
    /// They are no error.
    pub fn decode_refusal(&mut self, input: &[u8]) -> Result<Option<String>, RequestFailure> {
        let (Self::Resp(scanner), Some(b'-' | b'!')) = (self, input.first()) else {
            return Err(RequestFailure::Malformed);
        };
        let Some(used) = scan(scanner, input, REPLY_SLACK)? else { return Ok(None) };
        Ok(Some(error_words(input.get(..used).unwrap_or_default())))
    }
}

/// How much longer than the value that is asked for a reply of RESP may be, in bytes: as long as the longest line is.
const REPLY_SLACK: usize = 64 << 10;

/// Bounds on a response that gives back `value`, however it is escaped, or says in its place what has gone wrong. What the
/// answer to a call of the user's own may be is not known.
fn limits_of_http(value: &[u8], template: &RequestTemplate) -> http::HttpLimits {
    let usual = http::HttpLimits::default();
    if template.call.is_some() {
        return usual;
    }
    let most = value.len().saturating_mul(8).saturating_add(1 << 20);
    http::HttpLimits { message: usual.message.min(most), decoded: usual.decoded.min(most), ..usual }
}

/// The length of the reply at the front of `input`, or `None` while it is incomplete. A reply that has no end within
/// `most` bytes answers nothing that was asked, and is not waited for: each connection would keep all of it.
fn scan(scanner: &mut ReplyScanner, input: &[u8], most: usize) -> Result<Option<usize>, RequestFailure> {
    let used = scanner.advance(input).map_err(|_| RequestFailure::Malformed)?;
    if used.is_none() && input.len() > most { Err(RequestFailure::Malformed) } else { Ok(used) }
}

/// The words of an error of RESP.
fn error_words(reply: &[u8]) -> String {
    match reply.split_first() {
        // Behind the line with its length (RESP3).
        Some((b'!', rest)) => words(rest.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default()),
        Some((_, rest)) => words(rest),
        None => String::new(),
    }
}

fn judge_resp(reply: &[u8], kind: OperationKind, value: &[u8]) -> ReplyCheck {
    match (reply.first(), kind) {
        (Some(b'-' | b'!'), _) => ReplyCheck::Refused(error_words(reply)),
        (_, OperationKind::Write) if reply == b"+OK\r\n" => ReplyCheck::Good,
        (_, OperationKind::Read) if reply == b"$-1\r\n" || reply == b"_\r\n" => ReplyCheck::Missing,
        (Some(b'$'), OperationKind::Read) => {
            let length = Digits::new(i64::try_from(value.len()).unwrap_or(i64::MAX));
            let found = reply
                .get(1..)
                .and_then(|rest| rest.strip_prefix(length.as_bytes()))
                .and_then(|rest| rest.strip_prefix(b"\r\n"))
                .and_then(|rest| rest.strip_suffix(b"\r\n"));
            if found == Some(value) { ReplyCheck::Good } else { ReplyCheck::Bad(RequestFailure::WrongBytes) }
        }
        _ => ReplyCheck::Bad(RequestFailure::WrongBytes),
    }
}

fn judge_xmlrpc(response: &http::Response<'_>, kind: OperationKind, value: &[u8]) -> ReplyCheck {
    if response.status != 200 {
        return ReplyCheck::Refused(words(format!("HTTP {} {}", response.status, response.reason).as_bytes()));
    }
    match (parse_response(&response.body, &xmlrpc::XmlLimits::default()), kind) {
        (Err(_), _) => ReplyCheck::Bad(RequestFailure::Malformed),
        // A dictionary behind XML-RPC answers so in Python, and servers made to replace one do too.
        (Ok(Err(fault)), OperationKind::Read) if fault.text.contains("KeyError") => ReplyCheck::Missing,
        (Ok(Err(fault)), _) => ReplyCheck::Refused(words(format!("fault {}: {}", fault.code, fault.text).as_bytes())),
        (Ok(Ok(_)), OperationKind::Write) => ReplyCheck::Good,
        (Ok(Ok(Value::String(text))), OperationKind::Read) if text.as_bytes() == value => ReplyCheck::Good,
        (Ok(Ok(_)), OperationKind::Read) => ReplyCheck::Bad(RequestFailure::WrongBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::workload::ValueSizes;
    use crate::protocol::xmlrpc::{Fault, append_fault, append_response};

    const READ: Operation = Operation { kind: OperationKind::Read, key: 7 };
    const WRITE: Operation = Operation { kind: OperationKind::Write, key: 7 };

    fn template() -> RequestTemplate {
        RequestTemplate::new(Values::new(&ValueSizes::Fixed(40), 1), "localhost:1".to_owned())
    }

    /// Decodes with every split of the bytes in two, as a socket may give them.
    fn decode(
        new: impl Fn() -> ProtocolCodec,
        reply: &[u8],
        operation: Operation,
    ) -> Result<ReplyCheck, RequestFailure> {
        let template = template();
        let whole = new().decode(reply, operation, &template, false);
        for split in 0..reply.len() {
            let mut codec = new();
            let first = codec.decode(&reply[..split], operation, &template, false);
            if let Ok(None) = first {
                assert_eq!(codec.decode(reply, operation, &template, false), whole, "split at {split}");
            } else {
                assert!(first.is_err() && whole.is_err(), "split at {split}: {first:?}");
            }
        }
        let decoded = whole?.expect("complete");
        assert_eq!(decoded.used, reply.len());
        Ok(decoded.answer)
    }

    #[test]
    fn an_echo_must_be_exact() {
        let template = template();
        let mut request = Vec::new();
        ProtocolCodec::Echo.encode(READ, &template, &mut request);
        assert_eq!(decode(|| ProtocolCodec::Echo, &request, READ), Ok(ReplyCheck::Good));
        request[39] ^= 1;
        assert_eq!(decode(|| ProtocolCodec::Echo, &request, READ), Ok(ReplyCheck::Bad(RequestFailure::WrongBytes)));
    }

    #[test]
    fn resp_replies_are_judged_to_the_byte() {
        let new = || ProtocolCodec::Resp(ReplyScanner::default());
        let template = template();
        let value = template.values.value(7);
        let bulk = [b"$40\r\n", value, b"\r\n"].concat();
        assert_eq!(decode(new, &bulk, READ), Ok(ReplyCheck::Good));
        let mut wrong = bulk.clone();
        wrong[10] ^= 1;
        let bad = |failure| Ok(ReplyCheck::Bad(failure));
        assert_eq!(decode(new, &wrong, READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, b"$-1\r\n", READ), Ok(ReplyCheck::Missing));
        assert_eq!(decode(new, b"+OK\r\n", WRITE), Ok(ReplyCheck::Good));
        assert_eq!(decode(new, b"+OK\r\n", READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, b"-ERR no\r\n", WRITE), Ok(ReplyCheck::Refused("ERR no".to_owned())));
        assert_eq!(decode(new, b"!6\r\nERR no\r\n", READ), Ok(ReplyCheck::Refused("ERR no".to_owned())));
        assert_eq!(decode(new, b"?\r\n", WRITE), Err(RequestFailure::Malformed));
        let mut request = Vec::new();
        new().encode(WRITE, &template, &mut request);
        assert!(request.starts_with(b"*3\r\n$3\r\nSET\r\n$") && request.ends_with(&bulk));
    }

    /// A false server costs a bounded buffer for each connection.
    #[test]
    fn a_reply_of_resp_without_end_is_malformed() {
        let template = template();
        let longest = 40 + REPLY_SLACK;
        let heads = b"*1\r\n".iter().copied().cycle().take(longest / 4 * 4);
        for front in [heads.collect::<Vec<u8>>(), [b"$536870912\r\n".to_vec(), vec![b'x'; longest - 12]].concat()] {
            let mut codec = ProtocolCodec::Resp(ReplyScanner::default());
            assert_eq!(codec.decode(&front, READ, &template, false), Ok(None), "it may still end");
            let more = [front, b"*1\r\n".to_vec()].concat();
            assert_eq!(codec.decode(&more, READ, &template, false), Err(RequestFailure::Malformed));
        }
        let mut codec = ProtocolCodec::Resp(ReplyScanner::default());
        let refusal = [b"!536870912\r\n".to_vec(), vec![b'x'; REPLY_SLACK]].concat();
        assert_eq!(codec.decode_refusal(&refusal), Err(RequestFailure::Malformed));
    }

    #[test]
    fn xmlrpc_replies_are_judged_to_the_byte() {
        let new = || ProtocolCodec::XmlRpc(Box::default());
        let template = template();
        let text = String::from_utf8(template.values.value(7).to_vec()).expect("ASCII");
        let http = |body: Vec<u8>| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        };
        let response = |value: &Value| {
            let mut body = Vec::new();
            append_response(&mut body, value);
            http(body)
        };
        let fault = |text: &str| {
            let mut body = Vec::new();
            append_fault(&mut body, &Fault { code: 1, text: text.to_owned() });
            http(body)
        };
        let bad = |failure| Ok(ReplyCheck::Bad(failure));
        assert_eq!(decode(new, &response(&Value::String(text)), READ), Ok(ReplyCheck::Good));
        assert_eq!(decode(new, &response(&Value::String("x".into())), READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, &response(&Value::Nil), WRITE), Ok(ReplyCheck::Good));
        assert_eq!(decode(new, &fault("<class 'KeyError'>:'k'"), READ), Ok(ReplyCheck::Missing));
        let refused = |words: &str| Ok(ReplyCheck::Refused(words.to_owned()));
        assert_eq!(decode(new, &fault("denied"), WRITE), refused("fault 1: denied"));
        assert_eq!(decode(new, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", READ), refused("HTTP 503 No"));
        assert_eq!(decode(new, b"+OK\r\n", READ), Err(RequestFailure::Malformed));
    }

    #[test]
    fn a_response_much_longer_than_its_value_is_malformed() {
        let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        let ask = |length: usize, template: &RequestTemplate| {
            ProtocolCodec::XmlRpc(Box::default()).decode(&head(length), READ, template, false)
        };
        let call = RequestTemplate { call: Some(Vec::new()), ..template() };
        assert_eq!(ask(1 << 20, &template()), Ok(None));
        assert_eq!(ask(2 << 20, &template()), Err(RequestFailure::Malformed));
        assert_eq!(ask(2 << 20, &call), Ok(None), "what it answers may have any length");
    }

    #[test]
    fn a_reply_of_http_1_0_without_a_length_ends_with_the_connection() {
        let text = String::from_utf8(template().values.value(7).to_vec()).expect("ASCII");
        let mut reply = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        append_response(&mut reply, &Value::String(text));
        let mut codec = ProtocolCodec::XmlRpc(Box::default());
        assert_eq!(codec.decode(&reply, READ, &template(), false), Ok(None));
        let decoded = codec.decode(&reply, READ, &template(), true).expect("HTTP").expect("complete");
        assert_eq!((decoded.answer, decoded.used, decoded.keep_alive), (ReplyCheck::Good, reply.len(), false));
        let mut codec = ProtocolCodec::XmlRpc(Box::default());
        assert_eq!(codec.decode(&reply[..15], READ, &template(), true), Err(RequestFailure::Closed));
    }

    #[test]
    fn any_call_can_be_made_and_is_good_unless_it_faults() {
        let mut call = Vec::new();
        append_call(&mut call, "system.listMethods", &[]);
        let template = RequestTemplate { path: "/rpc".to_owned(), call: Some(call), ..template() };
        let mut codec = ProtocolCodec::XmlRpc(Box::default());
        let mut request = Vec::new();
        codec.encode(READ, &template, &mut request);
        let request = String::from_utf8(request).expect("text");
        assert!(request.starts_with("POST /rpc HTTP/1.1") && request.contains("system.listMethods"), "{request}");
        let mut body = Vec::new();
        append_response(&mut body, &Value::Array(vec![Value::String("get".into())]));
        let reply = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat();
        let decoded = codec.decode(&reply, READ, &template, false).expect("HTTP").expect("complete");
        assert_eq!(decoded.answer, ReplyCheck::Good);
    }
}
