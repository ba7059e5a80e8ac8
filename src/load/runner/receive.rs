//! The loop's step for connections that the poller reports: their handshakes, their answers, their ends.

use std::time::Duration;

use super::Runner;
use super::clients::{Outage, Reached};
use super::link::{LinkState, LinkTask, RunnerLink};
use crate::load::codec::ReplyCheck;
use crate::load::connection::{ReadOutcome, failure_of_socket};
use crate::load::outcome::RequestFailure;
use crate::load::tally::HandshakeTally;
use crate::net::Net;
use crate::tls::suite_name;

/// Whether a connection goes on after its events were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Alive,
    /// It is over, as it should be.
    Over,
}

type Link<N> = RunnerLink<<N as Net>::Socket>;

impl<N: Net> Runner<N> {
    /// Looks at every connection that the poller has reported.
    pub(super) fn receive(&mut self) {
        let before = self.account.tally.answered;
        for _ in 0..self.clients.ready.len() {
            let Some(index) = self.clients.ready.pop_front() else { break };
            if let Some(link) = self.clients.take_link(index) {
                self.receive_on(index, link);
            }
        }
        self.own_time.count_answers(self.account.tally.answered - before);
    }

    fn receive_on(&mut self, index: usize, mut link: Box<Link<N>>) {
        match self.look(index, &mut link) {
            Ok(Fate::Alive) => {
                self.clients.put_link(index, link);
                self.serve(index);
            }
            Ok(Fate::Over) => self.end(index, *link),
            // Once both sides have announced the end, its manner does not matter, except for an alert: with one, a server
            // refuses the client's certificate after the client has finished its handshake.
            Err(failure) if link.is_closing() && failure != RequestFailure::Alert => self.end(index, *link),
            Err(RequestFailure::Closed | RequestFailure::Reset) if self.driver.may_end(&link) => self.end(index, *link),
            Err(failure) => self.break_off(index, *link, failure),
        }
    }

    /// Reads, counts and writes; ends a connection that is done.
    fn look(&mut self, index: usize, link: &mut Link<N>) -> Result<Fate, RequestFailure> {
        if link.state == LinkState::Connecting && (link.hints.writable || link.hints.read_closed) {
            // The event reports that something has happened; the socket knows what.
            match self.net.is_connected(&link.socket) {
                Ok(true) => self.note_connected(index, link)?,
                Ok(false) => return Ok(Fate::Alive),
                Err(error) => return Err(failure_of_socket(&error)),
            }
        }
        let mut ended = false;
        if link.hints.readable || link.hints.read_closed {
            ended = self.read(index, link)?;
        }
        self.account.tally.bytes_sent += link.connection.transmit(&mut link.socket, &mut self.buffers)? as u64;
        if ended {
            let is_expected = link.is_closing() || self.driver.may_end(link);
            return if is_expected { Ok(Fate::Over) } else { Err(RequestFailure::Closed) };
        }
        if self.driver.is_done(link, self.now) {
            self.close(link)?;
            if !link.connection.keep_alive() {
                // The server has announced the end: there is no need to see it.
                return Ok(Fate::Over);
            }
        }
        Ok(Fate::Alive)
    }

    /// Reads and counts all that has come; returns whether the server has ended.
    fn read(&mut self, index: usize, link: &mut Link<N>) -> Result<bool, RequestFailure> {
        link.hints.readable = false;
        let to_end = link.hints.read_closed || std::mem::take(&mut link.hints.urgent);
        let outcome = link.connection.receive(&mut link.socket, to_end, &mut self.buffers, &self.plan.template);
        self.now = self.net.now().instant;
        self.count_answers(index, link);
        let ReadOutcome { bytes, plaintext, opened, ended } = outcome?;
        self.account.tally.bytes_received += bytes as u64;
        let answered = if matches!(link.task, LinkTask::Handshake(_)) { bytes } else { plaintext };
        if answered > 0
            && let Some(since) = link.first_byte_since.take()
        {
            let took = self.now.saturating_duration_since(since);
            HandshakeTally::record(&mut self.account.tally.handshakes.first_byte, took);
        }
        if opened {
            self.note_opened(index, link);
        }
        Ok(ended)
    }

    /// Counts the answers that were just decoded.
    fn count_answers(&mut self, index: usize, link: &mut Link<N>) {
        let at = self.pacer.at(self.now);
        let mut answers = std::mem::take(&mut self.buffers.answers);
        if !answers.is_empty() {
            self.account.note_alive(self.now);
        }
        for (request, reply) in answers.drain(..) {
            link.note_answer(matches!(reply, ReplyCheck::Good | ReplyCheck::Missing));
            self.account.count_reply(request, &reply, at, &self.pacer);
        }
        self.buffers.answers = answers;
        if let Some(client) = self.clients.get_mut(index) {
            client.free_since = at;
        }
    }

    fn note_connected(&mut self, index: usize, link: &mut Link<N>) -> Result<(), RequestFailure> {
        let now = self.net.now().instant;
        link.state = LinkState::Handshaking { connected: now };
        if link.is_measured() {
            let took = now.saturating_duration_since(link.began);
            HandshakeTally::record(&mut self.account.tally.handshakes.tcp, took);
        }
        link.connection.begin(&mut self.buffers)?;
        if !link.connection.session().is_tls() {
            self.note_opened(index, link);
        }
        Ok(())
    }

    /// The connection can carry requests.
    fn note_opened(&mut self, index: usize, link: &mut Link<N>) {
        let now = self.net.now().instant;
        self.now = now;
        let connected = match link.state {
            LinkState::Handshaking { connected } => connected,
            _ => now,
        };
        link.state = LinkState::Open { opened: now };
        self.clients.opening.count_ended();
        let is_first = self.clients.get(index).is_none_or(|client| client.reached != Reached::Connected);
        let is_handshake = matches!(link.task, LinkTask::Handshake(_));
        self.account.count_opened(!is_first && !is_handshake);
        self.clients.note_attempt(index, true);
        let has_request = !link.connection.awaited().is_empty();
        if is_handshake || has_request {
            link.first_byte_since = Some(now);
        }
        if has_request {
            link.connection.sent_at(self.pacer.at(now));
        }
        if let Some(sessions) = self.clients.get_mut(index).and_then(|client| client.sessions.as_mut()) {
            sessions.opened(link.goal);
        }
        if link.is_measured()
            && let Some(agreement) = link.connection.session().agreement()
        {
            let made = &mut self.account.tally.handshakes;
            HandshakeTally::record(&mut made.tls, now.saturating_duration_since(connected));
            made.count(agreement.kind);
            made.agreed(agreement.group.and_then(|group| group.as_str()), Some(suite_name(agreement.suite)));
        }
        // The connection goes on, so that the next handshake has its ticket: a server cannot be blamed for not resuming
        // without one.
        if !is_handshake && link.was_not_resumed() {
            let at = self.pacer.at(now);
            self.account.fail_connection(RequestFailure::NotResumed, None, at, &self.pacer);
        }
    }

    /// Announces the end; the connection is over when the server has done so, too.
    pub(super) fn close(&mut self, link: &mut Link<N>) -> Result<(), RequestFailure> {
        link.state = LinkState::Closing { opened: link.opened().unwrap_or(self.now), closing: self.now };
        link.connection.close(&mut self.buffers)?;
        self.account.tally.bytes_sent += link.connection.transmit(&mut link.socket, &mut self.buffers)? as u64;
        // Fails only when the server is gone already, which the next read shows.
        let _ = self.net.shutdown_write(&link.socket);
        Ok(())
    }

    /// A connection has ended as it should.
    pub(super) fn end(&mut self, index: usize, mut link: Link<N>) {
        link.connection.flush_alert(&mut link.socket, &mut self.buffers);
        self.account.count_closed();
        if let (LinkTask::Handshake(request), Some(opened)) = (link.task, link.opened()) {
            let at = self.pacer.at(opened);
            let reply =
                if link.was_not_resumed() { ReplyCheck::Bad(RequestFailure::NotResumed) } else { ReplyCheck::Good };
            self.account.note_alive(self.now);
            self.account.count_reply(request, &reply, at, &self.pacer);
        }
        let by_server = !link.connection.keep_alive();
        drop(link);
        let at = self.pacer.at(self.now);
        if let Some(client) = self.clients.get_mut(index) {
            client.on_demand |= by_server;
            client.free_since = at;
        }
        self.go_on(index);
    }

    /// A connection has ended as it should not: what it carried has failed with it. A connection that has served is
    /// replaced at once, since a pause would be this side's and look like the server's; any other after a pause.
    pub(super) fn break_off(&mut self, index: usize, mut link: Link<N>, failure: RequestFailure) {
        link.connection.flush_alert(&mut link.socket, &mut self.buffers);
        match link.opened() {
            Some(_) => self.account.count_closed(),
            None => self.clients.opening.count_ended(),
        }
        let at = self.pacer.at(self.now);
        self.note_outage(index);
        let carried = link.connection.abandon();
        for request in &carried {
            self.account.fail_request(*request, failure, at, &self.pacer);
        }
        let has_served = match link.task {
            LinkTask::Handshake(request) => {
                self.account.fail_request(request, failure, at, &self.pacer);
                false
            }
            LinkTask::Requests { given, is_well } => {
                // After a wrong answer a server may close, or send bytes without sense: that is no second failure.
                if carried.is_empty() && is_well {
                    self.account.fail_connection(failure, link.connection.refusal(), at, &self.pacer);
                }
                u64::try_from(carried.len()).is_ok_and(|carried| given > carried)
            }
        };
        if has_served && self.driver.replaces_lost() && self.stages.stage.makes_requests() {
            self.go_on(index);
        } else {
            self.retry(index);
        }
    }

    /// In a closed loop, whose next request comes as soon as it can, a client that has lost its connection waits from now
    /// on: an outage shows not only in what fails.
    fn note_outage(&mut self, index: usize) {
        let waits =
            self.pacer.is_sending() && !self.pacer.is_open_loop() && self.driver.requests_wait_for_connections();
        let since = self.pacer.at(self.now);
        if let Some(client) = self.clients.get_mut(index).filter(|_| waits) {
            client.outage.get_or_insert(Outage { since, pause: Duration::ZERO });
        }
    }
}
