//! Replies in the order of their requests, whenever they become ready.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::id::PeerId;
use super::scratch::shrink;

/// The encoded replies owed to one connection, in order.
///
/// A reply that is ready when nothing is outstanding is appended to `ready` and never becomes a slot, so a service that
/// answers at once pays nothing for the order. After a deferred reply, later ones wait in slots. So do held replies,
/// until the group that they depend on is durable.
///
/// Invariant: slots are numbered contiguously from `first`, and the front slot is open or held (any other front slot
/// has been moved to `ready`), so completing a reply is an index, not a search.
#[derive(Debug, Default)]
pub struct Replies {
    ready: Vec<u8>,
    sent: usize,
    slots: VecDeque<Slot>,
    first: u64,
    /// Where the reply to the current request begins: the number of slots, and of bytes in the last one.
    mark: (usize, usize),
}

#[derive(Debug)]
enum Slot {
    /// Deferred: no later reply may be sent.
    Open,
    /// Deferred, and no later request may be served before it is complete.
    Alone,
    Filled(Vec<u8>),
    /// Ready, but neither it nor any later reply may be sent before this group is durable.
    Held(u64, Held),
}

/// Held replies: the first depends on changes that are not durable, and later ones may.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    /// Where the first reply ends.
    first: usize,
    /// Where other replies that depend on such changes begin and end.
    others: Vec<(usize, usize)>,
}

impl Held {
    fn new(bytes: Vec<u8>) -> Self {
        Self { first: bytes.len(), bytes, others: Vec::new() }
    }

    /// The replies if the changes are lost: each dependent reply is replaced by what `retract` writes for it.
    fn retracted(&self, retract: &mut dyn FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
        let (mut left, mut at) = (Vec::new(), 0);
        for (start, end) in std::iter::once((0, self.first)).chain(self.others.iter().copied()) {
            left.extend_from_slice(self.bytes.get(at..start).unwrap_or_default());
            retract(self.bytes.get(start..end).unwrap_or_default(), &mut left);
            at = end;
        }
        left.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        left
    }
}

impl Replies {
    /// The buffer for the next reply.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.slots.is_empty() {
            return &mut self.ready;
        }
        if matches!(self.slots.back(), Some(Slot::Open | Slot::Alone)) {
            self.slots.push_back(Slot::Filled(Vec::new()));
        }
        match self.slots.back_mut() {
            Some(Slot::Filled(bytes) | Slot::Held(_, Held { bytes, .. })) => bytes,
            _ => &mut self.ready,
        }
    }

    /// Marks the beginning of the reply to the next request.
    pub(super) fn mark(&mut self) {
        let end = match self.slots.back() {
            None => self.ready.len(),
            Some(Slot::Open | Slot::Alone) => 0,
            Some(Slot::Filled(bytes) | Slot::Held(_, Held { bytes, .. })) => bytes.len(),
        };
        self.mark = (self.slots.len(), end);
    }

    /// Holds the reply to the current request, and all later ones, until `group` is durable. Groups only increase, so a
    /// reply after one that waits for the same or a later group needs no slot of its own. A deferred reply is not held.
    pub fn hold(&mut self, group: u64, spare: impl FnOnce() -> Vec<u8>) {
        let (slots, start) = self.mark;
        // A reply after an open slot began its own slot.
        let start = if slots == self.slots.len() { start } else { 0 };
        let tail = match self.slots.back_mut() {
            None => &mut self.ready,
            Some(Slot::Held(slot, held)) if *slot >= group => {
                if held.bytes.len() > start {
                    held.others.push((start, held.bytes.len()));
                }
                return;
            }
            Some(Slot::Filled(bytes) | Slot::Held(_, Held { bytes, .. })) => bytes,
            Some(Slot::Open | Slot::Alone) => return,
        };
        let Some(reply) = tail.get(start..).filter(|reply| !reply.is_empty()) else { return };
        let mut held = spare();
        held.extend_from_slice(reply);
        tail.truncate(start);
        self.slots.push_back(Slot::Held(group, Held::new(held)));
    }

    /// Everything up to `group` is durable.
    pub(super) fn release(&mut self, group: u64) {
        for slot in &mut self.slots {
            if let Slot::Held(waits_for, held) = slot
                && *waits_for <= group
            {
                *slot = Slot::Filled(std::mem::take(&mut held.bytes));
            }
        }
        self.advance();
    }

    /// The changes are lost: each reply that depends on them is replaced by what `retract` writes for it; the others
    /// stay.
    pub(super) fn retract(&mut self, retract: &mut dyn FnMut(&[u8], &mut Vec<u8>)) {
        for slot in &mut self.slots {
            if let Slot::Held(_, held) = slot {
                *slot = Slot::Filled(held.retracted(retract));
            }
        }
        self.advance();
    }

    /// Whether something is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Held(..)))
    }

    /// Opens a slot for a later reply and returns its sequence number.
    pub fn defer(&mut self) -> u64 {
        self.slots.push_back(Slot::Open);
        self.first + self.slots.len() as u64 - 1
    }

    /// Opens a slot like [`defer`](Self::defer); until it is complete, no other request may be served.
    pub fn defer_alone(&mut self) -> u64 {
        self.slots.push_back(Slot::Alone);
        self.first + self.slots.len() as u64 - 1
    }

    /// Whether the last request must be answered before the next one is served.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self.slots.back(), Some(Slot::Alone))
    }

    /// Fills the open slot `sequence`. A number that is not that of an open slot is ignored.
    pub fn complete(&mut self, sequence: u64, bytes: Bytes) {
        let Some(index) = sequence.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        match self.slots.get_mut(index) {
            // Bytes that are not shared become a `Vec` without a copy.
            Some(slot @ (Slot::Open | Slot::Alone)) => *slot = Slot::Filled(bytes.into()),
            _ => return,
        }
        self.advance();
    }

    /// Moves filled slots at the front to `ready`.
    fn advance(&mut self) {
        while let Some(Slot::Filled(_)) = self.slots.front() {
            if let Some(Slot::Filled(bytes)) = self.slots.pop_front() {
                self.first += 1;
                self.append_ready(bytes);
            }
        }
        if self.slots.is_empty() {
            // An idle connection owns nothing, not even the capacity of its busiest moment.
            self.slots = VecDeque::new();
        }
    }

    /// Appends whole bytes after everything that is owed.
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

    /// Marks `count` bytes of [`unsent`](Self::unsent) as passed to the session.
    ///
    /// If all have been, the buffer is returned, so that an idle connection owns none.
    pub fn consume(&mut self, count: usize) -> Option<Vec<u8>> {
        self.sent += count;
        if self.sent < self.ready.len() {
            // A peer that is always owed something must not keep all bytes ever sent to it. Moving at most as many
            // bytes as have been sent since the last move keeps this cheap.
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

    /// Lends the connection a buffer for its next reply, if it has none.
    pub fn lend(&mut self, spare: impl FnOnce() -> Vec<u8>) {
        if self.ready.capacity() == 0 {
            self.ready = spare();
        }
    }

    /// Takes a lent buffer back, if nothing was written to it.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        (self.ready.is_empty() && self.ready.capacity() > 0).then(|| std::mem::take(&mut self.ready))
    }

    /// Encoded bytes not yet passed to the session, those after open slots included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let filled = |slot: &Slot| match slot {
            Slot::Open | Slot::Alone => 0,
            Slot::Filled(bytes) | Slot::Held(_, Held { bytes, .. }) => bytes.len(),
        };
        self.unsent().len() + self.slots.iter().map(filled).sum::<usize>()
    }

    /// Replies that are open or wait for an open one.
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
        let owned = |slot: &Slot| match slot {
            Slot::Open | Slot::Alone => 0,
            Slot::Filled(bytes) => bytes.capacity(),
            Slot::Held(_, held) => held.bytes.capacity() + held.others.capacity() * size_of::<(usize, usize)>(),
        };
        let slots = self.slots.iter().map(owned).sum::<usize>() + self.slots.capacity() * size_of::<Slot>();
        self.ready.capacity() + slots
    }
}

/// A deferred reply: complete it from any thread, once.
///
/// If it is dropped without completion, its connection is closed, because later replies could never be sent in order.
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
    /// Its connection; one that has ended is recognised by its generation.
    pub peer: PeerId,
    /// The slot.
    pub sequence: u64,
    /// The encoded reply; `None` if it was dropped.
    pub reply: Option<Bytes>,
}

/// Returns replies from any thread to the loop: a queue, and a function that wakes the loop.
#[derive(Clone)]
pub struct Mailbox {
    sender: mpsc::Sender<Completion>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// A mailbox that calls `wake` after every completion, and the receiver for the loop.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> (Self, mpsc::Receiver<Completion>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, wake }, receiver)
    }

    /// A handle for slot `sequence` of `peer`.
    pub(super) fn deferred(&self, peer: PeerId, sequence: u64) -> Deferred {
        Deferred { completion: Some((peer, sequence)), mailbox: self.clone() }
    }

    fn post(&self, completion: Completion) {
        // The loop is gone only if the server is: then no client waits for this reply.
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
    fn no_memory_is_held_when_nothing_is_owed() {
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

    /// Appends the reply to one request.
    fn answer(replies: &mut Replies, reply: &[u8], group: Option<u64>) {
        replies.mark();
        replies.tail().extend_from_slice(reply);
        if let Some(group) = group {
            replies.hold(group, Vec::new);
        }
    }

    #[test]
    fn held_replies_leave_in_order_when_their_group_is_durable() {
        let mut replies = Replies::default();
        for (reply, group) in [(b"a", None), (b"b", Some(1)), (b"c", None), (b"d", Some(1)), (b"e", Some(3))] {
            answer(&mut replies, reply, group);
        }
        answer(&mut replies, b"f", Some(2));
        assert_eq!((replies.unsent(), replies.waiting(), replies.queued_bytes()), (&b"a"[..], 2, 6));
        replies.release(1);
        assert_eq!((replies.unsent(), replies.is_held()), (&b"abcd"[..], true));
        replies.release(2);
        assert_eq!(replies.unsent(), b"abcd");
        assert!(replies.consume(4).is_some());
        replies.release(3);
        assert_eq!((replies.unsent(), replies.is_held(), replies.waiting()), (&b"ef"[..], false, 0));
        replies.consume(2);
        assert_eq!(replies.memory(), 0);
        // Nothing was written, so nothing is held.
        answer(&mut replies, b"", Some(9));
        assert!(replies.is_empty());
    }

    #[test]
    fn held_and_deferred_replies_wait_for_each_other() {
        let mut replies = Replies::default();
        let open = replies.defer();
        answer(&mut replies, b"1", None);
        answer(&mut replies, b"2", Some(5));
        let second = replies.defer();
        answer(&mut replies, b"4", Some(6));
        replies.complete(second, Bytes::from_static(b"3"));
        replies.release(6);
        assert_eq!(replies.unsent(), b"");
        replies.complete(open, Bytes::from_static(b"0"));
        assert_eq!((replies.unsent(), replies.is_empty()), (&b"01234"[..], false));
        let open = replies.defer();
        answer(&mut replies, b"6", Some(7));
        replies.complete(open, Bytes::from_static(b"5"));
        assert_eq!(replies.unsent(), b"012345");
        replies.release(7);
        assert_eq!(replies.unsent(), b"0123456");
    }

    #[test]
    fn lost_replies_are_replaced_one_by_one_and_the_others_stay() {
        let mut replies = Replies::default();
        let retract = &mut |reply: &[u8], out: &mut Vec<u8>| out.extend([b"<", reply, b">"].concat());
        answer(&mut replies, b"a", None);
        replies.retract(retract);
        for (reply, group) in [(b"b", Some(1)), (b"c", None), (b"d", Some(1)), (b"e", Some(1)), (b"f", Some(2))] {
            answer(&mut replies, reply, group);
        }
        answer(&mut replies, b"g", Some(1));
        answer(&mut replies, b"", Some(2));
        let open = replies.defer();
        answer(&mut replies, b"h", None);
        answer(&mut replies, b"ij", Some(3));
        answer(&mut replies, b"k", None);
        replies.retract(retract);
        assert_eq!((replies.unsent(), replies.is_held()), (&b"a<b>c<d><e><f><g>"[..], false));
        replies.complete(open, Bytes::from_static(b"late"));
        assert_eq!((replies.unsent(), replies.waiting()), (&b"a<b>c<d><e><f><g>lateh<ij>k"[..], 0));
    }

    /// In any order of events, the sent replies are those requested, in order, and none is sent before it is durable.
    #[test]
    fn any_order_of_answers_and_groups_gives_the_order_of_requests() {
        const LOST: u8 = 0x80;
        let mut seed = 7u64;
        let mut random = move |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        for _ in 0..500 {
            let (mut replies, mut open) = (Replies::default(), Vec::new());
            let (mut expected, mut needs, mut group, mut durable) = (Vec::new(), Vec::new(), 1, 0);
            for byte in 0..60u8 {
                expected.push(byte);
                match random(4) {
                    0 => {
                        open.push((replies.defer(), byte));
                        needs.push(0);
                    }
                    1 => {
                        answer(&mut replies, &[byte], None);
                        needs.push(0);
                    }
                    _ => {
                        answer(&mut replies, &[byte], Some(group));
                        needs.push(group);
                    }
                }
                group += random(2);
                if random(3) == 0 && !open.is_empty() {
                    let (sequence, byte) = open.swap_remove(usize::try_from(random(open.len() as u64)).expect("small"));
                    replies.complete(sequence, vec![byte].into());
                }
                if random(5) == 0 {
                    durable = durable.max(group.saturating_sub(random(4)));
                    replies.release(durable);
                }
                let sent = replies.unsent();
                assert_eq!(sent, &expected[..sent.len()]);
                assert!(needs[..sent.len()].iter().all(|needed| *needed <= durable));
            }
            let is_lost = random(2) == 0;
            if is_lost {
                replies.retract(&mut |reply, out| out.extend(reply.iter().map(|byte| byte | LOST)));
            } else {
                replies.release(u64::MAX);
            }
            for (sequence, byte) in open {
                replies.complete(sequence, vec![byte].into());
            }
            let sent = replies.unsent();
            assert!(sent.iter().map(|byte| byte & !LOST).eq(expected) && replies.waiting() == 0);
            for (byte, needed) in sent.iter().zip(needs) {
                // If something durable follows something that is not, both results are allowed.
                let may_be = if byte & LOST == 0 { !is_lost || needed <= durable } else { is_lost && needed > 0 };
                assert!(may_be, "{byte} needs {needed}, {durable} is durable");
            }
        }
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
