//! Replies in the order of their requests, whenever they become ready.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::id::PeerId;
use super::scratch::shrink;

/// The encoded replies one connection is owed, in order.
///
/// A reply that is ready when nothing is outstanding goes straight to `ready` and never becomes a slot: a service that
/// answers at once pays nothing for the order. Behind a deferred reply, later ones wait in slots.
///
/// Invariant: slots are numbered contiguously from `first`, and the front slot is open (a filled front has been moved
/// to `ready`), so completing a reply is an index, not a search.
#[derive(Debug, Default)]
pub struct Replies {
    ready: Vec<u8>,
    sent: usize,
    slots: VecDeque<Slot>,
    first: u64,
}

#[derive(Debug)]
enum Slot {
    /// Deferred: nothing behind it may be sent.
    Open,
    /// Deferred, and nothing may be served before it is complete.
    Alone,
    Filled(Vec<u8>),
}

impl Replies {
    /// Where the next reply is appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.slots.is_empty() {
            return &mut self.ready;
        }
        if matches!(self.slots.back(), Some(Slot::Open | Slot::Alone)) {
            self.slots.push_back(Slot::Filled(Vec::new()));
        }
        match self.slots.back_mut() {
            Some(Slot::Filled(bytes)) => bytes,
            _ => &mut self.ready,
        }
    }

    /// Opens a slot for a reply that comes later and returns its sequence number.
    pub fn defer(&mut self) -> u64 {
        self.slots.push_back(Slot::Open);
        self.first + self.slots.len() as u64 - 1
    }

    /// Opens a slot as [`defer`](Self::defer) does; until it is complete, no other request is to be served.
    pub fn defer_alone(&mut self) -> u64 {
        self.slots.push_back(Slot::Alone);
        self.first + self.slots.len() as u64 - 1
    }

    /// Whether the last request must be answered before the next one is served.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.slots.back(), Some(Slot::Alone))
    }

    /// Fills the open slot `sequence`. A number that names no open slot is ignored.
    pub fn complete(&mut self, sequence: u64, bytes: Bytes) {
        let Some(index) = sequence.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        match self.slots.get_mut(index) {
            // Bytes that nobody else shares become a `Vec` without a copy.
            Some(slot @ (Slot::Open | Slot::Alone)) => *slot = Slot::Filled(bytes.into()),
            _ => return,
        }
        while let Some(Slot::Filled(_)) = self.slots.front() {
            if let Some(Slot::Filled(bytes)) = self.slots.pop_front() {
                self.first += 1;
                self.append_ready(bytes);
            }
        }
        if self.slots.is_empty() {
            // An idle connection owns nothing, not even the room of its busiest moment.
            self.slots = VecDeque::new();
        }
    }

    /// Adds whole bytes behind everything that is owed.
    pub fn append(&mut self, bytes: Vec<u8>) {
        if self.slots.is_empty() {
            self.append_ready(bytes);
        } else {
            self.tail().extend_from_slice(&bytes);
        }
    }

    fn append_ready(&mut self, bytes: Vec<u8>) {
        if self.unsent().is_empty() {
            self.ready = bytes;
            self.sent = 0;
        } else {
            self.ready.extend_from_slice(&bytes);
        }
    }

    /// Bytes that may be sent now.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.ready.get(self.sent..).unwrap_or_default()
    }

    /// `count` bytes of [`unsent`](Self::unsent) have been handed to the session.
    ///
    /// When all have been, the buffer is returned so that an idle connection owns none.
    pub fn consume(&mut self, count: usize) -> Option<Vec<u8>> {
        self.sent += count;
        if self.sent < self.ready.len() {
            // A peer that is always owed something must not keep all it was ever sent. Moving no more than has been
            // sent since the last move makes this cheap.
            if self.sent > self.unsent().len() {
                self.ready.drain(..self.sent);
                self.sent = 0;
                shrink(&mut self.ready);
            }
            return None;
        }
        self.sent = 0;
        Some(std::mem::take(&mut self.ready))
    }

    /// Gives the connection a buffer to write its next reply to, if it has none.
    pub fn lend(&mut self, spare: impl FnOnce() -> Vec<u8>) {
        if self.ready.capacity() == 0 {
            self.ready = spare();
        }
    }

    /// Takes a lent buffer back, if nothing was written to it.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        (self.ready.is_empty() && self.ready.capacity() > 0).then(|| std::mem::take(&mut self.ready))
    }

    /// Encoded bytes not yet handed to the session, those behind open slots included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let filled = |slot: &Slot| match slot {
            Slot::Open | Slot::Alone => 0,
            Slot::Filled(bytes) => bytes.len(),
        };
        self.unsent().len() + self.slots.iter().map(filled).sum::<usize>()
    }

    /// Replies that are open or wait behind an open one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unsent().is_empty() && self.slots.is_empty()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.ready.capacity() + self.queued_bytes() - self.unsent().len() + self.slots.capacity() * size_of::<Slot>()
    }
}

/// A reply that was deferred: complete it from any thread, once.
///
/// Dropped without completion, it closes its connection, since replies behind it could never be sent in order.
#[derive(Debug)]
#[must_use = "a deferred reply that is dropped closes its connection"]
pub struct Deferred {
    completion: Option<(PeerId, u64)>,
    mailbox: Mailbox,
}

impl Deferred {
    /// Completes the reply with its encoded bytes. One reply to many clients may be shared: it is copied only when it
    /// is sent.
    pub fn complete(mut self, reply: impl Into<Bytes>) {
        if let Some((peer, sequence)) = self.completion.take() {
            self.mailbox.post(Completion { peer, sequence, reply: Some(reply.into()) });
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if let Some((peer, sequence)) = self.completion.take() {
            self.mailbox.post(Completion { peer, sequence, reply: None });
        }
    }
}

/// A finished deferred reply on its way to the loop.
#[derive(Debug)]
pub struct Completion {
    /// The connection it belongs to; a connection that is gone is recognised by its generation.
    pub peer: PeerId,
    /// The slot.
    pub sequence: u64,
    /// The encoded reply; `None` when it was dropped.
    pub reply: Option<Bytes>,
}

/// The way from any thread to the loop: a queue, and what wakes the loop to look at it.
#[derive(Clone)]
pub struct Mailbox {
    sender: mpsc::Sender<Completion>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// A mailbox whose every post is followed by `wake`, and the end that the loop reads.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> (Self, mpsc::Receiver<Completion>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, wake }, receiver)
    }

    /// A handle for slot `sequence` of `peer`.
    pub(super) fn deferred(&self, peer: PeerId, sequence: u64) -> Deferred {
        Deferred { completion: Some((peer, sequence)), mailbox: self.clone() }
    }

    fn post(&self, completion: Completion) {
        // The loop is gone only when the server is: then nobody waits for this reply.
        if self.sender.send(completion).is_ok() {
            (self.wake)();
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediate_replies_never_become_slots() {
        let mut replies = Replies::default();
        replies.tail().extend_from_slice(b"a");
        replies.tail().extend_from_slice(b"b");
        assert_eq!((replies.unsent(), replies.waiting()), (&b"ab"[..], 0));
        assert!(replies.consume(1).is_none());
        assert_eq!(replies.unsent(), b"b");
        assert!(replies.consume(1).is_some());
        assert!(replies.is_empty());
        assert_eq!(replies.memory(), 0);
    }

    #[test]
    fn a_buffer_that_is_never_quite_empty_does_not_grow() {
        let mut replies = Replies::default();
        replies.tail().extend_from_slice(&[0; 1_000]);
        for _ in 0..1_000 {
            assert!(replies.consume(900).is_none());
            replies.tail().extend_from_slice(&[0; 900]);
            assert_eq!(replies.queued_bytes(), 1_000);
        }
        assert!(replies.memory() < 8_000, "{} bytes for 1,000 that wait", replies.memory());
    }

    #[test]
    fn nothing_is_held_when_nothing_is_owed() {
        let mut replies = Replies::default();
        let open: Vec<u64> = (0..100).map(|_| replies.defer()).collect();
        for sequence in open {
            replies.complete(sequence, Bytes::from_static(b"done"));
        }
        replies.consume(400);
        assert_eq!(replies.memory(), 0);
        replies.lend(|| Vec::with_capacity(1_000));
        assert_eq!(replies.reclaim().map(|spare| spare.capacity()), Some(1_000));
        assert_eq!(replies.memory(), 0);
        replies.tail().push(b'x');
        assert_eq!(replies.reclaim(), None, "it is in use");
    }

    #[test]
    fn replies_wait_for_earlier_ones_whatever_the_order_of_completion() {
        let mut replies = Replies::default();
        replies.tail().extend_from_slice(b"0");
        let first = replies.defer();
        replies.tail().extend_from_slice(b"2");
        replies.tail().extend_from_slice(b"3");
        let fourth = replies.defer();
        replies.tail().extend_from_slice(b"5");
        assert_eq!(replies.unsent(), b"0");
        assert_eq!(replies.queued_bytes(), 4);

        replies.complete(fourth, Bytes::from_static(b"4"));
        replies.complete(fourth, Bytes::from_static(b"again"));
        assert_eq!(replies.unsent(), b"0");
        replies.complete(first, Bytes::from_static(b"1"));
        assert_eq!(replies.unsent(), b"012345");
        replies.complete(first, Bytes::from_static(b"late"));
        replies.complete(99, Bytes::from_static(b"never opened"));
        assert_eq!((replies.unsent(), replies.waiting()), (&b"012345"[..], 0));
    }

    #[test]
    fn a_dropped_deferral_is_reported() {
        let (mailbox, posted) = Mailbox::new(Arc::new(|| {}));
        let peer = PeerId { key: 1, generation: 2 };
        mailbox.deferred(peer, 7).complete(b"x".to_vec());
        drop(mailbox.deferred(peer, 8));
        let first = posted.recv().expect("posted");
        assert_eq!((first.peer, first.sequence, first.reply), (peer, 7, Some(Bytes::from_static(b"x"))));
        assert_eq!(posted.recv().expect("posted").reply, None);
    }
}
