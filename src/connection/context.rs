//! What all connections of one loop share, and what one request of one of them may use.

use std::sync::mpsc;

use super::addresses::Addresses;
use super::effects::Effects;
use super::operators::Operators;
use super::replies::{Completion, Mailbox};
use super::scratch::Scratch;
use crate::access::Security;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::net::Wake;
use crate::timer::Now;

/// Everything that the connections of one loop share. Each method of a connection that works is given it.
pub struct Context<S> {
    /// What is served.
    pub service: S,
    /// What the loop provides.
    pub env: Environment,
}

/// What the loop provides to its connections and to the service.
pub struct Environment {
    /// The bounds to keep.
    pub limits: Limits,
    /// The time of this turn: read once, after the poll.
    pub now: Now,
    /// The loop's counters.
    pub metrics: Metrics,
    /// What all clients together hold, in bytes, for a service whose own limit counts that too. As it was before the
    /// latest [tick](super::Service::tick).
    pub client_memory: usize,
    /// How each listener is protected now, by its index.
    pub security: Vec<Security>,
    /// The loop's buffers.
    pub scratch: Scratch,
    /// What connections ask to be done to others; empty between their turns.
    pub effects: Effects,
    /// How many connections each address has.
    pub addresses: Addresses,
    /// The places of operators.
    pub operators: Operators,
    /// Where deferred replies come back.
    pub(super) mailbox: Mailbox,
}

impl<S> Context<S> {
    /// A context for `service`, and where its deferred replies arrive. `wake` ends the loop's poll, from any thread.
    pub fn new(
        service: S,
        limits: Limits,
        security: Vec<Security>,
        wake: Wake,
        now: Now,
    ) -> (Self, mpsc::Receiver<Completion>) {
        let (mailbox, completions) = Mailbox::new(wake);
        let env = Environment {
            limits,
            now,
            metrics: Metrics::default(),
            client_memory: 0,
            security,
            scratch: Scratch::default(),
            effects: Effects::default(),
            addresses: Addresses::default(),
            operators: Operators::default(),
            mailbox,
        };
        (Self { service, env }, completions)
    }
}
