//! The state that all connections of one loop share, and that one request may use.

use std::sync::mpsc;

use super::addresses::SharedAddresses;
use super::effects::Effects;
use super::operators::Operators;
use super::replies::{Completion, Mailbox};
use super::scratch::Scratch;
use crate::access::Security;
use crate::limits::Limits;
use crate::metrics::{Metrics, Published};
use crate::net::Wake;
use crate::timer::Now;

/// The state shared by the connections of one loop. It is passed to each method that does work.
pub struct Context<S> {
    /// The service.
    pub service: S,
    /// The loop's environment.
    pub env: Environment,
}

/// What the loop provides to its connections and to the service.
pub struct Environment {
    /// The limits.
    pub limits: Limits,
    /// The time of this turn: read once, after the poll.
    pub now: Now,
    /// The loop's counters.
    pub metrics: Metrics,
    /// Memory of all clients together, in bytes, for a service whose own limit includes it; as of the latest
    /// [tick](super::Service::tick).
    pub client_memory: usize,
    /// The current security of each listener, by its index.
    pub security: Vec<Security>,
    /// The loop's buffers.
    pub(crate) scratch: Scratch,
    /// What connections want done to others; empty between their turns.
    pub(crate) effects: Effects,
    /// How many connections each address has.
    pub(crate) addresses: SharedAddresses,
    /// The counters of all loops.
    pub(crate) published: Published,
    /// The places of operators.
    pub(crate) operators: Operators,
    /// Returns deferred replies to the loop.
    pub(super) mailbox: Mailbox,
}

impl Environment {
    /// The counters of all loops: those of this one as they are, those of others as of their last publication.
    #[must_use]
    pub fn total_metrics(&self) -> Metrics {
        self.published.total(&self.metrics)
    }
}

impl<S> Context<S> {
    /// A context for `service`, and the receiver of its deferred replies. `wake` ends the loop's poll, from any thread.
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
            addresses: SharedAddresses::default(),
            published: Published::default(),
            operators: Operators::default(),
            mailbox,
        };
        (Self { service, env }, completions)
    }
}
