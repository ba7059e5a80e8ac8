//! Connections that could not be begun because the backend's queue is full, and are tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Server;
use crate::connection::{Dial, PeerId, Service};
use crate::net::{Address, Net};

/// The pause between attempts. No event reports when a queue has room: connect(2) on a Unix socket fails at once where
/// TCP would send its SYN again.
const PAUSE: Duration = Duration::from_millis(10);

/// Connections waiting to be made, in the order of their requests. There are at most as many as open connections.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<Wait>,
    /// When they are tried again.
    next: Option<Instant>,
}

/// One of them.
struct Wait {
    dialer: PeerId,
    dial: Dial,
    begun: Instant,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a connection waits for this address; later requests for it must not overtake.
    pub(super) fn has(&self, address: &Address) -> bool {
        self.queue.iter().any(|wait| wait.dial.address == *address)
    }

    pub(super) fn push(&mut self, dialer: PeerId, dial: Dial, begun: Instant, now: Instant) {
        self.queue.push_back(Wait { dialer, dial, begun });
        self.next.get_or_insert(now + PAUSE);
    }

    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }
}

impl<N: Net, S: Service> Server<N, S> {
    /// Tries the waiting ones again, at most one failure for each address.
    pub(super) fn dial_again(&mut self) {
        let now = self.context.env.now.instant;
        if self.waiting.next.is_none_or(|next| next > now) {
            return;
        }
        self.waiting.next = None;
        let mut full: Vec<Address> = Vec::new();
        for Wait { dialer, dial, begun } in std::mem::take(&mut self.waiting.queue) {
            let is_over = now.saturating_duration_since(begun) >= self.context.env.limits.connect_timeout;
            if full.contains(&dial.address) && !is_over {
                self.waiting.push(dialer, dial, begun, now);
                continue;
            }
            let (address, before) = (dial.address.clone(), self.waiting.len());
            self.dial(dialer, dial, begun);
            if self.waiting.len() > before {
                full.push(address);
            }
        }
    }
}
