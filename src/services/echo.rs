//! Echo (similar to RFC 862): every byte is sent back.

use super::StoreProtocol;
use crate::connection::{Exchange, Served, Service};
use crate::disconnect::Disconnect;
use crate::store::Store;

/// Sends received bytes back as fast as the client takes them: the input of a client that does not read is not read
/// either.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    type Session = ();

    fn open(&mut self, _exchange: &mut Exchange<'_>) {}

    fn serve(&mut self, _session: &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let piece = input.get(..exchange.room()).unwrap_or(input);
        exchange.reply().extend_from_slice(piece);
        exchange.env.metrics.requests += 1;
        Served::Used(piece.len())
    }

    fn refuse(&mut self, _listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        // The stream contains the client's own bytes by now, and must contain nothing else.
        if matches!(reason, Disconnect::Revoked | Disconnect::RequestTimeout | Disconnect::HeaderTimeout) {
            return;
        }
        reply.extend_from_slice(b"connection refused: ");
        reply.extend_from_slice(reason.name().as_bytes());
        reply.push(b'\n');
    }
}

/// With protocols over a store, echo does not use the store.
impl StoreProtocol for Echo {
    type Session = ();

    fn open(&mut self, exchange: &mut Exchange<'_>) {
        Service::open(self, exchange);
    }

    fn serve(&mut self, session: &mut (), _: &mut Store, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        Service::serve(self, session, input, exchange)
    }

    fn end_of_input(&mut self, session: &mut (), rest: &[u8], exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        Service::end_of_input(self, session, rest, exchange)
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        Service::refuse(self, listener, reason, reply);
    }

    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        Service::retract(self, listener, reply, out);
    }
}
