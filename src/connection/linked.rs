//! The part of a connection that is specific to links.

use std::io;
use std::time::Instant;

use super::connection::{Connection, Readiness};
use super::context::Context;
use super::effects::{Link, Loss};
use super::lifecycle::{Phase, WriteShutdown};
use super::scratch::Scratch;
use super::service::{PeerInfo, Service};
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::tls::Session;

impl<S: Service> Connection<S> {
    /// A connection that is being made on behalf of the one it is linked to. It sends `preface` first, unencrypted,
    /// before any handshake: a PROXY header belongs there (proxy-protocol.txt, 2).
    pub fn dialed(session: Session, info: PeerInfo, preface: Vec<u8>, now: Instant) -> Self {
        let mut connection = Self::unopened(session, info, None, None, now);
        connection.unsent = preface;
        connection.phase = Phase::Connecting;
        connection.readiness.writable = false;
        connection
    }

    /// Processes an event of a connection that is being made: whether it is made now, or why it failed. The event alone
    /// shows neither.
    pub fn note_connecting(&mut self, is_connected: io::Result<bool>, context: &mut Context<S>) {
        match is_connected {
            Ok(true) => self.connected(context),
            Ok(false) => self.readiness = Readiness::default(),
            Err(error) => self.socket_failed(&error, &mut context.env.scratch),
        }
    }

    fn connected(&mut self, context: &mut Context<S>) {
        self.enter(Phase::Handshaking, context.env.now.instant);
        if self.channel.session().is_handshaking() {
            let mut input = std::mem::take(&mut context.env.scratch.input);
            self.channel.prepare(&mut input);
            self.process(&mut input, context);
            context.env.scratch.input = input;
        } else {
            self.open(context);
        }
    }

    /// Links it to the connection that was made for it.
    pub fn link(&mut self, link: Link) {
        self.framing.info.link = Some(link);
        self.is_carried = false;
    }

    /// The connection dialed for it failed: the service decides what follows.
    pub fn unreachable(&mut self, loss: &Loss, context: &mut Context<S>) {
        self.framing.info.link = None;
        self.is_carried = false;
        if self.phase != Phase::Open {
            return;
        }
        self.framing.unreachable(loss, context);
        self.drain_if_ended(context.env.now.instant);
        if self.write_shutdown == WriteShutdown::Withheld && !self.is_tls() {
            // Nothing was forwarded yet that a reset could destroy.
            self.phase = Phase::Closed;
        }
    }

    /// How many bytes may be forwarded to it.
    pub fn room(&self, limits: &Limits) -> usize {
        if self.phase != Phase::Open || self.write_shutdown > WriteShutdown::Open {
            return 0;
        }
        limits.output_bytes.saturating_sub(self.framing.output.replies.queued_bytes())
    }

    /// Sends bytes that the linked connection has forwarded.
    pub fn forward(&mut self, bytes: Vec<u8>, now: Instant) {
        if self.phase == Phase::Open && self.write_shutdown == WriteShutdown::Open {
            self.framing.output.replies.append(bytes);
            self.since = now;
        }
    }

    /// The linked connection has room again. Returns whether this one was waiting for it.
    pub fn unthrottle(&mut self) -> bool {
        self.framing.unthrottle()
    }

    /// Records whether some bytes that it has forwarded still wait for the socket at the other end of the link. Until
    /// all of them have left, no reply can arrive, so the peer is not idle. Returns whether that has just ended: idle
    /// time counts from now on.
    pub fn note_carried(&mut self, is_carried: bool, now: Instant) -> bool {
        let has_left = std::mem::replace(&mut self.is_carried, is_carried) && !is_carried && self.phase == Phase::Open;
        if has_left {
            self.since = now;
        }
        has_left
    }

    /// Nothing more will be forwarded to it: ends its output after the owed bytes. The other direction continues.
    ///
    /// If the output may be incomplete, because a client's stream ended without close_notify, a backend with TLS gets
    /// no close_notify. A backend without TLS gets FIN all the same: too many clients end every stream like that.
    pub fn finish_output(&mut self, proper: bool, now: Instant) {
        if self.phase == Phase::Open {
            self.write_shutdown =
                self.write_shutdown.max(if proper { WriteShutdown::Pending } else { WriteShutdown::CloseNotifySent });
            self.since = now;
            self.framing.conclude();
            self.drain_if_ended(now);
        }
    }

    /// The linked connection was lost: sends owed bytes and then ends without close_notify, because the peer must not
    /// take them for the whole. If the end was carried across before, they are the whole.
    pub fn cut(&mut self, reason: Disconnect, now: Instant, scratch: &mut Scratch) {
        if self.phase == Phase::Open && self.write_shutdown == WriteShutdown::Open {
            self.write_shutdown = WriteShutdown::Withheld;
        }
        self.end(reason, now, scratch);
    }

    /// Whether its socket must be closed with a reset: its output may be incomplete, and without TLS there is no
    /// close_notify to miss. With TLS, FIN without close_notify means the same and destroys nothing.
    ///
    /// Stunnel does the same by default ("reset"), and the server has done so if it sent the reset. The reset waits for
    /// the end of [`Phase::Lingering`], because it can destroy bytes that the peer has not read.
    pub fn must_reset(&self) -> bool {
        let is_unfinished = self.write_shutdown < WriteShutdown::CloseNotifySent || self.output() > 0;
        let is_lost = self.framing.info.link.is_some() && is_unfinished;
        !self.channel.session().is_tls() && (self.write_shutdown == WriteShutdown::Withheld || is_lost)
    }

    /// Whether the linked connection was lost, and this one has been given all it will get.
    pub fn was_cut(&self) -> bool {
        self.write_shutdown == WriteShutdown::Withheld && self.output() == 0
    }

    /// Records, for the log, why the backend was lost.
    pub fn explain(&mut self, loss: &Loss) {
        if self.framing.output.detail.is_none() && loss.is_of_tls() {
            self.framing.output.detail = Some(loss.detail.clone());
        }
    }

    /// Whether the service has opened it.
    pub fn was_opened(&self) -> bool {
        self.framing.was_opened()
    }
}
