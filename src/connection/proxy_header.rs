//! The PROXY header that a balancer sends before a connection's own bytes.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::service::{PeerInfo, Service};
use crate::disconnect::Disconnect;
use crate::protocol::proxy;
use crate::tls::{Incoming, Session};

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

    /// Consumes the header at the front of `input`, if one is awaited. Returns whether the bytes behind it are to be
    /// processed: not if it is incomplete, and not if the connection is closed.
    pub(super) fn take_header(&mut self, input: &mut Incoming, context: &mut Context<S>) -> bool {
        if !self.awaits_header {
            return true;
        }
        match proxy::decode(input.unread()) {
            Ok(None) => {
                if input.unread().len() > context.env.limits.handshake_bytes {
                    self.framing.output.detail = Some("the balancer's PROXY header is too long".into());
                    self.close(Disconnect::TooLarge, &mut context.env.scratch);
                } else {
                    self.channel.retain(input);
                }
                false
            }
            Ok(Some(header)) => {
                self.awaits_header = false;
                if let Some(endpoints) = header.endpoints {
                    self.framing.info.address = endpoints.source;
                    self.framing.info.local = endpoints.destination;
                    self.enter_address(context);
                }
                if self.phase == Phase::Closed {
                    return false;
                }
                if self.phase == Phase::Handshaking && !self.channel.session().is_handshaking() {
                    self.open(context);
                }
                input.consume(header.size);
                true
            }
            Err(error) => {
                self.framing.output.detail = Some(error.to_string().into());
                self.close(Disconnect::Malformed, &mut context.env.scratch);
                false
            }
        }
    }
}
