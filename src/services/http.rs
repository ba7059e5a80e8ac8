//! HTTP/1.1 for the services that speak it: requests in, errors answered, connections kept or closed.

use crate::connection::{Exchange, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::protocol::http::{
    CONTINUE, DateCache, DecodeProgress, HttpError, HttpLimits, HttpReply, HttpRequest, HttpStatus, KeepAlive,
    RequestDecoder, append_error,
};
use crate::timer::Now;

/// A client that is turned away does well to wait a second.
const RETRY: &str = "Retry-After: 1\r\n";

/// What one HTTP connection remembers between requests: where the parts of the present one begin.
pub type HttpSession = RequestDecoder;

/// What all connections of one service share.
#[derive(Debug, Default)]
pub(super) struct HttpFraming {
    date: DateCache,
}

impl HttpFraming {
    /// Takes the request at the front of `input`. Without one, the result is what the service returns: it is incomplete,
    /// or an error that has been answered.
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

    /// The date of the latest reply, for one that is made outside a turn's request.
    pub(super) fn last_date(&self) -> &[u8] {
        self.date.last()
    }

    /// The client sends no more; `rest` is the request that it left unfinished.
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

/// What an HTTP session says about its connection.
pub(super) fn inspect(session: &HttpSession) -> SessionState {
    SessionState { is_in_head: session.is_in_head(), memory: session.memory() }
}

/// What the service returns for a request that is answered: a client may have asked for the end of the connection.
pub(super) fn answered(used: usize, persistence: KeepAlive) -> Served {
    match persistence {
        KeepAlive::Close => Served::Close(Disconnect::Finished),
        _ => Served::Used(used),
    }
}

/// Appends what a client reads that is turned away for `reason` without being served.
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
