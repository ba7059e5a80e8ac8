//! The loop's step that connects: the first connection of each client, and those that follow.

use std::time::Duration;

use super::Runner;
use super::link::{LinkState, LinkTask, RunnerLink, SocketHints};
use crate::connection::PeerId;
use crate::load::connection::{LoadConnection, SentRequest, failure_of_socket};
use crate::load::outcome::RequestFailure;
use crate::load::plan::{NewSession, SessionGoal};
use crate::net::Net;
use crate::tls::Session;

/// How long a virtual client waits after its connection could not be made, or has failed before it answered anything: a
/// server that turns clients away is not stormed. The wait is no latency of a closed loop.
const RETRY: Duration = Duration::from_millis(100);

impl<N: Net> Runner<N> {
    /// Opens first connections that are due, and again those that have failed.
    pub(super) fn open_due(&mut self) {
        while let Some(index) = self.clients.opening.take_due(self.now) {
            self.open(index, LinkTask::REQUESTS);
        }
        while let Some(index) = self.clients.next_retry(self.now) {
            self.go_on(index);
        }
    }

    /// A client without a connection makes a new one, or, where it connects on demand, may be given its next request.
    pub(super) fn go_on(&mut self, index: usize) {
        if self.clients.get(index).is_some_and(|client| client.on_demand) {
            self.serve(index);
        } else if self.stages.stage.makes_requests() {
            self.open(index, LinkTask::REQUESTS);
        }
    }

    /// Begins a connection.
    pub(super) fn open(&mut self, index: usize, task: LinkTask) {
        match self.connect(index, task) {
            Ok(link) => {
                self.clients.opening.count_begun();
                self.clients.put_link(index, Box::new(link));
            }
            Err(failure) => {
                let at = self.pacer.at(self.now);
                match task {
                    LinkTask::Handshake(request) => self.account.fail_request(request, failure, at, &self.pacer),
                    LinkTask::Requests { .. } => self.account.fail_connection(failure, None, at, &self.pacer),
                }
                self.retry(index);
            }
        }
    }

    /// Begins a connection for a request, which is sent as soon as it can be.
    pub(super) fn open_for(&mut self, index: usize, request: SentRequest) {
        self.open(index, LinkTask::REQUESTS);
        if let Some(link) = self.clients.get_mut(index).and_then(|client| client.link_mut()) {
            link.count_request();
            link.connection.request(request, &self.plan.template);
        } else {
            self.account.count_without_connection(request, self.pacer.at(self.now), &self.pacer);
        }
    }

    fn connect(&mut self, index: usize, task: LinkTask) -> Result<RunnerLink<N::Socket>, RequestFailure> {
        let client = self.clients.get_mut(index).ok_or(RequestFailure::Unreachable)?;
        let NewSession { session, goal } = match &mut client.sessions {
            Some(sessions) => sessions.next_session().map_err(|_| RequestFailure::Handshake)?,
            None => NewSession { session: Session::plain(), goal: SessionGoal::Full },
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
            hints: SocketHints::default(),
            state: LinkState::Connecting,
            task,
            goal,
            began: self.net.now().instant,
            first_byte_since: None,
        })
    }

    /// Connects again after a pause.
    pub(super) fn retry(&mut self, index: usize) {
        self.clients.note_attempt(index, false);
        // A connection that was to be held and was lost has failed, once and for all.
        if self.driver.replaces_lost() {
            self.clients.back_off(index, self.now + RETRY, RETRY);
        }
    }
}
