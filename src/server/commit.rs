//! Replies that wait until what they report is durable.

use super::{Server, queue_transmit};
use crate::connection::{CommitStatus, Service};
use crate::net::Net;

impl<N: Net, S: Service> Server<N, S> {
    /// Sends or retracts held replies, according to the status of the changes that they report.
    pub(super) fn answer_held(&mut self, status: CommitStatus) {
        if status == CommitStatus::NotUsed {
            return;
        }
        for id in &self.to_transmit {
            if let Some(peer) = self.peers.get_mut(*id)
                && peer.connection.awaits_commit()
                && !std::mem::replace(&mut peer.held, true)
            {
                self.held.push(*id);
            }
        }
        match status {
            CommitStatus::NotUsed | CommitStatus::Unchanged => {}
            CommitStatus::Durable(group) => self.release(group),
            CommitStatus::Lost => self.retract(),
            CommitStatus::Fatal => {
                self.retract();
                if !self.membership.set().is_stopping() {
                    self.membership.set().stop();
                }
            }
        }
    }

    fn release(&mut self, group: u64) {
        let Self { held, peers, to_transmit, .. } = self;
        held.retain(|id| {
            let Some(peer) = peers.get_mut(*id) else { return false };
            peer.connection.release(group);
            queue_transmit(peer, to_transmit);
            peer.held = peer.connection.awaits_commit();
            peer.held
        });
    }

    fn retract(&mut self) {
        for id in std::mem::take(&mut self.held) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.held = false;
            peer.connection.retract(&mut self.context);
            queue_transmit(peer, &mut self.to_transmit);
        }
    }
}
