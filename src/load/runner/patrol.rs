//! Connections that have waited too long, and those that are left at the end.

use super::Runner;
use super::driver::Overdue;
use super::link::{LinkTask, RunnerLink};
use crate::load::outcome::RequestFailure;
use crate::net::Net;

impl<N: Net> Runner<N> {
    /// Looks for connections that have waited too long, once in a while.
    pub(super) fn patrol(&mut self) {
        if self.now < self.next_patrol {
            return;
        }
        self.next_patrol = self.now + self.driver.patrol_period();
        self.own_time.note_processor(self.net.processor());
        (0..self.clients.len()).for_each(|index| self.patrol_client(index));
    }

    /// Ends the connection of a client if it has waited too long, or has served its time.
    pub(super) fn patrol_client(&mut self, index: usize) {
        let Some(link) = self.clients.get(index).and_then(|client| client.link()) else { return };
        let Some(overdue) = self.driver.overdue(link, self.plan.timeout, self.now, self.pacer.at(self.now)) else {
            return;
        };
        let Some(mut link) = self.clients.take_link(index) else { return };
        match overdue {
            Overdue::Fail(failure) => self.break_off(index, *link, failure),
            Overdue::Close if self.close(&mut link).is_ok() => self.clients.put_link(index, link),
            // It took too long to end, or is gone already; it owes nothing.
            Overdue::Drop | Overdue::Close => self.end(index, *link),
        }
    }

    /// The run is over: requests that a connection still carries have failed.
    pub(super) fn abandon(&mut self, index: usize, mut link: Box<RunnerLink<N::Socket>>) {
        let handshake = match link.task {
            LinkTask::Handshake(_) if link.is_closing() => return self.end(index, *link),
            LinkTask::Handshake(request) => Some(request),
            LinkTask::Requests { .. } => None,
        };
        let at = self.pacer.at(self.now);
        for request in link.connection.abandon().iter().chain(&handshake) {
            self.account.fail_request(*request, RequestFailure::Timeout, at, &self.pacer);
        }
        if link.is_open() {
            // Whether the server sees the end changes nothing any more.
            let _ = self.close(&mut link);
        }
    }
}
