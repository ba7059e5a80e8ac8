//! Orders to a running server, from other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::net::Wake;

/// Stops a server from any thread; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    stop: Arc<AtomicBool>,
    wake: Wake,
}

impl Handle {
    pub(super) fn new(wake: Wake) -> Self {
        Self { stop: Arc::default(), wake }
    }

    /// Stops accepting, finishes what was received, says good-bye, and ends [`Server::run`](super::Server::run) within
    /// the drain timeout.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        (self.wake)();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
