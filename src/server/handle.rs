//! Orders to a running server, from other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::reload::Order;
use crate::access::Security;
use crate::net::Wake;

/// Stops a server, or replaces its policies, from any thread; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    stop: Arc<AtomicBool>,
    orders: mpsc::Sender<Order>,
    wake: Wake,
}

impl Handle {
    pub(super) fn new(wake: Wake, orders: mpsc::Sender<Order>) -> Self {
        Self { stop: Arc::default(), orders, wake }
    }

    /// Stops accepting, serves everything received, closes all connections in order, and ends
    /// [`Server::run`](super::Server::run) within the drain timeout.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        (self.wake)();
    }

    /// Serves under these policies from now on: one for each listener, in the order in which the listeners were given.
    ///
    /// New handshakes use them at once, and those under way are verified by them when they are done. Open connections
    /// are verified again over the next turns; those that are no longer admitted are closed with a final reply.
    pub fn reload(&self, security: Vec<Security>) {
        self.order(Order::Adopt(security));
    }

    /// Counts new policies that were invalid.
    pub fn reload_refused(&self) {
        self.order(Order::Refused);
    }

    fn order(&self, order: Order) {
        // This fails only if the server is gone, and all its connections with it.
        let _ = self.orders.send(order);
        (self.wake)();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
