//! From plaintext to served requests: a connection's undecoded bytes, and when to stop decoding.

use super::context::Context;
use super::effects::{Effect, Effects, Link, Loss};
use super::lifecycle::ReadState;
use super::output::Output;
use super::replies::Replies;
use super::scratch::{READ_BYTES, Scratch, shrink};
use super::service::{Exchange, PeerInfo, Served, Service, SessionState};
use crate::disconnect::Disconnect;
use crate::limits::Limits;

/// The plaintext half of a connection: undecoded input on one side, replies in order on the other.
pub(super) struct Framing<S: Service> {
    pub(super) info: PeerInfo,
    /// `None` until the connection is open and after the session has been returned to the service.
    session: Option<S::Session>,
    /// Plaintext received and not decoded: an incomplete request, or requests that wait because of back-pressure.
    input: Vec<u8>,
    pub(super) output: Output,
    state: ReadState,
    session_state: SessionState,
}

impl<S: Service> Framing<S> {
    pub(super) fn new(info: PeerInfo) -> Self {
        Self {
            info,
            session: None,
            input: Vec::new(),
            output: Output::default(),
            state: ReadState::AwaitingInput,
            session_state: SessionState::default(),
        }
    }

    pub(super) fn open(&mut self, context: &mut Context<S>) {
        let Context { service, env } = context;
        let mut exchange = Exchange { peer: &self.info, env, output: &mut self.output };
        let session = service.open(&mut exchange);
        self.session_state = service.inspect(&session);
        self.session = Some(session);
        self.wait_if_dialing(&context.env.effects);
    }

    /// The dialed connection failed.
    pub(super) fn unreachable(&mut self, loss: &Loss, context: &mut Context<S>) {
        let Some(session) = self.session.as_mut() else { return };
        let Context { service, env } = context;
        let mut exchange = Exchange { peer: &self.info, env, output: &mut self.output };
        let reason = service.unreachable(session, loss, &mut exchange);
        self.state = reason.map_or(ReadState::Paused, ReadState::Ended);
        self.wait_if_dialing(&context.env.effects);
    }

    fn wait_if_dialing(&mut self, effects: &Effects) {
        if self.info.link.is_none() && self.ended().is_none() && effects.is_dialed_by(self.info.id) {
            self.state = ReadState::Throttled;
        }
    }

    /// Begins a turn: resets the share of requests.
    pub(super) fn begin_turn(&mut self) {
        self.output.served = 0;
    }

    /// Takes plaintext and serves the requests that it completes.
    pub(super) fn deliver(&mut self, plaintext: &[u8], context: &mut Context<S>) {
        if self.ended().is_some() {
            return;
        }
        if self.input.is_empty() {
            let used = self.serve_all(plaintext, context);
            let rest = plaintext.get(used..).unwrap_or_default();
            if !rest.is_empty() && self.ended().is_none() {
                self.input = context.env.scratch.take();
                self.input.extend_from_slice(rest);
            }
        } else {
            self.input.extend_from_slice(plaintext);
            if self.state == ReadState::AwaitingInput {
                self.serve_waiting(context);
            }
        }
        if self.state == ReadState::AwaitingInput
            && self.input.len() > context.env.limits.request_bytes.saturating_add(READ_BYTES)
        {
            // The service has a better reply for this; here is the fallback for one that does not check.
            self.end(Disconnect::TooLarge, &mut context.env.scratch);
        }
    }

    /// Serves requests that waited for room, if there is room now.
    pub(super) fn resume(&mut self, context: &mut Context<S>) {
        if self.state == ReadState::Paused {
            self.state = ReadState::AwaitingInput;
            self.serve_waiting(context);
        }
    }

    fn serve_waiting(&mut self, context: &mut Context<S>) {
        let mut input = std::mem::take(&mut self.input);
        let used = self.serve_all(&input, context);
        if used == input.len() || self.ended().is_some() {
            context.env.scratch.give(input);
        } else {
            input.drain(..used);
            self.input = input;
            // A few bytes after a large request must not keep its memory.
            shrink(&mut self.input);
        }
    }

    /// Serves requests from the front of `input` while there are complete ones and room for replies.
    fn serve_all(&mut self, input: &[u8], context: &mut Context<S>) -> usize {
        let Some(session) = self.session.as_mut() else { return 0 };
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            if self.output.served >= context.env.limits.requests_per_turn
                || is_full(&self.info, &self.output.replies, &context.env.limits)
            {
                self.state = ReadState::Paused;
                break;
            }
            if self.info.link.is_some() {
                if context.env.effects.room() == 0 {
                    self.state = ReadState::Throttled;
                    break;
                }
            } else {
                self.output.replies.lend(|| context.env.scratch.take());
            }
            self.output.replies.mark();
            let Context { service, env } = context;
            let mut exchange = Exchange { peer: &self.info, env, output: &mut self.output };
            match service.serve(session, rest, &mut exchange) {
                Served::Incomplete | Served::Used(0) => break,
                Served::Used(count) => used += count.min(rest.len()),
                Served::Congested => {
                    self.state = ReadState::Congested;
                    break;
                }
                Served::Close(reason) => {
                    self.state = ReadState::Ended(reason);
                    break;
                }
            }
            self.output.served = self.output.served.saturating_add(1);
            if self.info.link.is_none() && context.env.effects.is_dialed_by(self.info.id) {
                self.state = ReadState::Throttled;
                break;
            }
        }
        self.session_state = context.service.inspect(session);
        if let Some(spare) = self.output.replies.reclaim() {
            context.env.scratch.give(spare);
        }
        used
    }

    /// The peer will send no more: serves the rest and ends the input.
    pub(super) fn end_of_input(&mut self, proper: bool, context: &mut Context<S>) {
        if self.state != ReadState::AwaitingInput {
            return;
        }
        let rest = std::mem::take(&mut self.input);
        let Some(session) = self.session.as_mut() else { return };
        let Context { service, env } = context;
        let mut exchange = Exchange { peer: &self.info, env, output: &mut self.output };
        let reason = service.end_of_input(session, &rest, &mut exchange);
        let usual = if proper { Disconnect::PeerClosed } else { Disconnect::NoCloseNotify };
        self.state = match (reason, self.info.link) {
            // Clients may leave without close_notify, and many do. From a backend, the output may then be incomplete,
            // so the backend counts as lost.
            (None, Some(link)) if proper || matches!(link, Link::Upstream(_)) => {
                context.env.effects.push(Effect::Finish { peer: link.peer(), proper });
                ReadState::HalfClosed(usual)
            }
            (reason, _) => ReadState::Ended(reason.unwrap_or(usual)),
        };
        context.env.scratch.give(rest);
    }

    /// Nothing more will be forwarded to the peer: if its own input has ended too, the connection ends.
    pub(super) fn conclude(&mut self) {
        if let ReadState::HalfClosed(reason) = self.state {
            self.state = ReadState::Ended(reason);
        }
    }

    /// The linked connection has room again. Returns whether this one was waiting for it.
    pub(super) fn unthrottle(&mut self) -> bool {
        let waited = self.state == ReadState::Throttled;
        if waited {
            self.state = ReadState::Paused;
        }
        waited
    }

    /// There is room for changes again.
    pub(super) fn resume_congested(&mut self) {
        if self.state == ReadState::Congested {
            self.state = ReadState::Paused;
        }
    }

    /// Whether a request waits for room for its changes.
    pub(super) fn is_congested(&self) -> bool {
        self.state == ReadState::Congested
    }

    /// Serves nothing more, for `reason`; owed replies stay owed. The first reason stays.
    pub(super) fn end(&mut self, reason: Disconnect, scratch: &mut Scratch) {
        if self.ended().is_none() {
            self.state = ReadState::Ended(reason);
        }
        scratch.give(std::mem::take(&mut self.input));
    }

    /// Returns the session to the service: the connection has ended.
    pub(super) fn retire(&mut self, service: &mut S) {
        self.session_state = SessionState::default();
        if let Some(session) = self.session.take() {
            service.close(session, &self.info);
        }
    }

    pub(super) fn ended(&self) -> Option<Disconnect> {
        match self.state {
            ReadState::Ended(reason) => Some(reason),
            ReadState::AwaitingInput
            | ReadState::Paused
            | ReadState::Throttled
            | ReadState::Congested
            | ReadState::HalfClosed(_) => None,
        }
    }

    /// Whether the peer's input has ended while output continues.
    pub(super) fn is_half_closed(&self) -> bool {
        matches!(self.state, ReadState::HalfClosed(_))
    }

    /// Whether the service has opened this connection.
    pub(super) fn was_opened(&self) -> bool {
        self.session.is_some()
    }

    /// Whether [`resume`](Self::resume) would serve something.
    pub(super) fn can_resume(&self, limits: &Limits) -> bool {
        self.state == ReadState::Paused && !is_full(&self.info, &self.output.replies, limits)
    }

    /// Whether decoding waits for room or for the next turn; the socket is not read meanwhile.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.state, ReadState::Paused | ReadState::Throttled | ReadState::Congested)
    }

    /// Whether a request has begun and not ended.
    pub(super) fn is_mid_request(&self) -> bool {
        self.state == ReadState::AwaitingInput && !self.input.is_empty()
    }

    /// Whether the service waits for the head of a request.
    pub(super) fn is_in_head(&self) -> bool {
        self.session_state.is_in_head
    }

    /// Requests served in this turn.
    pub(super) fn served(&self) -> usize {
        self.output.served
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.input.capacity() + self.output.replies.memory() + self.session_state.memory
    }
}

/// Whether so much is owed to the peer that no further request is decoded.
///
/// This does not apply to a linked connection: its input is forwarded and adds nothing to what it is owed; only the
/// room at the other end of the link counts. Two ends that each waited for their own output to shrink would deadlock.
fn is_full(peer: &PeerInfo, owed: &Replies, limits: &Limits) -> bool {
    let is_full = owed.queued_bytes() >= limits.output_bytes || owed.waiting() >= limits.replies || owed.is_alone();
    is_full && peer.link.is_none()
}
