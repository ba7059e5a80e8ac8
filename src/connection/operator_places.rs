//! How a connection takes a place for operators, and leaves it.

use std::time::Instant;

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::scratch::Scratch;
use super::service::Service;
use crate::disconnect::Disconnect;

impl<S: Service> Connection<S> {
    /// Gives a place to an admitted peer of an `--admin` listener: an operator's, or a client's. If there is neither,
    /// it gets an operator's place anyway, and the server closes another operator.
    pub(super) fn take_place(&mut self, context: &mut Context<S>) {
        let info = &mut self.framing.info;
        if !info.is_operator || self.has_place {
            return;
        }
        if context.env.operators.placed >= context.env.limits.admin_connections
            && context.env.operators.is_client_place_free
        {
            info.is_operator = false;
            return;
        }
        context.env.operators.placed += 1;
        self.has_place = true;
    }

    pub(super) fn leave_place(&mut self, context: &mut Context<S>) {
        if std::mem::take(&mut self.has_place) {
            context.env.operators.placed -= 1;
        }
    }

    /// Whether it is a peer of an `--admin` listener that has no place yet.
    pub fn awaits_place(&self) -> bool {
        self.framing.info.is_operator && !self.has_place && self.phase != Phase::Closed
    }

    /// Whether it has an operator's place.
    pub fn has_place(&self) -> bool {
        self.has_place && self.phase != Phase::Closed
    }

    /// When it connected, was admitted, sent a request or got a reply for the last time.
    pub fn quiet_since(&self) -> Instant {
        self.since
    }

    /// Closes it to make room for a newer operator.
    pub fn displace(&mut self, why: &str, scratch: &mut Scratch) {
        self.framing.output.detail.get_or_insert(why.into());
        self.close(Disconnect::Refused, scratch);
    }
}
