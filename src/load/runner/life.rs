//! The life of a connection: opened, worked on, closed, lost.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use super::{FAREWELL, OPENING_AT_ONCE, RETRY, Runner, RunnerLink, Stage};
use crate::connection::PeerId;
use crate::load::codec::ReplyCheck;
use crate::load::connection::{LoadConnection, SentRequest, failure_of_socket};
use crate::load::outcome::RequestFailure;
use crate::load::plan::{LoadProtocol, NewSession, Plan};
use crate::load::tally::HandshakeTally;
use crate::net::Net;
use crate::tls::{Session, suite_name};

/// What a look at a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Alive,
    /// It is over, as it should be.
    Over,
}

impl<N: Net> Runner<N> {
    /// Opens first connections that are due, and again those that have failed.
    pub(super) fn open_due(&mut self) {
        while self.next_to_open < self.clients.len() && self.connecting < OPENING_AT_ONCE {
            if let Some(openings) = &mut self.openings {
                if openings.next_due().is_some_and(|due| self.began + due > self.now) {
                    break;
                }
                openings.next();
            }
            let index = self.next_to_open;
            self.next_to_open += 1;
            self.open(index, None);
        }
        while let Some(index) = self.retries.pop_due(self.now) {
            let Some(client) = self.clients.get_mut(index) else { continue };
            client.is_retrying = false;
            if client.connects_late {
                self.come_again(index);
            } else if self.plan.protocol == LoadProtocol::HandshakeOnly {
                self.offer(index);
            } else if self.makes_requests() {
                self.open(index, None);
            }
        }
    }

    fn makes_requests(&self) -> bool {
        !matches!(self.stage, Stage::Draining { .. } | Stage::Done)
    }

    /// Begins a connection; `attempt` is the request that it is, where handshakes are measured.
    pub(super) fn open(&mut self, index: usize, attempt: Option<SentRequest>) {
        match self.connect(index, attempt) {
            Ok(link) => {
                self.connecting += 1;
                if let Some(client) = self.clients.get_mut(index) {
                    client.link = Some(Box::new(link));
                }
            }
            Err(failure) => self.lost(index, failure, attempt),
        }
    }

    /// Begins a connection for a request, which is sent as soon as it can be.
    pub(super) fn open_for(&mut self, index: usize, request: SentRequest) {
        self.open(index, None);
        if let Some(link) = self.clients.get_mut(index).and_then(|client| client.link.as_mut()) {
            link.given += 1;
            link.connection.request(request, &self.plan.template);
            return;
        }
        // Why has been counted already.
        self.outstanding = self.outstanding.saturating_sub(1);
        if request.measured {
            let at = self.at(self.now);
            let since_measured = at.saturating_sub(self.plan.schedule.warmup);
            self.tally.recorder.unanswered(since_measured, at.saturating_sub(request.intended));
        }
    }

    /// A client that connects late may be given its next request.
    fn come_again(&mut self, index: usize) {
        if self.arrivals.is_none() {
            let at = self.at(self.now);
            self.refill(index, at);
        } else {
            self.offer(index);
        }
    }

    fn connect(&mut self, index: usize, attempt: Option<SentRequest>) -> Result<RunnerLink<N::Socket>, RequestFailure> {
        let client = self.clients.get_mut(index).ok_or(RequestFailure::Unreachable)?;
        let NewSession { session, resumes, wants_ticket } = match &mut client.sessions {
            Some(sessions) => sessions.next_session().map_err(|_| RequestFailure::Handshake)?,
            None => NewSession { session: Session::plain(), resumes: false, wants_ticket: false },
        };
        client.generation = client.generation.wrapping_add(1);
        let token = PeerId { key: u32::try_from(index).unwrap_or(u32::MAX), generation: client.generation }.token();
        let turn = index + client.generation as usize;
        let from = turn.checked_rem(self.plan.sources.len()).and_then(|turn| self.plan.sources.get(turn)).copied();
        let mut socket = self.net.connect(&self.plan.target, from).map_err(|error| failure_of_socket(&error))?;
        self.net.register(&mut socket, token).map_err(|error| failure_of_socket(&error))?;
        Ok(RunnerLink {
            socket,
            connection: LoadConnection::new(session, self.plan.protocol.codec()),
            readable: false,
            writable: false,
            read_closed: false,
            urgent: false,
            began: self.net.now().instant,
            connected: None,
            opened: None,
            asked: None,
            closing: None,
            attempt,
            given: 0,
            is_well: true,
            was_refused: false,
            resumes,
            wants_ticket,
        })
    }

    /// Looks at one connection: reads, counts, asks again, writes.
    pub(super) fn work(&mut self, index: usize) {
        let Some(mut link) = self.clients.get_mut(index).and_then(|client| client.link.take()) else { return };
        match self.look(index, &mut link) {
            Ok(Fate::Alive) => {
                if let Some(client) = self.clients.get_mut(index) {
                    client.link = Some(link);
                }
                if self.arrivals.is_none() {
                    let at = self.at(self.now);
                    self.refill(index, at);
                } else {
                    self.offer(index);
                }
            }
            Ok(Fate::Over) => self.over(index, *link),
            // Once both sides mean to part, it does not matter how; but for an alert, by which a server refuses the
            // client's certificate after the client has finished its handshake.
            Err(failure) if link.closing.is_some() && failure != RequestFailure::Alert => self.over(index, *link),
            Err(RequestFailure::Closed | RequestFailure::Reset) if link.may_end(&self.plan) => self.over(index, *link),
            Err(failure) => self.break_off(index, *link, failure),
        }
    }

    fn look(&mut self, index: usize, link: &mut RunnerLink<N::Socket>) -> Result<Fate, RequestFailure> {
        if link.connected.is_none() && (link.writable || link.read_closed) {
            // An event says that something has happened; the socket, what.
            match self.net.is_connected(&link.socket) {
                Ok(true) => self.connected(index, link)?,
                Ok(false) => return Ok(Fate::Alive),
                Err(error) => return Err(failure_of_socket(&error)),
            }
        }
        let mut ended = false;
        if link.readable || link.read_closed {
            link.readable = false;
            let to_end = link.read_closed || std::mem::take(&mut link.urgent);
            let heard = link.connection.receive(&mut link.socket, to_end, &mut self.buffers, &self.plan.template);
            self.now = self.net.now().instant;
            link.is_well = self.count_answers(index, self.now).unwrap_or(link.is_well);
            let heard = heard?;
            self.tally.bytes_received += heard.bytes as u64;
            let answered =
                if self.plan.protocol == LoadProtocol::HandshakeOnly { heard.bytes } else { heard.plaintext };
            if answered > 0
                && let Some(asked) = link.asked.take()
            {
                HandshakeTally::record(
                    &mut self.tally.handshakes.first_byte,
                    self.now.saturating_duration_since(asked),
                );
            }
            if heard.opened {
                self.opened(index, link);
            }
            ended = heard.ended;
        }
        self.tally.bytes_sent += link.connection.transmit(&mut link.socket, &mut self.buffers)? as u64;
        if ended {
            return if link.closing.is_some() || link.may_end(&self.plan) {
                Ok(Fate::Over)
            } else {
                Err(RequestFailure::Closed)
            };
        }
        let is_done =
            self.plan.protocol == LoadProtocol::HandshakeOnly && link.opened.is_some() && !link.misses_ticket();
        if (is_done && link.closing.is_none()) || link.is_spent(&self.plan, self.now) {
            self.close(link)?;
            if !link.connection.keep_alive() {
                // The server has announced the end; nobody waits to see it.
                return Ok(Fate::Over);
            }
        }
        Ok(Fate::Alive)
    }

    fn connected(&mut self, index: usize, link: &mut RunnerLink<N::Socket>) -> Result<(), RequestFailure> {
        let now = self.net.now().instant;
        link.connected = Some(now);
        if link.is_measured() {
            HandshakeTally::record(&mut self.tally.handshakes.tcp, now.saturating_duration_since(link.began));
        }
        link.connection.begin(&mut self.buffers)?;
        if !link.connection.session().is_tls() {
            self.opened(index, link);
        }
        Ok(())
    }

    /// The connection can carry requests.
    fn opened(&mut self, index: usize, link: &mut RunnerLink<N::Socket>) {
        let now = self.net.now().instant;
        self.now = now;
        link.opened = Some(now);
        self.connecting -= 1;
        self.tally.connections += 1;
        let is_first = self.clients.get(index).is_none_or(|client| !client.has_been_open);
        self.tally.reconnections += u64::from(!is_first && self.plan.protocol != LoadProtocol::HandshakeOnly);
        if let Some(client) = self.clients.get_mut(index) {
            client.has_been_open = true;
        }
        self.progress.open.fetch_add(1, Ordering::Relaxed);
        self.progress.made.fetch_add(1, Ordering::Relaxed);
        self.note_first_attempt(index);
        let asks_at_once = !link.connection.awaited().is_empty();
        if self.plan.protocol == LoadProtocol::HandshakeOnly || asks_at_once {
            link.asked = Some(now);
        }
        if asks_at_once {
            link.connection.sent_at(self.at(now));
        }
        if let Some(sessions) = self.clients.get_mut(index).and_then(|client| client.sessions.as_mut()) {
            sessions.opened(link.wants_ticket);
        }
        let since_connected = now.saturating_duration_since(link.connected.unwrap_or(now));
        let Some(agreement) = link.connection.session().agreement() else { return };
        if link.is_measured() {
            let made = &mut self.tally.handshakes;
            HandshakeTally::record(&mut made.tls, since_connected);
            match agreement.kind {
                HandshakeKind::Full => made.full += 1,
                HandshakeKind::Resumed => made.resumed += 1,
                HandshakeKind::FullWithHelloRetryRequest => made.retried += 1,
            }
            made.agreed(agreement.group.and_then(|group| group.as_str()), Some(suite_name(agreement.suite)));
        }
        link.was_refused = link.resumes && agreement.kind != HandshakeKind::Resumed;
        // The connection goes on, so that the next handshake has its ticket: without one, that could not be blamed on the server.
        if link.was_refused && link.attempt.is_none() {
            let at = self.at(now);
            self.fail(RequestFailure::NotResumed, None, at);
        }
    }

    /// The first connection of a client is made or has failed.
    fn note_first_attempt(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index)
            && !std::mem::replace(&mut client.has_been_tried, true)
        {
            self.untried = self.untried.saturating_sub(1);
        }
    }

    /// Says good-bye; the connection is over when the server has, too.
    fn close(&mut self, link: &mut RunnerLink<N::Socket>) -> Result<(), RequestFailure> {
        link.closing = Some(self.now);
        link.connection.close(&mut self.buffers)?;
        self.tally.bytes_sent += link.connection.transmit(&mut link.socket, &mut self.buffers)? as u64;
        // Fails only when the server is gone already, which the next read will tell.
        let _ = self.net.shutdown_write(&link.socket);
        Ok(())
    }

    /// A connection has ended as it should.
    fn over(&mut self, index: usize, mut link: RunnerLink<N::Socket>) {
        link.connection.flush_alert(&mut link.socket, &mut self.buffers);
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(attempt), Some(opened)) = (link.attempt, link.opened) {
            let at = self.at(opened);
            let answer = if link.was_refused { ReplyCheck::Bad(RequestFailure::NotResumed) } else { ReplyCheck::Good };
            self.count(attempt, &answer, at);
        }
        let by_server = !link.connection.keep_alive();
        drop(link);
        let at = self.at(self.now);
        if let Some(client) = self.clients.get_mut(index) {
            client.connects_late |= by_server;
            client.free_since = at;
        }
        if self.plan.protocol == LoadProtocol::HandshakeOnly {
            self.offer(index);
        } else if by_server {
            self.come_again(index);
        } else if self.makes_requests() {
            self.open(index, None);
        }
    }

    /// A connection has ended as it should not: what it carried has failed with it.
    fn break_off(&mut self, index: usize, mut link: RunnerLink<N::Socket>, failure: RequestFailure) {
        link.connection.flush_alert(&mut link.socket, &mut self.buffers);
        match link.opened {
            Some(_) => {
                self.progress.open.fetch_sub(1, Ordering::Relaxed);
            }
            None => self.connecting -= 1,
        }
        let at = self.at(self.now);
        self.note_wait(index, at);
        let carried = link.connection.abandon();
        let has_served = u64::try_from(carried.len()).is_ok_and(|carried| link.given > carried);
        for request in &carried {
            self.unanswered(*request, failure, at);
        }
        // After a wrong answer a server may close, or what follows make no sense: that is no second failure.
        let is_counted = !carried.is_empty() || !link.is_well;
        if link.attempt.is_some() || !is_counted {
            if let Some(words) = link.connection.refusal().filter(|_| self.counts_lost(at)) {
                self.tally.wordings.add(words, 1);
            }
            match link.attempt {
                Some(attempt) => self.unanswered(attempt, failure, at),
                None => self.fail(failure, None, at),
            }
            self.replace(index, has_served && link.attempt.is_none());
        } else {
            self.replace(index, has_served);
        }
    }

    /// Connects again after a connection was lost: at once if it has answered anything, for the wait would be this side's
    /// and look like the server's.
    fn replace(&mut self, index: usize, has_served: bool) {
        let connects_late = self.clients.get(index).is_some_and(|client| client.connects_late);
        if !has_served || self.plan.once || !self.makes_requests() {
            self.retry(index);
        } else if connects_late {
            self.come_again(index);
        } else {
            self.open(index, None);
        }
    }

    /// In a closed loop, whose next request comes as soon as it can, a client that has lost its connection waits from now
    /// on: an outage is not to be seen only in what fails.
    fn note_wait(&mut self, index: usize, at: Duration) {
        let is_closed = self.stage == Stage::Running && self.arrivals.is_none() && !self.plan.once;
        if is_closed
            && self.plan.protocol != LoadProtocol::HandshakeOnly
            && let Some(client) = self.clients.get_mut(index)
        {
            client.waits_since.get_or_insert(at);
        }
    }

    /// A connection could not be made, or was lost with nothing in flight but `attempt`.
    fn lost(&mut self, index: usize, failure: RequestFailure, attempt: Option<SentRequest>) {
        let at = self.at(self.now);
        match attempt {
            Some(attempt) => self.unanswered(attempt, failure, at),
            None => self.fail(failure, None, at),
        }
        self.retry(index);
    }

    fn retry(&mut self, index: usize) {
        self.note_first_attempt(index);
        if self.plan.once {
            // A connection that was to be held and was lost has failed, once and for all.
            return;
        }
        if let Some(client) = self.clients.get_mut(index) {
            client.is_retrying = true;
            // The pause is this side's own, whatever the server does meanwhile.
            if let Some(since) = client.waits_since.as_mut()
                && !std::mem::replace(&mut client.has_paused, true)
            {
                *since += RETRY;
            }
        }
        self.retries.insert(self.now + RETRY, index);
    }

    fn unanswered(&mut self, request: SentRequest, failure: RequestFailure, at: Duration) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.fail_request(request, failure, at);
    }

    /// Writes the requests of this turn, one write a connection.
    pub(super) fn transmit(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            let Some(mut link) = self.clients.get_mut(index).and_then(|client| client.link.take()) else { continue };
            match link.connection.transmit(&mut link.socket, &mut self.buffers) {
                Ok(count) => {
                    self.tally.bytes_sent += count as u64;
                    if let Some(client) = self.clients.get_mut(index) {
                        client.link = Some(link);
                    }
                }
                Err(failure) => self.break_off(index, *link, failure),
            }
        }
        self.touched = touched;
    }

    /// Now and then, looks for connections that have waited too long.
    pub(super) fn patrol(&mut self) {
        if self.now < self.next_patrol {
            return;
        }
        self.next_patrol = self.now + self.patrol_period();
        for index in 0..self.clients.len() {
            let Some(link) = self.clients.get_mut(index).and_then(|client| {
                client.link.take_if(|link| is_due(link, &self.plan, self.now, self.origin.unwrap_or(self.now)))
            }) else {
                continue;
            };
            self.overdue(index, link);
        }
    }

    pub(super) fn overdue(&mut self, index: usize, mut link: Box<RunnerLink<N::Socket>>) {
        if link.closing.is_some() {
            return self.over(index, *link);
        }
        let has_no_ticket = link.misses_ticket() && self.plan.protocol == LoadProtocol::HandshakeOnly;
        if has_no_ticket || link.is_spent(&self.plan, self.now) {
            if self.close(&mut link).is_err() {
                // The server is gone already, and owes nothing.
                return self.over(index, *link);
            }
            if let Some(client) = self.clients.get_mut(index) {
                client.link = Some(link);
            }
            return;
        }
        let failure = if link.connected.is_none() { RequestFailure::ConnectTimeout } else { RequestFailure::Timeout };
        self.break_off(index, *link, failure);
    }

    /// Ends everything: what is still in flight has waited in vain.
    pub(super) fn finish(&mut self) {
        self.pressure.over = self.plan.schedule.over_at().map_or_else(|| self.at(self.now), |_| self.pressure.ended);
        if self.plan.schedule.over_at().is_none() {
            self.end_measuring();
        }
        self.stage = Stage::Done;
        for index in 0..self.clients.len() {
            let Some(mut link) = self.clients.get_mut(index).and_then(|client| client.link.take()) else { continue };
            if link.attempt.is_some() && link.closing.is_some() {
                self.over(index, *link);
                continue;
            }
            let carried = link.connection.abandon();
            for request in carried.iter().chain(&link.attempt) {
                let at = self.at(self.now);
                self.unanswered(*request, RequestFailure::Timeout, at);
            }
            if link.opened.is_some() && link.closing.is_none() {
                // The run is over: whether the server hears the good-bye changes nothing any more.
                let _ = self.close(&mut link);
            }
        }
    }
}

/// Whether a connection has waited too long for what it waits for.
fn is_due<K>(link: &RunnerLink<K>, plan: &Plan, now: Instant, origin: Instant) -> bool {
    let timeout = plan.timeout;
    let since = |instant: Instant| now.saturating_duration_since(instant);
    match (link.opened, link.closing) {
        (None, _) => since(link.began) > timeout,
        // A server that is told of the end sends what it still has: a ticket that is missing then is waited for as long as
        // an answer, or a slow server would seem to give none.
        (Some(_), Some(closing)) => since(closing) > if link.misses_ticket() { timeout } else { FAREWELL },
        (Some(opened), None) if link.attempt.is_some() => since(opened) > FAREWELL,
        (Some(_), None) if link.is_spent(plan, now) => true,
        _ => link.connection.awaited().front().is_some_and(|oldest| since(origin + oldest.sent) > timeout),
    }
}
