//! Connections that could not be begun because the other end's queue is full, and are tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Server;
use crate::connection::{Dial, PeerId, Service};
use crate::net::{Address, Net};

/// From one try to the next. No event tells when a queue has room: connect(2) on a Unix socket fails at once where TCP
/// would send its SYN again.
const PAUSE: Duration = Duration::from_millis(10);

/// Who waits to be connected, in the order in which they asked. There are no more of them than open connections.
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

    /// Whether somebody waits for this address: whoever comes later is not to be connected sooner.
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
    /// Tries those again that wait, at most one in vain for each address.
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
