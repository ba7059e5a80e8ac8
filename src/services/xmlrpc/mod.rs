//! The recipe's key/value server: XML-RPC over HTTP, with a store.

mod call_error;
mod dispatch;
mod key_scan;
mod methods;
mod python;
#[cfg(test)]
mod tests;

use crate::access::Access;
use crate::connection::{Exchange, PeerInfo, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::protocol::http::{GZIP_UP_TO, HttpLimits, HttpReply, HttpRequest, HttpStatus, KeepAlive, Method};
use crate::protocol::xmlrpc;
use crate::services::StoreProtocol;
use crate::services::http::{self, HttpFraming, HttpSession};
use crate::store::Store;
use crate::timer::Now;
use crate::value::Value;
use call_error::CallError;
use dispatch::Dispatcher;
use key_scan::fail;

/// The paths that accept calls, as in Python's server.
const PATHS: [&str; 2] = ["/", "/RPC2"];

const USAGE: &[u8] =
    b"This is an XML-RPC endpoint: calls are POST requests to / or /RPC2. From Python, for example:\n\n    \
from xmlrpc.client import ServerProxy\n    \
print(ServerProxy('https://HOST:PORT', allow_none=True).system.listMethods())\n";

/// The longest decompressed body: decompressing takes longer than reading.
const CONVERTED_BYTES: usize = xmlrpc::XmlLimits::ONE_TURN.converted;

/// The approximate size of a reply besides its value.
const DOCUMENT_BYTES: usize = 512;

/// Capacity above which a scratch buffer is freed after one large reply.
const SCRATCH_KEPT: usize = 64 << 10;

/// The style of fault codes and texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultStyle {
    /// Those of Python's `SimpleXMLRPCServer`, which the recipe's clients expect: code 1 and the exception.
    #[default]
    Python,
    /// Those of the fault code interoperability specification of 2001: -32601 for an unknown method, and so on.
    Standard,
}

/// Options of the service.
#[derive(Clone, Copy, Debug, Default)]
pub struct XmlRpcOptions {
    /// The style of fault codes and texts (`--faults`).
    pub faults: FaultStyle,
}

/// The service: the state that all its connections share.
#[derive(Debug, Default)]
pub struct XmlRpc {
    options: XmlRpcOptions,
    /// The body of the current reply; its memory is reused.
    body: Vec<u8>,
    /// Calls denied by rules that are not in the counters yet.
    denials: u64,
    /// Bytes of XML that the current call has worked on, those of a refused reply included.
    spent: usize,
    /// Why the current call could not be parsed.
    malformed: Option<&'static str>,
    http: HttpFraming,
}

/// Bytes of values that are written as XML while another request is served.
const BYTES_PER_REQUEST: usize = 4 << 10;

/// The context of a request.
#[derive(Clone, Copy)]
struct Asker<'a> {
    /// The longest reply to it, in bytes.
    reply_bytes: usize,
    now: Now,
    access: &'a Access,
}

impl<'a> Asker<'a> {
    fn new(peer: &'a PeerInfo, limits: &Limits, now: Now) -> Self {
        Self { reply_bytes: limits.call_bytes, now, access: &peer.access }
    }
}

/// The result of a call.
enum Called {
    /// A value and its approximate size in bytes as XML.
    Returned {
        value: Value,
        bytes: usize,
    },
    Failed(CallError),
    /// The call is `keys`, and there are too many keys for one turn.
    Scan,
}

impl StoreProtocol for XmlRpc {
    type Session = HttpSession;

    fn open(&mut self, _: &mut Exchange<'_>) -> HttpSession {
        HttpSession::default()
    }

    fn serve(
        &mut self,
        session: &mut HttpSession,
        store: &mut Store,
        input: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Served {
        let message = exchange.env.limits.request_bytes.min(exchange.env.limits.call_bytes);
        let bounds = HttpLimits { message, decoded: message.min(CONVERTED_BYTES), ..HttpLimits::default() };
        let request = match self.http.take(session, input, &bounds, exchange) {
            Ok(request) => request,
            Err(served) => return served,
        };
        if request.method == Method::Post && store.is_congested() {
            return Served::Congested;
        }
        let asker = Asker::new(exchange.peer, &exchange.env.limits, exchange.env.now);
        let is_answered = self.answer(&request, store, asker, exchange.reply());
        self.count(exchange);
        if !is_answered {
            self.queue_keys(request.persistence, store, exchange);
        }
        http::answered(request.used, request.persistence)
    }

    fn end_of_input(&mut self, _: &mut HttpSession, rest: &[u8], exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        self.http.end_of_input(rest, exchange)
    }

    fn inspect(&self, session: &HttpSession) -> SessionState {
        http::inspect(session)
    }

    fn refuse(&mut self, _: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        http::refuse(reason, reply);
    }

    fn retract(&mut self, _: usize, reply: &[u8], out: &mut Vec<u8>) {
        fail(&CallError::NotKept, self.options.faults, KeepAlive::of(reply), self.http.last_date(), out);
    }

    fn close(&mut self, _: HttpSession, store: &mut Store, peer: &PeerInfo) {
        store.cancel_scans(peer.id.token());
    }
}

impl XmlRpc {
    /// A service with these options.
    #[must_use]
    pub fn new(options: XmlRpcOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Counts the answered request, and logs a call that could not be parsed.
    fn count(&mut self, exchange: &mut Exchange<'_>) {
        exchange.env.metrics.requests += 1;
        exchange.env.metrics.denials += std::mem::take(&mut self.denials);
        exchange.spend(std::mem::take(&mut self.spent) / BYTES_PER_REQUEST);
        if let Some(reason) = self.malformed.take() {
            exchange.env.metrics.malformed_calls += 1;
            let peer = exchange.peer;
            tracing::info!(peer = %peer.address, id = %peer.id, reason, "malformed call");
        }
    }

    /// Whether there is a method `name`, in upper or lower case.
    #[must_use]
    pub fn is_method(name: &str) -> bool {
        methods::METHODS.iter().any(|method| method.name.eq_ignore_ascii_case(name))
    }

    /// Answers a request; `false` if it calls `keys` and there are too many for one turn.
    fn answer(&mut self, request: &HttpRequest<'_>, store: &mut Store, asker: Asker<'_>, out: &mut Vec<u8>) -> bool {
        let here = PATHS.contains(&request.target);
        let is_call = here && request.method == Method::Post;
        if is_call {
            match self.call(&request.body, store, asker) {
                Called::Scan => return false,
                Called::Returned { value, bytes } if bytes > GZIP_UP_TO => {
                    self.append_large(&value, bytes, request.persistence, asker.now, out);
                    return true;
                }
                Called::Returned { value, bytes } => {
                    self.body.reserve(DOCUMENT_BYTES + bytes);
                    xmlrpc::append_response(&mut self.body, &value);
                }
                Called::Failed(failure) => xmlrpc::append_fault(&mut self.body, &failure.fault(self.options.faults)),
            }
        }
        let date = Some(self.http.date(asker.now));
        let reply = match request.method {
            Method::Post if here => HttpReply { content_type: "text/xml", ..HttpReply::text(&self.body, date) },
            Method::Options if here || request.target == "*" => {
                HttpReply { status: HttpStatus::NO_CONTENT, fields: "Allow: POST\r\n", ..HttpReply::text(b"", date) }
            }
            _ if here => HttpReply {
                status: HttpStatus::METHOD_NOT_ALLOWED,
                fields: "Allow: POST\r\n",
                ..HttpReply::text(USAGE, date)
            },
            _ => HttpReply {
                status: HttpStatus::NOT_FOUND,
                ..HttpReply::text(b"No such page. Calls are taken at / and /RPC2.\n", date)
            },
        };
        HttpReply {
            persistence: request.persistence,
            accepts_gzip: request.accepts_gzip,
            head_only: request.method == Method::Head,
            ..reply
        }
        .append(out);
        if self.body.capacity() > SCRATCH_KEPT {
            self.body = Vec::new();
        }
        true
    }

    /// Appends a reply that is too large to compress. Its body is written directly to the output: copying it from a
    /// buffer would take as long as everything else.
    fn append_large(&mut self, value: &Value, bytes: usize, persistence: KeepAlive, now: Now, out: &mut Vec<u8>) {
        let date = Some(self.http.date(now));
        out.reserve(DOCUMENT_BYTES + bytes);
        let length = HttpReply { content_type: "text/xml", persistence, ..HttpReply::text(b"", date) }.append_head(out);
        xmlrpc::append_response(out, value);
        length.fill(out);
    }

    /// Makes the call in `document`.
    fn call(&mut self, document: &[u8], store: &mut Store, asker: Asker<'_>) -> Called {
        let parsed = xmlrpc::parse_call(document, &xmlrpc::XmlLimits::ONE_TURN);
        self.malformed = parsed.as_ref().err().map(xmlrpc::ParseError::name);
        let mut dispatcher = Dispatcher::new(store, asker.now, self.options.faults, asker.access);
        dispatcher.limits.reply_bytes = asker.reply_bytes;
        let result = parsed.map_err(CallError::from).and_then(|(method, params)| dispatcher.call(method, params));
        self.denials += dispatcher.denials;
        self.spent = dispatcher.spent;
        self.body.clear();
        match result {
            _ if dispatcher.asks_for_many_keys => Called::Scan,
            Ok(value) => Called::Returned { value, bytes: dispatcher.spent },
            Err(failure) => Called::Failed(failure),
        }
    }
}
