//! Admission of a peer: decided when its handshake is done, and again when its listener's policy changes.

use std::sync::Arc;

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::service::Service;
use crate::access::{Access, Denial, Security};
use crate::disconnect::Disconnect;
use crate::tls::ServerPolicy;

impl<S: Service> Connection<S> {
    /// Decides by the current policy, which may not be the one that the handshake began under.
    pub(super) fn admit(&mut self, context: &Context<S>) -> Result<(), Denial> {
        let begun = self.channel.begun_under();
        self.decide(begun.as_ref(), context)
    }

    /// The listener's policy has changed: decides again on a peer that is being served, and closes one that is no
    /// longer admitted. Owed replies are still sent.
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
            // It passed no gate: its handshake verified the server as a client does.
            return Ok(());
        }
        info.access = match context.env.security.get(info.listener) {
            Some(Security::Tls(gate)) => {
                gate.admit(self.channel.session().peer_certificates(), begun, &mut info.identity)?
            }
            Some(Security::Plain) | None => Access::Everything,
        };
        if context.service.admits(info) { Ok(()) } else { Err(Denial::not_granted(info.identity.as_deref())) }
    }
}
