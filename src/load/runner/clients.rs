//! The virtual clients of one thread, and the queues that they stand in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::link::RunnerLink;
use super::opening::Opening;
use crate::load::plan::Sessions;
use crate::timer::Deadlines;

/// One of the clients that a run pretends to be.
pub(super) struct Virtual<K> {
    /// Its tickets; `None` without TLS.
    pub(super) sessions: Option<Sessions>,
    pub(super) state: ClientState<K>,
    pub(super) reached: Reached,
    /// Distinguishes its connections in events.
    pub(super) generation: u32,
    /// Whether it connects only when it has something to ask: always where handshakes are the requests, else since the
    /// server has closed after an answer. A server that serves one connection at a time would wait for a silent one.
    pub(super) on_demand: bool,
    /// Requests it was given.
    pub(super) given: u64,
    /// Since when it could have taken a request.
    pub(super) free_since: Duration,
    /// In a closed loop, the wait of its next request for a new connection.
    pub(super) outage: Option<Outage>,
}

/// The connection of a virtual client.
pub(super) enum ClientState<K> {
    /// None, and none is being made.
    Offline,
    /// None: it waits before it connects again.
    BackingOff,
    /// One; boxed, so that a list of many idle clients can grow cheaply.
    Online(Box<RunnerLink<K>>),
}

/// The result of a virtual client's attempts to connect so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The first has neither been made nor failed.
    Untried,
    /// None was ever made.
    Failed,
    /// At least one was made.
    Connected,
}

/// A client's wait for a new connection: its next request would have been sent, had the last one not failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When the connection was lost.
    pub(super) since: Duration,
    /// The client's own pause before it connects again: no latency of the server.
    pub(super) pause: Duration,
}

impl Outage {
    /// When the next request counts as due.
    pub(super) fn due(self) -> Duration {
        self.since + self.pause
    }
}

/// All virtual clients of one thread, by index.
pub(super) struct Clients<K> {
    all: Vec<Virtual<K>>,
    /// How the first connection of each is made.
    pub(super) opening: Opening,
    /// Those whose socket has something to read, or has just been connected.
    pub(super) ready: VecDeque<usize>,
    /// Those that were given requests in this turn.
    pub(super) unsent: Vec<usize>,
    /// Those that wait before they connect again.
    retries: Deadlines<usize>,
    free: FreeQueue,
}

impl<K> Clients<K> {
    pub(super) fn new(all: Vec<Virtual<K>>, opening: Opening) -> Self {
        let free = FreeQueue { order: VecDeque::new(), is_queued: vec![false; all.len()] };
        Self { all, opening, ready: VecDeque::new(), unsent: Vec::new(), retries: Deadlines::default(), free }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Virtual<K>> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Virtual<K>> {
        self.all.iter_mut()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Virtual<K>> {
        self.all.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Virtual<K>> {
        self.all.get_mut(index)
    }

    /// Takes a client's connection from it.
    pub(super) fn take_link(&mut self, index: usize) -> Option<Box<RunnerLink<K>>> {
        self.all.get_mut(index)?.take_link()
    }

    /// Gives a client its connection, or gives it back.
    pub(super) fn put_link(&mut self, index: usize, link: Box<RunnerLink<K>>) {
        if let Some(client) = self.all.get_mut(index) {
            client.state = ClientState::Online(link);
        }
    }

    /// The first connection of a client has been made, or has failed.
    pub(super) fn note_attempt(&mut self, index: usize, is_made: bool) {
        let Some(client) = self.all.get_mut(index) else { return };
        if client.reached == Reached::Untried {
            self.opening.count_tried();
        }
        match (is_made, client.reached) {
            (true, _) => client.reached = Reached::Connected,
            (false, Reached::Untried) => client.reached = Reached::Failed,
            (false, Reached::Failed | Reached::Connected) => {}
        }
    }

    /// A client connects again at `deadline`, and not before.
    pub(super) fn back_off(&mut self, index: usize, deadline: Instant, pause: Duration) {
        let Some(client) = self.all.get_mut(index) else { return };
        client.state = ClientState::BackingOff;
        if let Some(outage) = &mut client.outage {
            outage.pause = pause;
        }
        self.retries.insert(deadline, index);
    }

    /// A client whose wait before it connects again is over.
    pub(super) fn next_retry(&mut self, now: Instant) -> Option<usize> {
        let index = self.retries.pop_due(now)?;
        if let Some(client) = self.all.get_mut(index)
            && matches!(client.state, ClientState::BackingOff)
        {
            client.state = ClientState::Offline;
        }
        Some(index)
    }

    /// How long until a client connects again.
    pub(super) fn time_to_retry(&self, now: Instant) -> Option<Duration> {
        self.retries.until_next(now)
    }

    /// Queues a client that may take a request, once.
    pub(super) fn queue_free(&mut self, index: usize) {
        self.free.push(index);
    }

    /// Takes the client that has been free for longest from the queue. It may have lost its room since.
    pub(super) fn pop_free(&mut self) -> Option<usize> {
        self.free.pop()
    }

    /// How many clients stand in the queue of free ones.
    pub(super) fn free_len(&self) -> usize {
        self.free.order.len()
    }
}

impl<K> Virtual<K> {
    pub(super) fn new(sessions: Option<Sessions>, on_demand: bool) -> Self {
        Self {
            sessions,
            state: ClientState::Offline,
            reached: Reached::Untried,
            generation: 0,
            on_demand,
            given: 0,
            free_since: Duration::ZERO,
            outage: None,
        }
    }

    pub(super) fn link(&self) -> Option<&RunnerLink<K>> {
        match &self.state {
            ClientState::Online(link) => Some(link),
            ClientState::Offline | ClientState::BackingOff => None,
        }
    }

    pub(super) fn link_mut(&mut self) -> Option<&mut RunnerLink<K>> {
        match &mut self.state {
            ClientState::Online(link) => Some(link),
            ClientState::Offline | ClientState::BackingOff => None,
        }
    }

    fn take_link(&mut self) -> Option<Box<RunnerLink<K>>> {
        match std::mem::replace(&mut self.state, ClientState::Offline) {
            ClientState::Online(link) => Some(link),
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// Clients that may take a request, the one that has been free for longest first; each stands there once.
struct FreeQueue {
    order: VecDeque<usize>,
    is_queued: Vec<bool>,
}

impl FreeQueue {
    fn push(&mut self, index: usize) {
        if let Some(is_queued) = self.is_queued.get_mut(index)
            && !std::mem::replace(is_queued, true)
        {
            self.order.push_back(index);
        }
    }

    fn pop(&mut self) -> Option<usize> {
        let index = self.order.pop_front()?;
        if let Some(is_queued) = self.is_queued.get_mut(index) {
            *is_queued = false;
        }
        Some(index)
    }
}
