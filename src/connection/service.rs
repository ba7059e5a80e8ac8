//! The one trait a protocol implements to be served.

use std::net::SocketAddr;
use std::sync::Arc;

use super::id::PeerId;
use super::replies::{Deferred, Mailbox, Replies};
use crate::limits::Limits;
use crate::metrics::{Disconnect, Metrics};
use crate::timer::Now;
use crate::tls::Identity;

/// What a server serves: how bytes become requests and what is answered.
///
/// One value of this type lives on each loop and serves every connection of every listener, so state that connections
/// share (a store, a counter) is a plain field: no lock, no reference count. What a single connection must remember
/// between calls is its [`Session`](Service::Session). A service never sees a socket, TLS, or a partial write; limits,
/// deadlines, back-pressure, drain and metrics are the connection's and the server's.
pub trait Service {
    /// What the framing of one connection remembers between calls.
    type Session;

    /// A connection is ready to be served: its handshake, if any, is done.
    fn open(&mut self, peer: &PeerInfo, now: Now) -> Self::Session;

    /// Takes at most one request from the front of `input` and answers it through `exchange`.
    ///
    /// Returns how many bytes of `input` the request used. `Ok(0)` means that the request is not complete: the call is
    /// repeated, with the same bytes and more behind them, when more have arrived. (To avoid scanning bytes twice, keep
    /// a position in the session; it counts from the front of `input`, which does not move until bytes are used.)
    ///
    /// # Errors
    ///
    /// `Err(reason)` closes the connection after all replies written so far, this call's included, have been sent.
    fn serve(
        &mut self,
        session: &mut Self::Session,
        input: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Result<usize, Disconnect>;

    /// The peer will send no more; `rest` is the incomplete request it leaves, often empty.
    ///
    /// A last reply may be written. Returns why the connection ends; all owed replies are still sent.
    fn end_of_input(
        &mut self,
        session: &mut Self::Session,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        let _ = (session, exchange);
        (!rest.is_empty()).then_some(Disconnect::CutOff)
    }

    /// Writes what a client of `listener` should read when it is turned away for `reason` without being served.
    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        let _ = (listener, reason, reply);
    }

    /// The connection is over; its session is returned for good-byes (subscriptions, watches).
    fn close(&mut self, session: Self::Session, peer: &PeerInfo) {
        let _ = (session, peer);
    }

    /// A small piece of housekeeping (expiry, compaction), bounded to well under a millisecond. Called once a turn.
    ///
    /// Returns how soon it wants to be called again if nothing else happens; `None` for no wish.
    fn tick(&mut self, now: Now) -> Option<std::time::Duration> {
        let _ = now;
        None
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Names this connection; never reused for another one.
    pub id: PeerId,
    /// The index of the listener that took it, in the order they were given to the server.
    pub listener: usize,
    /// The peer's socket address.
    pub address: SocketAddr,
    /// The verified client certificate's identity; `None` when none was shown or the socket is plain.
    pub identity: Option<Arc<Identity>>,
}

/// One request's surroundings: where its reply goes and what the service may know.
pub struct Exchange<'a> {
    /// Who asks.
    pub peer: &'a PeerInfo,
    /// The time of this turn.
    pub now: Now,
    /// The bounds the framing must keep (`request_bytes` above all).
    pub limits: &'a Limits,
    /// Counters a service may add to.
    pub metrics: &'a mut Metrics,
    pub(super) replies: &'a mut Replies,
    pub(super) mailbox: &'a Mailbox,
    pub(super) disconnects: &'a mut Vec<(PeerId, Disconnect)>,
}

impl Exchange<'_> {
    /// Where the encoded reply to this request goes: append to it. Order is kept behind earlier deferred replies.
    pub fn reply(&mut self) -> &mut Vec<u8> {
        self.replies.tail()
    }

    /// Leaves this request's reply open, to be completed later through [`Deferred`], from any thread.
    ///
    /// Replies to later requests wait behind it.
    pub fn defer(&mut self) -> Deferred {
        self.mailbox.deferred(self.peer.id, self.replies.defer())
    }

    /// Closes another connection, for `reason`, once the replies it is owed have been sent.
    ///
    /// One that is gone already is left alone. A service closes its own connection by the result of `serve`.
    pub fn disconnect(&mut self, peer: PeerId, reason: Disconnect) {
        self.disconnects.push((peer, reason));
    }

    /// How many more reply bytes fit before this peer is throttled. A streaming service (echo) answers no more than
    /// this at once; others may overshoot by one reply.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limits.output_bytes.saturating_sub(self.replies.queued_bytes())
    }
}
