//! Orders to a running server, from other threads.

use std::sync::Arc;

use super::loop_set::LoopSet;
use crate::access::Security;

/// Stops a server, or replaces its policies, from any thread; cheap to clone. It reaches all loops of the server.
#[derive(Clone)]
pub struct Handle {
    set: Arc<LoopSet>,
}

impl Handle {
    pub(super) fn new(set: Arc<LoopSet>) -> Self {
        Self { set }
    }

    /// Stops accepting, serves everything received, closes all connections in order, and ends
    /// [`Server::run`](super::Server::run) within the drain timeout.
    pub fn stop(&self) {
        self.set.stop();
    }

    /// Serves under these policies from now on: one for each listener, in the order in which the listeners were given.
    ///
    /// New handshakes use them at once, and those under way are verified by them when they are done. Open connections
    /// are verified again over the next turns; those that are no longer admitted are closed with a final reply.
    pub fn reload(&self, security: Vec<Security>) {
        self.set.adopt(security);
    }

    /// Counts new policies that were invalid.
    pub fn reload_refused(&self) {
        self.set.refuse();
    }
}
