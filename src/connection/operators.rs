//! Places of those who watch the server.

use super::connection::Connection;
use super::context::Context;
use super::phase::Phase;
use super::scratch::Scratch;
use super::service::Service;
use crate::metrics::Disconnect;

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
    /// Takes an operator's place for a peer that has come to a listener for operators and may be served; if there is none, a
    /// client's. `false` if there is neither.
    pub(super) fn take_place(&mut self, context: &mut Context<S>) -> bool {
        let info = &mut self.framing.info;
        if !info.is_operator || self.has_place {
            return true;
        }
        if context.env.operators.placed < context.env.limits.admin_connections {
            context.env.operators.placed += 1;
            self.has_place = true;
            return true;
        }
        info.is_operator = !context.env.operators.has_overflow;
        context.env.operators.has_overflow
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

    /// Closes one that knocks, for one that came later.
    pub fn displace(&mut self, scratch: &mut Scratch) {
        self.framing.output.detail.get_or_insert("its handshake gave place to a newer one for operators".into());
        self.close(Disconnect::Refused, scratch);
    }
}
