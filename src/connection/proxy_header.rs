//! The PROXY header that a balancer sends before a connection's own bytes.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::service::{PeerInfo, Service};
use crate::disconnect::Disconnect;
use crate::protocol::proxy;
use crate::tls::Session;

impl<S: Service> Connection<S> {
    /// A newly accepted connection from a trusted balancer: it begins with a PROXY header.
    pub fn announced(
        session: Session,
        info: PeerInfo,
        idle_timeout: Option<Duration>,
        refusal: Option<Disconnect>,
        now: Instant,
    ) -> Self {
        let mut connection = Self::unopened(session, info, idle_timeout, refusal, now);
        connection.awaits_header = true;
        connection
    }

    /// Takes the header from the front of `bytes` and returns its size; `None` if it is incomplete, or invalid and the
    /// connection is closed.
    pub(super) fn take_header(&mut self, bytes: &[u8], context: &mut Context<S>) -> Option<usize> {
        if !self.awaits_header {
            return Some(0);
        }
        match proxy::decode(bytes) {
            Ok(None) => None,
            Ok(Some(header)) => {
                self.awaits_header = false;
                if let Some(endpoints) = header.endpoints {
                    self.framing.info.address = endpoints.source;
                    self.framing.info.local = endpoints.destination;
                    self.enter_address(context);
                }
                if self.phase == Phase::Closed {
                    return None;
                }
                if self.phase == Phase::Handshaking && !self.session.is_handshaking() {
                    self.open(context);
                }
                Some(header.size)
            }
            Err(error) => {
                self.framing.output.detail = Some(error.to_string().into());
                self.close(Disconnect::Malformed, &mut context.env.scratch);
                None
            }
        }
    }
}
