//! What every connection is lent while it works.

use crate::access::Security;
use crate::connection::{Addresses, Effects, Mailbox, Operators, Scratch, Turn};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::timer::Now;

/// Everything that the connections of one loop share, apart from their slab, so that one of them can be lent all of it.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) scratch: Scratch,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    pub(super) mailbox: Mailbox,
    /// What connections want done to others; empty between their turns.
    pub(super) effects: Effects,
    pub(super) addresses: Addresses,
    pub(super) operators: Operators,
    /// How each listener is protected now, by its index.
    pub(super) security: Vec<Security>,
    pub(super) now: Now,
}

impl<S> Shared<S> {
    /// The loan: the one place where it is put together.
    pub(super) fn turn(&mut self) -> Turn<'_, S> {
        Turn {
            service: &mut self.service,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            limits: &self.limits,
            mailbox: &self.mailbox,
            effects: &mut self.effects,
            addresses: &mut self.addresses,
            operators: &mut self.operators,
            security: &self.security,
            now: self.now,
        }
    }
}
