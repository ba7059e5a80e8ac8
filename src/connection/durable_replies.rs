//! Replies that wait until what they report is durable, and requests that wait for room for their changes.

use super::connection::Connection;
use super::context::Context;
use super::service::Service;
use crate::disconnect::Disconnect;

impl<S: Service> Connection<S> {
    /// Whether anything here waits for [`Service::tick`].
    pub fn awaits_commit(&self) -> bool {
        self.framing.output.replies.is_held() || self.framing.is_congested()
    }

    /// Everything up to `group` is durable.
    pub fn release(&mut self, group: u64) {
        self.framing.output.replies.release(group);
        self.framing.resume_congested();
    }

    /// The held replies will never be true: replaces each by the service's text. If there is no text for one, the
    /// connection is closed: its client would wait without end, or take the next reply for this one.
    pub fn retract(&mut self, context: &mut Context<S>) {
        self.framing.resume_congested();
        let listener = self.framing.info.listener;
        let mut is_answered = true;
        self.framing.output.replies.retract(&mut |reply, out| {
            let before = out.len();
            context.service.retract(listener, reply, out);
            is_answered &= out.len() > before;
        });
        if !is_answered {
            self.close(Disconnect::Abandoned, &mut context.env.scratch);
        }
    }
}
