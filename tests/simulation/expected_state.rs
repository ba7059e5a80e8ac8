//! The effects of a client's requests on the store, one after the other: the state that a restarted server must have,
//! and the replies when nothing more can be kept.

use std::collections::BTreeMap;

use latchkey::internals::protocol::xmlrpc::Fault;
use latchkey::internals::value::Value;

use crate::protocol_model::{bulk, fault, page, response, text};

/// One client's keys and their values.
pub(crate) type Keys = BTreeMap<String, Vec<u8>>;

/// The effect of a request on the store.
#[derive(Clone, Debug)]
pub(crate) enum StoreChange {
    /// Its reply depends on nothing.
    Nothing,
    /// `GET` of one key or several.
    Read(Vec<String>),
    /// `KEYS` with a pattern that matches only this key.
    Search(String),
    Write,
    Multi,
    /// A command that `EXEC` executes; whether it writes.
    Queued(bool),
    /// `EXEC` of a `SET` and a `GET` of this key.
    Exec(String),
    /// `get` and `exists` over XML-RPC.
    Get(String),
    Exists(String),
    /// `set` and `delete` over XML-RPC.
    Call,
}

impl StoreChange {
    /// The error in place of a reply that reports lost changes.
    fn lost(&self) -> Vec<u8> {
        match self {
            Self::Get(_) | Self::Exists(_) | Self::Call => page(&fault(&lost()), ""),
            _ => LOST.to_vec(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    deed: StoreChange,
    /// Where its reply ends among those expected.
    answered: usize,
}

/// A client's answered requests in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectedState {
    before: Keys,
    entries: Vec<Entry>,
    /// After how many requests a key has changed, and its new value.
    changes: Vec<(usize, String, Option<Vec<u8>>)>,
}

const MISCONF: &[u8] =
    b"-MISCONF Errors writing to the data directory: writes are refused, and INFO persistence says why\r\n";
const LOST: &[u8] = b"-MISCONF Errors writing to the data directory: this command may not be kept\r\n";
const EXECABORT: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

impl ExpectedState {
    /// A state that continues another one.
    pub(crate) fn behind(before: Keys) -> Self {
        Self { before, ..Self::default() }
    }

    pub(crate) fn enter(&mut self, deed: StoreChange, answered: usize) {
        self.entries.push(Entry { deed, answered });
    }

    /// The last request has changed a key.
    pub(crate) fn change(&mut self, key: String, value: Option<Vec<u8>>) {
        self.changes.push((self.entries.len(), key, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of requests answered by the first `bytes` of the replies.
    pub(crate) fn answered_by(&self, bytes: usize) -> usize {
        self.entries.iter().take_while(|entry| entry.answered <= bytes).count()
    }

    /// Where the reply to request `count` ends.
    pub(crate) fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|index| self.entries.get(index)).map_or(0, |entry| entry.answered)
    }

    /// The client's keys after `count` requests.
    pub(crate) fn keys(&self, count: usize) -> Keys {
        let mut keys = self.before.clone();
        for (_, key, value) in self.changes.iter().take_while(|(behind, ..)| *behind <= count) {
            match value {
                Some(value) => drop(keys.insert(key.clone(), value.clone())),
                None => drop(keys.remove(key)),
            }
        }
        keys
    }

    /// After how many requests, at least `least`, the client has these keys; the maximum if there are several.
    pub(crate) fn behind_how_many(&self, least: usize, keys: &Keys) -> Option<usize> {
        (least..=self.len()).rev().find(|count| self.keys(*count) == *keys)
    }

    /// The replies to the requests after the first `told`, if the changes of those up to `refused` may be lost, and
    /// writes after them were refused: an error to each that writes, and to others where `received` has it, because
    /// they may have seen lost changes. `expected` are the usual replies. The disk has the state after `kept` requests.
    pub(crate) fn without(
        &self,
        told: usize,
        kept: usize,
        refused: usize,
        (expected, received): (&[u8], &[u8]),
    ) -> Vec<u8> {
        let keys = self.keys(kept);
        let value = |key: &String| keys.get(key).map(Vec::as_slice);
        let (mut replies, mut is_spoiled) = (Vec::new(), false);
        for (index, entry) in self.entries.iter().enumerate().skip(told) {
            let usual = expected.get(self.end_of(index)..entry.answered).unwrap_or_default();
            let has_changed = self.keys(index) != self.keys(index + 1);
            let reply = match &entry.deed {
                StoreChange::Nothing => usual.to_vec(),
                _ if index < refused && !has_changed => usual.to_vec(),
                StoreChange::Read(names) if names.len() == 1 => bulk(names.first().and_then(value)),
                StoreChange::Read(names) => {
                    let values = names.iter().flat_map(|name| bulk(value(name)));
                    format!("*{}\r\n", names.len()).into_bytes().into_iter().chain(values).collect()
                }
                StoreChange::Search(key) => found(value(key).map(|_| key.as_str())),
                StoreChange::Write => MISCONF.to_vec(),
                StoreChange::Multi => {
                    is_spoiled = false;
                    b"+OK\r\n".to_vec()
                }
                StoreChange::Queued(true) => {
                    is_spoiled = true;
                    MISCONF.to_vec()
                }
                StoreChange::Queued(false) => b"+QUEUED\r\n".to_vec(),
                StoreChange::Exec(_) if is_spoiled => EXECABORT.to_vec(),
                StoreChange::Exec(key) => [b"*2\r\n", MISCONF, &*bulk(value(key))].concat(),
                StoreChange::Get(key) => page(&got(key, value(key)), ""),
                StoreChange::Exists(key) => page(&response(&Value::Boolean(value(key).is_some())), ""),
                StoreChange::Call => page(&fault(&not_kept()), ""),
            };
            let word = entry.deed.lost();
            let rest = received.get(replies.len()..).unwrap_or_default();
            // What was received may end anywhere.
            let is_heard = |reply: &[u8]| rest.starts_with(reply) || reply.starts_with(rest);
            let is_lost = index < refused && has_changed || !is_heard(&reply) && is_heard(&word);
            replies.extend(if is_lost { word } else { reply });
        }
        replies
    }
}

/// The reply to a search that can find one key.
pub(crate) fn found(key: Option<&str>) -> Vec<u8> {
    match key {
        None => b"*0\r\n".to_vec(),
        Some(key) => [b"*1\r\n", &*bulk(Some(key.as_bytes()))].concat(),
    }
}

/// The reply to a `get`.
pub(crate) fn got(key: &str, value: Option<&[u8]>) -> Vec<u8> {
    value.map_or_else(|| fault(&missing(key)), |value| response(&text(value)))
}

pub(crate) fn missing(key: &str) -> Fault {
    Fault { code: 1, text: format!("<class 'KeyError'>:'{key}'") }
}

fn lost() -> Fault {
    let text = "<class 'OSError'>:the call was made, and may not be kept: the data directory cannot be written to";
    Fault { code: 1, text: text.into() }
}

fn not_kept() -> Fault {
    let text = "<class 'OSError'>:writes are refused: the data directory cannot be written to";
    Fault { code: 1, text: text.into() }
}
