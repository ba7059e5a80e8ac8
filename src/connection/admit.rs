//! Whether the peer may be served: asked when its handshake is done, and again when its listener's policy changes.

use std::sync::Arc;

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::service::Service;
use crate::access::{Access, Denial, Security};
use crate::disconnect::Disconnect;
use crate::tls::ServerPolicy;

impl<S: Service> Connection<S> {
    /// Decides under the policy that holds now, which may not be the one that the handshake began under.
    pub(super) fn admit(&mut self, context: &Context<S>) -> Result<(), Denial> {
        let begun = self.session.begun_under();
        self.decide(begun.as_ref(), context)
    }

    /// The listener's policy has changed: decides again on a peer that is being served, and says good-bye to one that
    /// is no longer let in. What it has been promised is still sent.
    pub fn reconsider(&mut self, context: &mut Context<S>) {
        if self.phase != Phase::Open {
            return;
        }
        if let Err(denial) = self.decide(None, context) {
            self.refuse(Disconnect::Revoked, denial.to_string(), context);
            self.drain_if_ended(context.env.now.instant);
        }
    }

    fn decide(&mut self, begun: Option<&Arc<ServerPolicy>>, context: &Context<S>) -> Result<(), Denial> {
        let info = &mut self.framing.info;
        if info.is_dialed() {
            // It passed no gate: the server at its other end was judged as a client judges.
            return Ok(());
        }
        info.access = match context.env.security.get(info.listener) {
            Some(Security::Tls(gate)) => gate.admit(self.session.peer_certificates(), begun, &mut info.identity)?,
            Some(Security::Plain) | None => Access::Everything,
        };
        if context.service.admits(info) { Ok(()) } else { Err(Denial::not_granted(info.identity.as_deref())) }
    }
}
