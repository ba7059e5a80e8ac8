//! `keys` of a large store. The reply is deferred, no further request of this client is served until it is complete,
//! and the scan waits in the [store's queue](Store::queue_scan), which advances by one bounded step each turn.

use super::call_error::CallError;
use super::dispatch::{KEYS_PER_STEP, key_value};
use super::{FaultStyle, XmlRpc};
use crate::access::{Access, Class};
use crate::connection::{Deferred, Exchange};
use crate::protocol::http::{DateCache, HttpReply, KeepAlive, LengthField};
use crate::protocol::xmlrpc;
use crate::store::{KeyScan, ScanBounds, ScanError, Store};
use crate::timer::Now;

/// A call of `keys` whose reply is deferred.
struct DeferredKeys {
    deferred: Deferred,
    access: Access,
    faults: FaultStyle,
    persistence: KeepAlive,
    date: DateCache,
    /// The longest reply, in bytes: the same limit as for the client's requests.
    longest: usize,
    cursor: u64,
    /// The reply so far, its head included; empty before the first step.
    document: Vec<u8>,
    length: LengthField,
}

impl XmlRpc {
    /// Answers `keys` in steps.
    pub(super) fn queue_keys(&self, persistence: KeepAlive, store: &mut Store, exchange: &mut Exchange<'_>) {
        let mut date = DateCache::default();
        date.text(exchange.env.now.unix_seconds());
        let keys = DeferredKeys {
            deferred: exchange.defer_alone(),
            access: exchange.peer.access.clone(),
            faults: self.options.faults,
            persistence,
            date,
            longest: exchange.env.limits.request_bytes,
            cursor: 0,
            document: Vec::new(),
            length: LengthField::default(),
        };
        store.queue_scan(exchange.peer.id.token(), Box::new(keys));
    }
}

/// Appends the reply for a failed call.
pub(super) fn fail(failure: &CallError, faults: FaultStyle, persistence: KeepAlive, date: &[u8], reply: &mut Vec<u8>) {
    let mut body = Vec::new();
    xmlrpc::append_fault(&mut body, &failure.fault(faults));
    HttpReply { content_type: "text/xml", persistence, ..HttpReply::text(&body, Some(date)) }.append(reply);
}

impl KeyScan for DeferredKeys {
    fn step(&mut self, store: &mut Store, now: Now) -> Result<bool, ScanError> {
        if self.document.is_empty() {
            self.begin(now);
        }
        let Self { access, longest, cursor, document, length, .. } = self;
        let scope = access.scope(Class::Read, "keys");
        let is_complete = store.scan_step(cursor, ScanBounds::keys(KEYS_PER_STEP), now, &mut |key, _| {
            if scope.covers(key) {
                xmlrpc::append_value(document, &key_value(key));
            }
        });
        if is_complete {
            xmlrpc::end_array(document);
            length.fill(document);
        }
        if document.len() > *longest { Err(ScanError::TooLong) } else { Ok(is_complete) }
    }

    fn finish(self: Box<Self>, outcome: Result<(), ScanError>) {
        let Self { deferred, faults, persistence, date, longest, mut document, .. } = *self;
        let failure = match outcome {
            Ok(()) => return deferred.complete(document),
            Err(ScanError::TooLong) => CallError::ReplyTooLarge(longest),
            Err(ScanError::Lost) => CallError::NotKept,
        };
        document = Vec::new();
        fail(&failure, faults, persistence, date.last(), &mut document);
        deferred.complete(document);
    }
}

impl DeferredKeys {
    fn begin(&mut self, now: Now) {
        let (date, persistence) = (self.date.text(now.unix_seconds()), self.persistence);
        let head = HttpReply { content_type: "text/xml", persistence, ..HttpReply::text(b"", Some(date)) };
        self.length = head.append_head(&mut self.document);
        xmlrpc::begin_array(&mut self.document);
    }
}
