//! Requests of clients in each protocol, and the replies of a server without faults: the model.

use latchkey::internals::net::sim::SimRandom;
use latchkey::internals::protocol::xmlrpc::{self, Fault};
use latchkey::internals::services::Protocol;
use latchkey::internals::value::Value;

use crate::expected_state::{ExpectedState, Keys, StoreChange, found, got, missing};
use crate::numbered_service;
use crate::script::{Conduct, Scale};

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProtocolModel {
    /// The protocol of [`numbered_service`](super::numbered_service).
    NumberedService,
    Echo,
    XmlRpc,
    Resp,
}

impl ProtocolModel {
    pub(crate) const ALL: [Self; 4] = [Self::NumberedService, Self::Echo, Self::XmlRpc, Self::Resp];

    /// The program's protocol that serves it.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::NumberedService | Self::Echo => Protocol::Echo,
            Self::XmlRpc => Protocol::XmlRpc,
            Self::Resp => Protocol::Resp,
        }
    }

    /// The nearest conduct that this protocol allows.
    pub(crate) fn adapt(self, conduct: Conduct) -> Conduct {
        match (self, conduct) {
            (Self::Echo, Conduct::Bye | Conduct::Garbled)
            | (Self::Echo | Self::XmlRpc | Self::Resp, Conduct::Abandoned) => Conduct::Polite,
            (Self::Echo | Self::XmlRpc | Self::Resp, Conduct::Unanswered) => Conduct::HalfClose,
            _ => conduct,
        }
    }
}

/// One client's requests, and the model's replies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) asked: Vec<u8>,
    pub(crate) expected: Vec<u8>,
    /// Where each request ends in `asked`, and its reply in `expected`.
    marks: Vec<(usize, usize)>,
    /// The effects of the requests on the store.
    pub(crate) ledger: ExpectedState,
    /// No more requests are answered.
    over: bool,
    requests: u64,
    /// The client's own keys: no other client uses them.
    keys: Keys,
    pub(crate) name: String,
}

impl Conversation {
    pub(crate) fn draw(
        tongue: ProtocolModel,
        conduct: Conduct,
        name: String,
        random: &mut SimRandom,
        scale: Scale,
    ) -> Self {
        let mut conversation = Self { name, ..Self::default() };
        conversation.go_on(tongue, random, scale);
        match conduct {
            Conduct::Bye => conversation.take_leave(tongue),
            Conduct::Garbled => conversation.garble(tongue),
            Conduct::Abandoned => conversation.desk("drop\n", b""),
            Conduct::Unanswered => {
                conversation.desk("never\n", b"");
                return conversation;
            }
            _ => return conversation,
        }
        conversation.over = true;
        conversation.ask(tongue, random, 5);
        conversation.ask(tongue, random, 5);
        conversation
    }

    /// The conversation of a client with this name that has reconnected: first it reads all of its keys, which are
    /// `keys`.
    pub(crate) fn resume(
        tongue: ProtocolModel,
        name: String,
        keys: Keys,
        random: &mut SimRandom,
        scale: Scale,
    ) -> Self {
        let mut conversation = Self { ledger: ExpectedState::behind(keys.clone()), keys, name, ..Self::default() };
        for number in ["0", "1", "2", COUNT] {
            let key = format!("{}:{number}", conversation.name);
            match tongue {
                ProtocolModel::Resp => conversation.get(key),
                ProtocolModel::XmlRpc => conversation.call_get(key, random),
                ProtocolModel::NumberedService | ProtocolModel::Echo => {}
            }
        }
        conversation.go_on(tongue, random, scale);
        conversation
    }

    fn go_on(&mut self, tongue: ProtocolModel, random: &mut SimRandom, scale: Scale) {
        for _ in 0..random.size(1, scale.requests) {
            let size = if random.chance(0.1) { random.size(0, scale.bytes) } else { random.size(0, 20) };
            self.ask(tongue, random, size);
        }
    }

    /// Length of the replies to the first `heard` bytes.
    pub(crate) fn answers(&self, tongue: ProtocolModel, heard: usize) -> usize {
        if tongue == ProtocolModel::Echo {
            return heard.min(self.asked.len());
        }
        self.marks.iter().take_while(|(asked, _)| *asked <= heard).last().map_or(0, |(_, answered)| *answered)
    }

    /// Index of the request that is incomplete when `sent` bytes have been sent, for protocols in which the server sees
    /// where it begins.
    pub(crate) fn request_at(&self, sent: usize) -> Option<usize> {
        let whole = self.marks.iter().take_while(|(asked, _)| *asked <= sent).count();
        let begins = whole.checked_sub(1).and_then(|last| self.marks.get(last)).map_or(0, |(asked, _)| *asked);
        (begins < sent && whole < self.marks.len()).then_some(whole)
    }

    fn exchange(&mut self, request: &[u8], reply: &[u8], deed: StoreChange) {
        self.asked.extend_from_slice(request);
        if !self.over {
            self.expected.extend_from_slice(reply);
            self.marks.push((self.asked.len(), self.expected.len()));
            self.ledger.enter(deed, self.expected.len());
        }
    }

    /// The last request has changed a key.
    fn change(&mut self, key: String, value: Option<Vec<u8>>) {
        if self.over {
            return;
        }
        match &value {
            Some(value) => drop(self.keys.insert(key.clone(), value.clone())),
            None => drop(self.keys.remove(&key)),
        }
        self.ledger.change(key, value);
    }

    fn ask(&mut self, tongue: ProtocolModel, random: &mut SimRandom, size: usize) {
        match tongue {
            ProtocolModel::Echo => {
                let bytes = letters(size);
                self.exchange(&bytes, &bytes, StoreChange::Nothing);
            }
            ProtocolModel::NumberedService => self.ask_numbered_service(random, size),
            ProtocolModel::XmlRpc => self.ask_xmlrpc(random, size),
            ProtocolModel::Resp => self.ask_resp(random, size),
        }
    }

    fn take_leave(&mut self, tongue: ProtocolModel) {
        match tongue {
            ProtocolModel::NumberedService | ProtocolModel::Echo => self.desk("bye\n", b""),
            ProtocolModel::Resp => self.exchange(b"QUIT\r\n", b"+OK\r\n", StoreChange::Nothing),
            ProtocolModel::XmlRpc => {
                let key = Value::String(format!("{}:none", self.name));
                let body = call("exists", &[key]);
                let answer = response(&Value::Boolean(false));
                let (request, reply) = (post(&body, CLOSE), page(&answer, CLOSE));
                self.exchange(&request, &reply, StoreChange::Nothing);
            }
        }
    }

    fn garble(&mut self, tongue: ProtocolModel) {
        match tongue {
            ProtocolModel::NumberedService | ProtocolModel::Echo => self.desk("nonsense\n", b""),
            ProtocolModel::Resp => {
                let reply = b"-ERR Protocol error: expected '$', got '!'\r\n";
                self.exchange(b"*1\r\n!\r\n", reply, StoreChange::Nothing);
            }
            ProtocolModel::XmlRpc => {
                let text = "a POST needs Content-Length or Transfer-Encoding: chunked\n";
                let mut reply = head("411 Length Required");
                reply.extend(format!(
                    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                ).bytes());
                self.exchange(b"POST /RPC2 HTTP/1.1\r\nHost: simulated\r\n\r\n", &reply, StoreChange::Nothing);
            }
        }
    }

    fn desk(&mut self, line: &str, behind: &[u8]) {
        let request = [line.as_bytes(), behind].concat();
        let reply = numbered_service::Request::decode(&request).0.reply(self.requests).unwrap_or_default();
        self.requests += 1;
        self.exchange(&request, &reply, StoreChange::Nothing);
    }

    fn ask_numbered_service(&mut self, random: &mut SimRandom, size: usize) {
        match random.below(12) {
            0..4 => self.desk("now\n", b""),
            4..8 => {
                let longest = random.one_of([1, 30, 3_000]);
                // Contains its name, so that a late reply to another client is noticed.
                self.desk(&format!("late {} {}\n", random.below(longest), self.name), b"");
            }
            8 => self.desk(&format!("big {size}\n"), b""),
            9..11 => self.desk(&format!("put {size}\n"), &bytes(size)),
            _ => self.desk("hush\n", b""),
        }
    }

    fn key(&self, random: &mut SimRandom) -> String {
        format!("{}:{}", self.name, random.below(3))
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.keys.get(key).map(Vec::as_slice)
    }

    fn get(&mut self, key: String) {
        let reply = bulk(self.value(&key));
        self.exchange(&command(&[b"GET", key.as_bytes()]), &reply, StoreChange::Read(vec![key]));
    }

    fn ask_resp(&mut self, random: &mut SimRandom, size: usize) {
        let (key, other) = (self.key(random), self.key(random));
        let value = bytes(size);
        match random.below(12) {
            0..3 => {
                self.exchange(&command(&[b"SET", key.as_bytes(), &value]), b"+OK\r\n", StoreChange::Write);
                self.change(key, Some(value));
            }
            3..5 => self.get(key),
            5 => {
                let reply = format!(":{}\r\n", u8::from(self.keys.contains_key(&key)));
                self.exchange(&command(&[b"DEL", key.as_bytes()]), reply.as_bytes(), StoreChange::Write);
                self.change(key, None);
            }
            6 => {
                let counter = format!("{}:{COUNT}", self.name);
                let count = self.value(&counter).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                let count = (count.unwrap_or(0) + 1).to_string();
                let request = command(&[b"INCR", counter.as_bytes()]);
                self.exchange(&request, format!(":{count}\r\n").as_bytes(), StoreChange::Write);
                self.change(counter, Some(count.into_bytes()));
            }
            7 => {
                let whole = [self.value(&key).unwrap_or_default(), &value].concat();
                let reply = format!(":{}\r\n", whole.len());
                self.exchange(&command(&[b"APPEND", key.as_bytes(), &value]), reply.as_bytes(), StoreChange::Write);
                self.change(key, Some(whole));
            }
            8 => {
                let reply = [b"*2\r\n", &*bulk(self.value(&key)), &*bulk(self.value(&other))].concat();
                let request = command(&[b"MGET", key.as_bytes(), other.as_bytes()]);
                self.exchange(&request, &reply, StoreChange::Read(vec![key, other]));
            }
            9 => self.exchange(&command(&[b"ECHO", &value]), &bulk(Some(&value)), StoreChange::Nothing),
            10 => self.transact(&key, value),
            _ => {
                // Answered in steps, in a later turn, and nothing may overtake it.
                let reply = found(self.value(&key).map(|_| key.as_str()));
                let pattern = key.replace(":0", ":[0]").replace(":1", ":[1]").replace(":2", ":[2]");
                self.exchange(&command(&[b"KEYS", pattern.as_bytes()]), &reply, StoreChange::Search(key));
            }
        }
    }

    fn transact(&mut self, key: &str, value: Vec<u8>) {
        self.exchange(&command(&[b"MULTI"]), b"+OK\r\n", StoreChange::Multi);
        self.exchange(&command(&[b"SET", key.as_bytes(), &value]), b"+QUEUED\r\n", StoreChange::Queued(true));
        self.exchange(&command(&[b"GET", key.as_bytes()]), b"+QUEUED\r\n", StoreChange::Queued(false));
        let reply = [b"*2\r\n+OK\r\n", &*bulk(Some(&value))].concat();
        self.exchange(&command(&[b"EXEC"]), &reply, StoreChange::Exec(key.to_owned()));
        self.change(key.to_owned(), Some(value));
    }

    fn call_get(&mut self, key: String, random: &mut SimRandom) {
        let (body, answer) = (call("get", &[Value::String(key.clone())]), got(&key, self.value(&key)));
        self.post(&body, &answer, StoreChange::Get(key), random);
    }

    fn ask_xmlrpc(&mut self, random: &mut SimRandom, size: usize) {
        let key = self.key(random);
        let name = Value::String(key.clone());
        match random.below(6) {
            0..2 => {
                let value = letters(size);
                self.post(&call("set", &[name, text(&value)]), &response(&Value::Nil), StoreChange::Call, random);
                self.change(key, Some(value));
            }
            2..4 => self.call_get(key, random),
            4 => {
                let answer = response(&Value::Boolean(self.keys.contains_key(&key)));
                self.post(&call("exists", &[name]), &answer, StoreChange::Exists(key), random);
            }
            _ => {
                let existed = self.keys.contains_key(&key);
                let answer = if existed { response(&Value::Nil) } else { fault(&missing(&key)) };
                self.post(&call("delete", &[name]), &answer, StoreChange::Call, random);
                self.change(key, None);
            }
        }
    }

    fn post(&mut self, body: &[u8], answer: &[u8], deed: StoreChange, random: &mut SimRandom) {
        let request = if random.chance(0.3) { chunked(body, random) } else { post(body, "") };
        self.exchange(&request, &page(answer, ""), deed);
    }
}

/// The name of a client's counter among its keys.
const COUNT: &str = "count";

const CLOSE: &str = "Connection: close\r\n";

fn letters(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..251).cycle().take(size).collect()
}

fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
    request.extend(arguments.iter().flat_map(|argument| bulk(Some(argument))));
    request
}

pub(crate) fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => b"$-1\r\n".to_vec(),
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
    }
}

pub(crate) fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn call(method: &str, params: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    xmlrpc::append_call(&mut body, method, params);
    body
}

pub(crate) fn response(value: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    xmlrpc::append_response(&mut body, value);
    body
}

pub(crate) fn fault(fault: &Fault) -> Vec<u8> {
    let mut body = Vec::new();
    xmlrpc::append_fault(&mut body, fault);
    body
}

fn post(body: &[u8], fields: &str) -> Vec<u8> {
    let head = format!("POST /RPC2 HTTP/1.1\r\nHost: simulated\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], random: &mut SimRandom) -> Vec<u8> {
    let mut request = b"POST /RPC2 HTTP/1.1\r\nHost: simulated\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let size = random.one_of([10, 100, 10_000]);
    for chunk in body.chunks(size) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// The head of a reply, with the date that [`hide_dates`] replaces every date by.
fn head(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nServer: latchkey\r\nDate: {}\r\n", "?".repeat(DATE_BYTES)).into_bytes()
}

pub(crate) fn page(body: &[u8], fields: &str) -> Vec<u8> {
    let rest = format!("Content-Type: text/xml\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
    [&*head("200 OK"), rest.as_bytes(), body].concat()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
const DATE_BYTES: usize = 29;

/// Replaces all dates in replies: the model does not know when they are sent.
pub(crate) fn hide_dates(replies: &mut [u8]) {
    const FIELD: &[u8] = b"\r\nDate: ";
    let mut from = 0;
    while let Some(found) =
        replies.get(from..).and_then(|rest| rest.windows(FIELD.len()).position(|part| part == FIELD))
    {
        let start = from + found + FIELD.len();
        let end = (start + DATE_BYTES).min(replies.len());
        replies.get_mut(start..end).unwrap_or_default().fill(b'?');
        from = end;
    }
}
