//! Replies that wait until what they tell of is durable, and requests that wait for room for what they change.

use super::connection::Connection;
use super::framing::Turn;
use super::service::Service;

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

    /// What is held will never be true: its client is told so in the place of each reply.
    pub fn lose(&mut self, turn: &mut Turn<'_, S>) {
        self.framing.unstall();
        let listener = self.framing.info.listener;
        self.framing.replies.lose(&mut |reply, out| turn.service.retract(listener, reply, out));
    }
}
