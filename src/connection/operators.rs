//! Places of those who watch the server.

use std::time::Instant;

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::Phase;
use super::scratch::Scratch;
use super::service::Service;
use crate::disconnect::Disconnect;

/// Counts the places of operators that are taken. A place is granted behind the handshake and the gate: a socket that says
/// nothing, or shows no certificate that is believed, takes none.
#[derive(Debug, Default)]
pub struct Operators {
    placed: usize,
    has_overflow: bool,
}

impl Operators {
    /// Places that are taken.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.placed
    }

    /// Whether an operator who finds no place may take a client's.
    pub fn set_overflow(&mut self, has_overflow: bool) {
        self.has_overflow = has_overflow;
    }
}

impl<S: Service> Connection<S> {
    /// Takes a place for a peer that has come to a listener for operators and may be served: one of the operators', or a
    /// client's. Where there is neither, it takes an operator's all the same, and the server makes another give way.
    pub(super) fn take_place(&mut self, context: &mut Context<S>) {
        let info = &mut self.framing.info;
        if !info.is_operator || self.has_place {
            return;
        }
        if context.env.operators.placed >= context.env.limits.admin_connections && context.env.operators.has_overflow {
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

    /// Whether it has come to a listener for operators, and has no place yet.
    pub fn knocks(&self) -> bool {
        self.framing.info.is_operator && !self.has_place && self.phase != Phase::Closed
    }

    /// Whether it has an operator's place.
    pub fn has_place(&self) -> bool {
        self.has_place && self.phase != Phase::Closed
    }

    /// When it came, was let in, asked or was answered for the last time.
    pub fn quiet_since(&self) -> Instant {
        self.since
    }

    /// Closes it for an operator that came later.
    pub fn displace(&mut self, why: &str, scratch: &mut Scratch) {
        self.framing.output.detail.get_or_insert(why.into());
        self.close(Disconnect::Refused, scratch);
    }
}
