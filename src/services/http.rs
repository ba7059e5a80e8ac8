//! The HTTP/1.1 layer of the services over it: decodes requests, answers errors, keeps or closes connections.

use crate::connection::{Exchange, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::protocol::http::{
    CONTINUE, DateCache, DecodeProgress, HttpError, HttpLimits, HttpReply, HttpRequest, HttpStatus, KeepAlive,
    RequestDecoder, append_error,
};
use crate::timer::Now;

/// A refused client should wait a second.
const RETRY: &str = "Retry-After: 1\r\n";

/// The state of one HTTP connection between requests: positions in the current one.
pub type HttpSession = RequestDecoder;

/// The state that all connections of one service share.
#[derive(Debug, Default)]
pub(super) struct HttpFraming {
    date: DateCache,
}

impl HttpFraming {
    /// Takes the request at the front of `input`. If there is none, the error is what the service returns: the request
    /// is incomplete, or malformed and answered.
    pub(super) fn take<'a>(
        &mut self,
        session: &mut HttpSession,
        input: &'a [u8],
        limits: &HttpLimits,
        exchange: &mut Exchange<'_>,
    ) -> Result<HttpRequest<'a>, Served> {
        match session.decode(input, limits) {
            Ok(DecodeProgress::Complete(request)) => Ok(request),
            Ok(DecodeProgress::Incomplete) => Err(Served::Incomplete),
            Ok(DecodeProgress::Continue) => {
                exchange.reply().extend_from_slice(CONTINUE);
                Err(Served::Incomplete)
            }
            Err(error) => {
                append_error(error, Some(self.date(exchange.env.now)), exchange.reply());
                exchange.explain(error.to_string());
                Err(Served::Close(if error.is_too_large() { Disconnect::TooLarge } else { Disconnect::Malformed }))
            }
        }
    }

    /// The value of the `Date` field (RFC 9110, 6.6.1).
    pub(super) fn date(&mut self, now: Now) -> &[u8] {
        self.date.text(now.unix_seconds())
    }

    /// The date of the latest reply, for a reply that is made outside a request's turn.
    pub(super) fn last_date(&self) -> &[u8] {
        self.date.last()
    }

    /// The client sends no more; `rest` is its unfinished request.
    pub(super) fn end_of_input(&mut self, rest: &[u8], exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        if RequestDecoder::is_between_requests(rest) {
            return None;
        }
        let error = HttpError::Malformed("the request is cut off");
        append_error(error, Some(self.date(exchange.env.now)), exchange.reply());
        exchange.explain("in the middle of an HTTP request");
        Some(Disconnect::CutOff)
    }
}

/// The connection's state, from its HTTP session.
pub(super) fn inspect(session: &HttpSession) -> SessionState {
    SessionState { is_in_head: session.is_in_head(), memory: session.memory() }
}

/// What the service returns for an answered request: the client may have asked to close the connection.
pub(super) fn answered(used: usize, persistence: KeepAlive) -> Served {
    match persistence {
        KeepAlive::Close => Served::Close(Disconnect::Finished),
        _ => Served::Used(used),
    }
}

/// Appends the reply for a client that is refused for `reason` without being served.
pub(super) fn refuse(reason: Disconnect, out: &mut Vec<u8>) {
    let (status, fields, body) = match reason {
        Disconnect::Denied => (HttpStatus::FORBIDDEN, "", "No rule lets this identity in.\n"),
        Disconnect::Revoked => (HttpStatus::FORBIDDEN, "", "This certificate's access has been withdrawn.\n"),
        Disconnect::RequestTimeout | Disconnect::HeaderTimeout => {
            (HttpStatus::REQUEST_TIMEOUT, "", "The request did not arrive in time.\n")
        }
        Disconnect::Refused => (HttpStatus::SERVICE_UNAVAILABLE, RETRY, "The server has too many connections.\n"),
        Disconnect::AddressLimit => {
            (HttpStatus::SERVICE_UNAVAILABLE, RETRY, "Your address has too many connections to this server.\n")
        }
        _ => (HttpStatus::SERVICE_UNAVAILABLE, RETRY, "The server cannot serve this connection now.\n"),
    };
    let persistence = KeepAlive::Close;
    HttpReply { status, fields, persistence, ..HttpReply::text(body.as_bytes(), None) }.append(out);
}
