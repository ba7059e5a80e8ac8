//! Echo (in the manner of RFC 862): every byte comes back.

use crate::connection::{Exchange, PeerInfo, Served, Service};
use crate::metrics::Disconnect;
use crate::timer::Now;

/// Sends back what it receives, as far as the client takes it: a client that does not read is not read either.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    type Session = ();

    fn open(&mut self, _peer: &PeerInfo, _now: Now) {}

    fn serve(&mut self, _session: &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let piece = input.get(..exchange.room()).unwrap_or(input);
        exchange.reply().extend_from_slice(piece);
        exchange.env.metrics.requests += 1;
        Served::Used(piece.len())
    }

    fn refuse(&mut self, _listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        // What is in the stream by now is the client's own, and nothing else may stand in it.
        if matches!(reason, Disconnect::Revoked | Disconnect::RequestTimeout | Disconnect::HeaderTimeout) {
            return;
        }
        reply.extend_from_slice(b"connection refused: ");
        reply.extend_from_slice(reason.name().as_bytes());
        reply.push(b'\n');
    }
}
