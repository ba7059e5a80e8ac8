//! Replies that wait until what they tell of is durable, and requests that wait for room for what they change.

use super::connection::Connection;
use super::framing::Turn;
use super::phase::Phase;
use super::service::Service;
use crate::metrics::Disconnect;

impl<S: Service> Connection<S> {
    /// Whether anything here waits for [`Service::settle`].
    pub fn awaits_settling(&self) -> bool {
        self.framing.replies.is_held() || self.framing.is_stalled()
    }

    /// Everything up to `group` is durable.
    pub fn release(&mut self, group: u64) {
        self.framing.replies.release(group);
        self.framing.unstall();
    }

    /// What is held will never be true. Its client is told so once, in the place of the first reply that is lost, and
    /// closed: it cannot take any later reply for one that it waits for.
    pub fn lose(&mut self, turn: &mut Turn<'_, S>) {
        self.framing.unstall();
        if self.framing.replies.lose() && matches!(self.phase, Phase::Open | Phase::Draining) {
            turn.service.refuse(self.framing.info.listener, Disconnect::NotKept, self.framing.replies.tail());
            self.end(Disconnect::NotKept, turn.now.instant, turn.scratch);
        }
    }
}
