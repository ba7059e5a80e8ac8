//! What a client says and what it expects to hear, protocol by protocol.

use super::outcome::RequestFailure;
use super::wording::words;
use super::workload::{Operation, OperationKind, Values};
use crate::protocol::http::{self, ResponseDecoder, append_post};
use crate::protocol::resp::{Digits, ReplyScanner, encode_command};
use crate::protocol::xmlrpc::{self, append_call, parse_response};
use crate::value::Value;

/// One connection's protocol, with what its decoder remembers.
#[derive(Debug)]
pub enum Dialect {
    /// Every byte comes back.
    Echo,
    /// Redis's protocol: GET and SET.
    Resp(ReplyScanner),
    /// XML-RPC over HTTP: the methods `get` and `set`.
    XmlRpc(Box<ResponseDecoder>),
    /// Nothing is asked: the handshake is all.
    Silent,
}

/// What a complete reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was expected, to the byte.
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
pub struct Decoded {
    /// How many bytes it took.
    pub used: usize,
    /// What it says.
    pub answer: Answer,
    /// Whether further requests may follow on this connection.
    pub keep_alive: bool,
}

/// What all requests of a run have in common.
#[derive(Debug)]
pub struct Phrases {
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

impl Phrases {
    /// What most servers understand.
    #[must_use]
    pub fn new(values: Values, host: String) -> Self {
        Self { values, host, path: XMLRPC_PATH.to_owned(), call: None }
    }
}

/// The path that every server of Python's accepts.
pub const XMLRPC_PATH: &str = "/RPC2";

impl Dialect {
    /// Appends the request for `operation` to `out`.
    pub fn encode(&self, operation: Operation, phrases: &Phrases, out: &mut Vec<u8>) {
        let value = phrases.values.value(operation.key);
        match self {
            Self::Silent => {}
            Self::Echo => out.extend_from_slice(value),
            Self::Resp(_) => {
                let key = phrases.values.key(operation.key);
                match operation.kind {
                    OperationKind::Read => encode_command(out, &[b"GET", key.as_slice()]),
                    OperationKind::Write => encode_command(out, &[b"SET", key.as_slice(), value]),
                }
            }
            Self::XmlRpc(_) => {
                if let Some(call) = &phrases.call {
                    return append_post(out, &phrases.host, &phrases.path, call);
                }
                let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
                let key = phrases.values.key(operation.key);
                let mut body = Vec::with_capacity(256 + value.len());
                match operation.kind {
                    OperationKind::Read => append_call(&mut body, "get", &[text(&key)]),
                    OperationKind::Write => append_call(&mut body, "set", &[text(&key), text(value)]),
                }
                append_post(out, &phrases.host, &phrases.path, &body);
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
        phrases: &Phrases,
        at_end: bool,
    ) -> Result<Option<Decoded>, RequestFailure> {
        let value = phrases.values.value(operation.key);
        match self {
            Self::Silent => Err(RequestFailure::Malformed),
            Self::Echo => Ok(input.get(..value.len()).map(|echoed| Decoded {
                used: value.len(),
                answer: if echoed == value { Answer::Good } else { Answer::Bad(RequestFailure::WrongBytes) },
                keep_alive: true,
            })),
            Self::Resp(scanner) => {
                let Some(used) = scanner.advance(input).map_err(|_| RequestFailure::Malformed)? else {
                    return Ok(None);
                };
                let reply = input.get(..used).unwrap_or_default();
                Ok(Some(Decoded { used, answer: judge_resp(reply, operation.kind, value), keep_alive: true }))
            }
            Self::XmlRpc(decoder) => {
                // Cut off in the middle, if this is the end; else it is no HTTP.
                let failure = if at_end { RequestFailure::Closed } else { RequestFailure::Malformed };
                let response = decoder.decode(input, at_end, &http::HttpLimits::default()).map_err(|_| failure)?;
                Ok(response.map(|response| Decoded {
                    used: response.used,
                    answer: match &phrases.call {
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
        let Some(used) = scanner.advance(input).map_err(|_| RequestFailure::Malformed)? else { return Ok(None) };
        Ok(Some(error_words(input.get(..used).unwrap_or_default())))
    }
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

fn judge_resp(reply: &[u8], kind: OperationKind, value: &[u8]) -> Answer {
    match (reply.first(), kind) {
        (Some(b'-' | b'!'), _) => Answer::Refused(error_words(reply)),
        (_, OperationKind::Write) if reply == b"+OK\r\n" => Answer::Good,
        (_, OperationKind::Read) if reply == b"$-1\r\n" || reply == b"_\r\n" => Answer::Missing,
        (Some(b'$'), OperationKind::Read) => {
            let length = Digits::new(i64::try_from(value.len()).unwrap_or(i64::MAX));
            let found = reply
                .get(1..)
                .and_then(|rest| rest.strip_prefix(length.as_bytes()))
                .and_then(|rest| rest.strip_prefix(b"\r\n"))
                .and_then(|rest| rest.strip_suffix(b"\r\n"));
            if found == Some(value) { Answer::Good } else { Answer::Bad(RequestFailure::WrongBytes) }
        }
        _ => Answer::Bad(RequestFailure::WrongBytes),
    }
}

fn judge_xmlrpc(response: &http::Response<'_>, kind: OperationKind, value: &[u8]) -> Answer {
    if response.status != 200 {
        return Answer::Refused(words(format!("HTTP {} {}", response.status, response.reason).as_bytes()));
    }
    match (parse_response(&response.body, &xmlrpc::XmlLimits::default()), kind) {
        (Err(_), _) => Answer::Bad(RequestFailure::Malformed),
        // A dictionary behind XML-RPC answers so in Python, and servers made to replace one do too.
        (Ok(Err(fault)), OperationKind::Read) if fault.text.contains("KeyError") => Answer::Missing,
        (Ok(Err(fault)), _) => Answer::Refused(words(format!("fault {}: {}", fault.code, fault.text).as_bytes())),
        (Ok(Ok(_)), OperationKind::Write) => Answer::Good,
        (Ok(Ok(Value::String(text))), OperationKind::Read) if text.as_bytes() == value => Answer::Good,
        (Ok(Ok(_)), OperationKind::Read) => Answer::Bad(RequestFailure::WrongBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::workload::ValueSizes;
    use crate::protocol::xmlrpc::{Fault, append_fault, append_response};

    const READ: Operation = Operation { kind: OperationKind::Read, key: 7 };
    const WRITE: Operation = Operation { kind: OperationKind::Write, key: 7 };

    fn phrases() -> Phrases {
        Phrases::new(Values::new(&ValueSizes::Fixed(40), 1), "localhost:1".to_owned())
    }

    /// Decodes with every split of the bytes in two, as a socket may give them.
    fn decode(new: impl Fn() -> Dialect, reply: &[u8], operation: Operation) -> Result<Answer, RequestFailure> {
        let phrases = phrases();
        let whole = new().decode(reply, operation, &phrases, false);
        for split in 0..reply.len() {
            let mut dialect = new();
            let first = dialect.decode(&reply[..split], operation, &phrases, false);
            if let Ok(None) = first {
                assert_eq!(dialect.decode(reply, operation, &phrases, false), whole, "split at {split}");
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
        let phrases = phrases();
        let mut request = Vec::new();
        Dialect::Echo.encode(READ, &phrases, &mut request);
        assert_eq!(decode(|| Dialect::Echo, &request, READ), Ok(Answer::Good));
        request[39] ^= 1;
        assert_eq!(decode(|| Dialect::Echo, &request, READ), Ok(Answer::Bad(RequestFailure::WrongBytes)));
    }

    #[test]
    fn resp_replies_are_judged_to_the_byte() {
        let new = || Dialect::Resp(ReplyScanner::default());
        let phrases = phrases();
        let value = phrases.values.value(7);
        let bulk = [b"$40\r\n", value, b"\r\n"].concat();
        assert_eq!(decode(new, &bulk, READ), Ok(Answer::Good));
        let mut wrong = bulk.clone();
        wrong[10] ^= 1;
        let bad = |failure| Ok(Answer::Bad(failure));
        assert_eq!(decode(new, &wrong, READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, b"$-1\r\n", READ), Ok(Answer::Missing));
        assert_eq!(decode(new, b"+OK\r\n", WRITE), Ok(Answer::Good));
        assert_eq!(decode(new, b"+OK\r\n", READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, b"-ERR no\r\n", WRITE), Ok(Answer::Refused("ERR no".to_owned())));
        assert_eq!(decode(new, b"!6\r\nERR no\r\n", READ), Ok(Answer::Refused("ERR no".to_owned())));
        assert_eq!(decode(new, b"?\r\n", WRITE), Err(RequestFailure::Malformed));
        let mut request = Vec::new();
        new().encode(WRITE, &phrases, &mut request);
        assert!(request.starts_with(b"*3\r\n$3\r\nSET\r\n$") && request.ends_with(&bulk));
    }

    #[test]
    fn xmlrpc_replies_are_judged_to_the_byte() {
        let new = || Dialect::XmlRpc(Box::default());
        let phrases = phrases();
        let text = String::from_utf8(phrases.values.value(7).to_vec()).expect("ASCII");
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
        let bad = |failure| Ok(Answer::Bad(failure));
        assert_eq!(decode(new, &response(&Value::String(text)), READ), Ok(Answer::Good));
        assert_eq!(decode(new, &response(&Value::String("x".into())), READ), bad(RequestFailure::WrongBytes));
        assert_eq!(decode(new, &response(&Value::Nil), WRITE), Ok(Answer::Good));
        assert_eq!(decode(new, &fault("<class 'KeyError'>:'k'"), READ), Ok(Answer::Missing));
        let refused = |words: &str| Ok(Answer::Refused(words.to_owned()));
        assert_eq!(decode(new, &fault("denied"), WRITE), refused("fault 1: denied"));
        assert_eq!(decode(new, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", READ), refused("HTTP 503 No"));
        assert_eq!(decode(new, b"+OK\r\n", READ), Err(RequestFailure::Malformed));
    }

    #[test]
    fn a_reply_of_http_1_0_without_a_length_ends_with_the_connection() {
        let text = String::from_utf8(phrases().values.value(7).to_vec()).expect("ASCII");
        let mut reply = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        append_response(&mut reply, &Value::String(text));
        let mut dialect = Dialect::XmlRpc(Box::default());
        assert_eq!(dialect.decode(&reply, READ, &phrases(), false), Ok(None));
        let decoded = dialect.decode(&reply, READ, &phrases(), true).expect("HTTP").expect("complete");
        assert_eq!((decoded.answer, decoded.used, decoded.keep_alive), (Answer::Good, reply.len(), false));
        let mut dialect = Dialect::XmlRpc(Box::default());
        assert_eq!(dialect.decode(&reply[..15], READ, &phrases(), true), Err(RequestFailure::Closed));
    }

    #[test]
    fn any_call_can_be_made_and_is_good_unless_it_faults() {
        let mut call = Vec::new();
        append_call(&mut call, "system.listMethods", &[]);
        let phrases = Phrases { path: "/rpc".to_owned(), call: Some(call), ..phrases() };
        let mut dialect = Dialect::XmlRpc(Box::default());
        let mut request = Vec::new();
        dialect.encode(READ, &phrases, &mut request);
        let request = String::from_utf8(request).expect("text");
        assert!(request.starts_with("POST /rpc HTTP/1.1") && request.contains("system.listMethods"), "{request}");
        let mut body = Vec::new();
        append_response(&mut body, &Value::Array(vec![Value::String("get".into())]));
        let reply = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat();
        let decoded = dialect.decode(&reply, READ, &phrases, false).expect("HTTP").expect("complete");
        assert_eq!(decoded.answer, Answer::Good);
    }
}
