//! The loop's step that sends: requests that are due go to clients that have room for them.

use std::time::Duration;

use super::Runner;
use super::clients::Outage;
use super::link::LinkTask;
use crate::load::connection::SentRequest;
use crate::net::Net;

impl<N: Net> Runner<N> {
    /// Gives the requests that are due to the clients that are free.
    pub(super) fn send_due(&mut self) {
        if !self.pacer.is_sending() {
            return;
        }
        if self.pacer.is_open_loop() {
            self.send_backlog();
            return;
        }
        for _ in 0..self.clients.free_len() {
            let Some(index) = self.take_free() else { break };
            self.refill(index);
        }
    }

    /// In an open loop, sends requests that are due as far as clients are free.
    fn send_backlog(&mut self) {
        self.pacer.drop_warmup_backlog(self.pacer.at(self.now));
        self.own_time.begin_look(self.pacer.at(self.now), self.pacer.next_due());
        while let Some(intended) = self.pacer.next_due() {
            let at = self.pacer.at(self.now);
            if intended > at {
                break;
            }
            let Some(index) = self.take_free() else { break };
            self.pacer.take_due();
            self.give(index, intended, at);
            self.offer(index);
        }
        self.own_time.end_look(self.pacer.at(self.now), self.pacer.next_due(), self.clients.free_len() > 0);
    }

    /// A client may have room: in a closed loop it is given requests, in an open loop it waits for one that is due.
    pub(super) fn serve(&mut self, index: usize) {
        if self.pacer.is_open_loop() {
            self.offer(index);
        } else {
            self.refill(index);
        }
    }

    /// In a closed loop, gives a client as many requests as it has room for.
    fn refill(&mut self, index: usize) {
        let at = self.pacer.at(self.now);
        while self.pacer.is_sending() && !self.is_over() && self.room(index) > 0 {
            let outage = self.clients.get_mut(index).and_then(|client| client.outage.take());
            let intended = self.pacer.due_after(outage.map(Outage::due), at);
            self.give(index, intended, at);
        }
    }

    /// Gives one request to a client that has room for it.
    fn give(&mut self, index: usize, intended: Duration, at: Duration) {
        let measured = self.pacer.measures(intended);
        let request = SentRequest { operation: self.workload.next_operation(), intended, sent: at, measured };
        let Some(client) = self.clients.get_mut(index) else { return };
        if measured {
            self.pacer.count_sent();
            if self.pacer.is_late(intended, at) {
                self.own_time.count_late_send(intended, client.free_since);
            }
        }
        client.given += 1;
        self.account.count_sent(request, &self.pacer);
        if let Some(link) = client.link_mut() {
            if link.given() == 0 {
                link.first_byte_since = Some(self.now);
            }
            link.count_request();
            link.connection.request(request, &self.plan.template);
            self.clients.unsent.push(index);
        } else if self.driver.connects_ahead() {
            self.open_for(index, request);
        } else {
            self.open(index, LinkTask::Handshake(request));
        }
    }

    /// How many requests a client can take now.
    fn room(&self, index: usize) -> usize {
        self.clients.get(index).map_or(0, |client| self.driver.room(client, self.now))
    }

    /// Queues a client with room among the free ones.
    pub(super) fn offer(&mut self, index: usize) {
        if self.room(index) > 0 {
            self.clients.queue_free(index);
        }
    }

    /// Takes a client with room from the queue of free ones.
    fn take_free(&mut self) -> Option<usize> {
        while let Some(index) = self.clients.pop_free() {
            if self.room(index) > 0 {
                return Some(index);
            }
            // Its connection may have become too old in the queue.
            self.patrol_client(index);
        }
        None
    }

    /// Writes the requests of this turn, one write a connection.
    pub(super) fn transmit(&mut self) {
        let mut unsent = std::mem::take(&mut self.clients.unsent);
        for index in unsent.drain(..) {
            let Some(mut link) = self.clients.take_link(index) else { continue };
            match link.connection.transmit(&mut link.socket, &mut self.buffers) {
                Ok(count) => {
                    self.account.tally.bytes_sent += count as u64;
                    self.clients.put_link(index, link);
                }
                Err(failure) => self.break_off(index, *link, failure),
            }
        }
        self.clients.unsent = unsent;
    }
}
