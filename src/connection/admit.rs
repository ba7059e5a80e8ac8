//! Whether the peer may be served: asked when its handshake is done, and again when its listener's policy changes.

use std::sync::Arc;

use super::connection::Connection;
use super::framing::Turn;
use super::phase::Phase;
use super::service::Service;
use crate::access::{Access, Denial, Security};
use crate::metrics::Disconnect;
use crate::tls::ServerPolicy;

impl<S: Service> Connection<S> {
    /// Decides under the policy that holds now, which may not be the one that the handshake began under.
    pub(super) fn admit(&mut self, turn: &Turn<'_, S>) -> Result<(), Denial> {
        let begun = self.session.begun_under();
        self.decide(begun.as_ref(), turn)
    }

    /// The listener's policy has changed: decides again on a peer that is being served, and says good-bye to one that
    /// is no longer let in. What it has been promised is still sent.
    pub fn reconsider(&mut self, turn: &mut Turn<'_, S>) {
        if self.phase != Phase::Open {
            return;
        }
        if let Err(denial) = self.decide(None, turn) {
            self.refuse(Disconnect::Revoked, denial.to_string(), turn);
            self.drain_if_ended(turn.now.instant);
        }
    }

    fn decide(&mut self, begun: Option<&Arc<ServerPolicy>>, turn: &Turn<'_, S>) -> Result<(), Denial> {
        let info = &mut self.framing.info;
        if info.is_dialed() {
            // It passed no gate: the server at its other end was judged as a client judges.
            return Ok(());
        }
        info.access = match turn.security.get(info.listener) {
            Some(Security::Tls(gate)) => gate.admit(self.session.peer_certificates(), begun, &mut info.identity)?,
            Some(Security::Plain) | None => Access::Everything,
        };
        if turn.service.admits(info) { Ok(()) } else { Err(Denial::not_granted(info.identity.as_deref())) }
    }
}
