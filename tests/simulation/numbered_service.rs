//! A service for checking: every reply contains the number of its request, so that a lost, repeated or misplaced one is
//! noticed.
//!
//! A request is a line. Reply number `i` of a connection is
//!
//! | request | reply |
//! |---|---|
//! | `now` | `i now` at once |
//! | `late MS WHO` | `i late WHO`, completed MS milliseconds later: even numbers by the service, odd ones from outside |
//! | `big N` | `i ` and N bytes |
//! | `put N`, then N bytes | `i put S`, their sum |
//! | `hush` | none |
//! | `drop` | none: the deferred reply is dropped |
//! | `never` | none: the reply is deferred and never completed |
//! | `bye` | `i bye`, and the connection ends |
//! | anything else | `i what?`, and the connection ends |

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use latchkey::internals::connection::{Deferred, Environment, Exchange, Served, Service, Tick};
use latchkey::internals::disconnect::Disconnect;

use crate::service::Books;

/// Maximum length of a line.
const LINE_BYTES: usize = 100;

/// Sent to a refused client.
const REFUSAL: &[u8] = b"full\n";
/// Sent to a client whose request timed out.
const LATE: &[u8] = b"too late\n";

/// A deferred reply and when it is completed.
pub(crate) struct Pending {
    pub(crate) due: Instant,
    pub(crate) deferred: Deferred,
    pub(crate) reply: Vec<u8>,
}

/// The service.
pub(crate) struct NumberedService {
    inside: Vec<Pending>,
    never: Vec<Deferred>,
    books: Rc<RefCell<Books>>,
}

impl NumberedService {
    pub(crate) fn new(books: Rc<RefCell<Books>>) -> Self {
        Self { inside: Vec::new(), never: Vec::new(), books }
    }
}

/// A request, with the bytes it occupies.
pub(crate) enum Request {
    Incomplete,
    Now,
    Late(Duration, String),
    Big(usize),
    Put(u64),
    Hush,
    Drop,
    Never,
    Bye,
    Unknown,
}

impl Request {
    pub(crate) fn decode(input: &[u8]) -> (Self, usize) {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return if input.len() > LINE_BYTES { (Self::Unknown, input.len()) } else { (Self::Incomplete, 0) };
        };
        let (line, rest) = input.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        let text = std::str::from_utf8(line).unwrap_or_default();
        let (verb, number) = text.split_once(' ').unwrap_or((text, "0"));
        let (number, who) = number.split_once(' ').unwrap_or((number, ""));
        let number: u32 = number.parse().unwrap_or(0);
        let size = number as usize;
        let request = match verb {
            "now" => Self::Now,
            "late" => Self::Late(Duration::from_millis(number.into()), who.to_owned()),
            "big" => Self::Big(size),
            "put" => match rest.get(..size) {
                Some(bytes) => {
                    return (Self::Put(bytes.iter().copied().map(u64::from).sum()), end + 1 + size);
                }
                None => return (Self::Incomplete, 0),
            },
            "hush" => Self::Hush,
            "drop" => Self::Drop,
            "never" => Self::Never,
            "bye" => Self::Bye,
            _ => Self::Unknown,
        };
        (request, end + 1)
    }

    /// The reply to this request as the `index`th of its connection; `None` if there is none.
    pub(crate) fn reply(&self, index: u64) -> Option<Vec<u8>> {
        let text = match self {
            Self::Now => "now".into(),
            Self::Late(_, who) => format!("late {who}"),
            Self::Put(sum) => format!("put {sum}"),
            Self::Bye => "bye".into(),
            Self::Unknown => "what?".into(),
            Self::Big(size) => "0123456789".chars().cycle().take(*size).collect(),
            Self::Incomplete | Self::Hush | Self::Drop | Self::Never => return None,
        };
        Some(format!("{index} {text}\n").into_bytes())
    }
}

impl Service for NumberedService {
    /// Number of requests answered.
    type Session = u64;

    fn open(&mut self, _: &mut Exchange<'_>) -> u64 {
        0
    }

    fn serve(&mut self, index: &mut u64, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let mut books = self.books.borrow_mut();
        let owed = books.owed.entry(exchange.peer.address).or_default();
        let (request, used) = Request::decode(input);
        let reply = request.reply(*index);
        *owed += reply.as_ref().map_or(0, Vec::len);
        match (&request, reply) {
            (Request::Incomplete, _) => return Served::Incomplete,
            (Request::Late(delay, _), Some(reply)) => {
                let pending = Pending { due: exchange.env.now.instant + *delay, deferred: exchange.defer(), reply };
                if index.is_multiple_of(2) { &mut self.inside } else { &mut books.outside }.push(pending);
            }
            (Request::Drop, _) => drop(exchange.defer()),
            (Request::Never, _) => self.never.push(exchange.defer()),
            (_, Some(reply)) => exchange.reply().extend_from_slice(&reply),
            (_, None) => {}
        }
        *index += 1;
        exchange.env.metrics.requests += 1;
        match request {
            Request::Bye => Served::Close(Disconnect::Finished),
            Request::Unknown => Served::Close(Disconnect::Malformed),
            _ => Served::Used(used),
        }
    }

    fn refuse(&mut self, _listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        reply.extend_from_slice(if reason == Disconnect::RequestTimeout { LATE } else { REFUSAL });
    }

    fn tick(&mut self, env: &mut Environment) -> Tick {
        let now = env.now.instant;
        complete_due(&mut self.inside, now);
        let again_in = self.inside.iter().map(|pending| pending.due - now).min();
        Tick { again_in, ..Tick::default() }
    }
}

/// Completes replies that are due, the latest deferral first.
pub(crate) fn complete_due(pending: &mut Vec<Pending>, now: Instant) {
    for index in (0..pending.len()).rev() {
        if pending.get(index).is_some_and(|pending| pending.due <= now) {
            let Pending { deferred, reply, .. } = pending.swap_remove(index);
            deferred.complete(reply);
        }
    }
}
