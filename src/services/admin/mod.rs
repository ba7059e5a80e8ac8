//! Health and metrics of a running server over HTTP, for operators.
//!
//! This is a protocol like the others, with the same listeners, limits, certificates and rules.

mod exposition;
mod metrics;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::access::{Class, Reach};
use crate::connection::{Exchange, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::protocol::http::{HttpLimits, HttpReply, HttpRequest, HttpStatus, Method};
use crate::services::StoreProtocol;
use crate::services::http::{self, HttpFraming, HttpSession};
use crate::store::Store;
use crate::timer::Now;

/// No request here needs a body.
const BOUNDS: HttpLimits = HttpLimits { head: 16 << 10, message: 32 << 10, decoded: 16 << 10 };

/// The name that a rule must grant before metrics are shown: they describe all clients.
const METRICS: &str = "metrics";

const USAGE: &[u8] =
    b"latchkey\n\n/metrics  counters and gauges, in the text format of Prometheus\n/health   200 while connections are served\n";

/// The service: the state that all its connections share.
#[derive(Debug)]
pub struct Admin {
    started: Now,
    /// The names of the protocols that the listeners speak, by their index.
    protocols: Vec<&'static str>,
    http: HttpFraming,
    /// Log lines that were dropped.
    dropped: Arc<AtomicU64>,
}

impl StoreProtocol for Admin {
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
        let request = match self.http.take(session, input, &BOUNDS, exchange) {
            Ok(request) => request,
            Err(served) => return served,
        };
        exchange.env.metrics.requests += 1;
        self.answer(&request, store, exchange);
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

    /// Nothing to write: replies with metrics are not held.
    fn retract(&mut self, _: usize, _: &[u8], _: &mut Vec<u8>) {}
}

impl Admin {
    /// A service created at `now`, beside listeners with the protocols `protocols`.
    #[must_use]
    pub fn new(protocols: Vec<&'static str>, now: Now) -> Self {
        Self { started: now, protocols, http: HttpFraming::default(), dropped: Arc::default() }
    }

    /// Adds the count of dropped log lines to the metrics.
    pub fn watch_log(&mut self, dropped: Arc<AtomicU64>) {
        self.dropped = dropped;
    }

    /// What `name`, in upper or lower case, acts on if a rule may grant it.
    #[must_use]
    pub fn reach(name: &str) -> Option<Reach> {
        name.eq_ignore_ascii_case(METRICS).then_some(Reach::Server)
    }

    fn answer(&mut self, request: &HttpRequest<'_>, store: &Store, exchange: &mut Exchange<'_>) {
        let is_read = matches!(request.method, Method::Get | Method::Head);
        // A query would select a part of the metrics; all of them answer it too.
        let path = request.target.split('?').next().unwrap_or_default();
        let (status, content_type, body) = match path {
            "/" | "/health" | "/metrics" if !is_read => {
                (HttpStatus::METHOD_NOT_ALLOWED, "", "Only GET and HEAD.\n".into())
            }
            "/" => (HttpStatus::OK, "", USAGE.into()),
            "/health" => (HttpStatus::OK, "", "ok\n".into()),
            "/metrics" if !exchange.peer.access.allows(Class::Server, METRICS, None) => {
                exchange.env.metrics.denials += 1;
                (HttpStatus::FORBIDDEN, "", "No rule grants \"metrics\" to this identity.\n".into())
            }
            "/metrics" => {
                // It costs as much as many other requests.
                exchange.spend(exchange.env.limits.requests_per_turn / 4);
                let text = metrics::write(exchange, store, self);
                (HttpStatus::OK, exposition::CONTENT_TYPE, text.into_bytes())
            }
            _ => (HttpStatus::NOT_FOUND, "", "No such page. There are / and /metrics and /health.\n".into()),
        };
        let reply = HttpReply::text(&body, Some(self.http.date(exchange.env.now)));
        HttpReply {
            status,
            content_type: if content_type.is_empty() { reply.content_type } else { content_type },
            fields: if status == HttpStatus::METHOD_NOT_ALLOWED { "Allow: GET, HEAD\r\n" } else { "" },
            persistence: request.persistence,
            accepts_gzip: request.accepts_gzip,
            head_only: request.method == Method::Head,
            ..reply
        }
        .append(exchange.reply());
    }
}
