//! `keys` where there are many: some keys a turn, so that nobody else waits for it.
//!
//! The reply is deferred, and nothing more of this client is served until it is complete. One walk goes on at a time, and
//! those behind it hold nothing yet, so all of them together hold one reply.

use std::time::Duration;

use super::call_error::CallError;
use super::dispatch::key_value;
use super::{FaultStyle, XmlRpc};
use crate::access::{Access, Class};
use crate::connection::{Deferred, Exchange, PeerId};
use crate::protocol::http::{HttpReply, KeepAlive, LengthField};
use crate::protocol::xmlrpc;
use crate::store::Store;
use crate::timer::Now;

/// Keys that one step looks at, half a millisecond's worth.
pub(super) const KEYS_PER_STEP: usize = 2048;
/// So many bytes of keys are a step too.
const BYTES_PER_STEP: usize = KEYS_PER_STEP * 64;
/// Segments of the table that a step looks into. Most have some hundred keys, but those whose keys have expired may have
/// none that it would meet.
const SEGMENTS_PER_STEP: usize = 16;

/// A walk whose reply is deferred.
#[derive(Debug)]
pub(super) struct PendingKeys {
    peer: PeerId,
    deferred: Deferred,
    access: Access,
    faults: FaultStyle,
    persistence: KeepAlive,
    /// The longest reply that the client may be sent: as long as its request may be.
    longest: usize,
    cursor: u64,
    /// The reply so far, its head included; empty before the first step.
    document: Vec<u8>,
    length: LengthField,
    /// It is done, and may be told when this group is durable.
    awaits: Option<u64>,
}

impl XmlRpc {
    /// Answers `keys` step by step.
    pub(super) fn walk(&mut self, persistence: KeepAlive, exchange: &mut Exchange<'_>) {
        let pending = PendingKeys {
            peer: exchange.peer.id,
            deferred: exchange.defer_alone(),
            access: exchange.peer.access.clone(),
            faults: self.options.faults,
            persistence,
            longest: exchange.env.limits.request_bytes,
            cursor: 0,
            document: Vec::new(),
            length: LengthField::default(),
            awaits: None,
        };
        self.walks.push_back(pending);
    }

    /// Does a step of the walk that came first, for well under a millisecond; returns when it wants to be called again.
    pub fn tick(&mut self, store: &mut Store, now: Now) -> Option<Duration> {
        let first = self.walks.front_mut()?;
        if first.awaits.is_some() {
            // Word from the disk is what it waits for, and wakes the loop.
            return None;
        }
        if first.document.is_empty() {
            first.begin(self.http.date(now));
        }
        match first.step(store, now) {
            Ok(false) => {}
            Ok(true) => {
                // What it has seen may not be on disk yet. The last look was the latest.
                first.awaits = store.take_dependency().filter(|group| !store.is_durable_to(*group));
                if first.awaits.is_some() {
                    return None;
                }
                self.tell_first();
            }
            Err(failure) => self.fail_first(&failure),
        }
        (!self.walks.is_empty()).then_some(Duration::ZERO)
    }

    /// More is durable: perhaps what the first walk waits for.
    pub fn durable(&mut self, store: &Store) {
        let awaits = self.walks.front().and_then(|first| first.awaits);
        if awaits.is_some_and(|group| store.is_durable_to(group)) {
            self.tell_first();
        }
    }

    /// What walks have seen may have been taken back: none of them may tell of it.
    pub fn aborted(&mut self) {
        while !self.walks.is_empty() {
            self.fail_first(&CallError::NotKept);
        }
    }

    /// The client is gone: nobody waits for its walk.
    pub fn close(&mut self, peer: PeerId) {
        if !self.walks.is_empty() {
            self.walks.retain(|pending| pending.peer != peer);
        }
    }

    fn tell_first(&mut self) {
        if let Some(PendingKeys { deferred, document, .. }) = self.walks.pop_front() {
            deferred.complete(document);
        }
    }

    fn fail_first(&mut self, failure: &CallError) {
        let Some(PendingKeys { deferred, faults, persistence, .. }) = self.walks.pop_front() else { return };
        let mut reply = Vec::new();
        fail(failure, faults, persistence, self.http.last_date(), &mut reply);
        deferred.complete(reply);
    }
}

/// Appends the reply to a call that has failed.
pub(super) fn fail(failure: &CallError, faults: FaultStyle, persistence: KeepAlive, date: &[u8], reply: &mut Vec<u8>) {
    let mut body = Vec::new();
    xmlrpc::append_fault(&mut body, &failure.fault(faults));
    HttpReply { content_type: "text/xml", persistence, ..HttpReply::text(&body, Some(date)) }.append(reply);
}

impl PendingKeys {
    fn begin(&mut self, date: &[u8]) {
        let persistence = self.persistence;
        let head = HttpReply { content_type: "text/xml", persistence, ..HttpReply::text(b"", Some(date)) };
        self.length = head.append_head(&mut self.document);
        xmlrpc::begin_array(&mut self.document);
    }

    /// Appends some keys to the reply. Whether those were the last.
    fn step(&mut self, store: &mut Store, now: Now) -> Result<bool, CallError> {
        let Self { access, longest, cursor, document, length, .. } = self;
        let scope = access.scope(Class::Read, "keys");
        let (mut keys, mut bytes) = (0, 0);
        for _ in 0..SEGMENTS_PER_STEP {
            if keys >= KEYS_PER_STEP || bytes >= BYTES_PER_STEP {
                break;
            }
            *cursor = store.scan(*cursor, 1, now, &mut |key, _| {
                keys += 1;
                bytes += key.len();
                if scope.covers(key) {
                    xmlrpc::append_value(document, &key_value(key));
                }
            });
            if *cursor == 0 {
                xmlrpc::end_array(document);
                length.fill(document);
                break;
            }
        }
        if document.len() > *longest { Err(CallError::ReplyTooLarge(*longest)) } else { Ok(*cursor == 0) }
    }
}
