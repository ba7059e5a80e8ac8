//! A connection that a balancer announces: before its own bytes stands a header that says where it comes from.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::service::{PeerInfo, Service};
use crate::disconnect::Disconnect;
use crate::protocol::proxy;
use crate::tls::Session;

impl<S: Service> Connection<S> {
    /// A connection from a trusted balancer that has just been accepted: nothing begins before its PROXY header.
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

    /// Takes the header from the front of `bytes` and returns its size; `None` when it is not complete, or is none and
    /// the connection is over.
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
