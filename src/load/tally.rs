//! Everything that one thread counts in the measured part of a run; the tallies of several threads add up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustls::HandshakeKind;

use super::histogram::{self, microseconds};
use super::outcome::Failures;
use super::recorder::Recorder;
use super::wording::Wordings;

/// The counts of one thread, or of all of them together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Latency, service time, and both second by second.
    pub recorder: Recorder,
    /// Failures by reason.
    pub failures: Failures,
    /// The texts of errors that the server answered with.
    pub wordings: Wordings,
    /// Requests that fell due in an open loop.
    pub due: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered as they should be.
    pub answered: u64,
    /// Good answers that came before the measured part was over, whenever they were due; where a number of requests ends
    /// it, those to them. Answers after the end do not belong to the rate.
    pub in_time: u64,
    /// Values written, those of the warm-up included: they stay on the server.
    pub writes: u64,
    /// Answers that a key has no value: no failure, since it may not have been written yet.
    pub misses: u64,
    /// Bytes written to sockets, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from sockets, TLS included.
    pub bytes_received: u64,
    /// Connections made, those of the warm-up included.
    pub connections: u64,
    /// Those of them that replaced an earlier one of the same virtual client.
    pub reconnections: u64,
    /// Handshakes finished.
    pub handshakes: HandshakeTally,
}

/// Groups and suites agreed in handshakes, and how long their parts took.
#[derive(Clone, Debug)]
pub struct HandshakeTally {
    /// Full ones, without a retry.
    pub full: u64,
    /// Resumed from a ticket or a session identifier.
    pub resumed: u64,
    /// Full ones that took a HelloRetryRequest (RFC 8446, 4.1.4).
    pub retried: u64,
    /// How many agreed on each key exchange group.
    pub groups: BTreeMap<String, u64>,
    /// How many agreed on each cipher suite.
    pub suites: BTreeMap<String, u64>,
    /// From the connect call to the connected socket, in microseconds.
    pub tcp: Histogram<u64>,
    /// From the connected socket to the end of the handshake, in microseconds.
    pub tls: Histogram<u64>,
    /// From the first request (or, without requests, the end of the handshake) to the first byte that answers it.
    pub first_byte: Histogram<u64>,
}

impl Default for HandshakeTally {
    fn default() -> Self {
        Self {
            full: 0,
            resumed: 0,
            retried: 0,
            groups: BTreeMap::new(),
            suites: BTreeMap::new(),
            tcp: histogram::histogram(),
            tls: histogram::histogram(),
            first_byte: histogram::histogram(),
        }
    }
}

impl HandshakeTally {
    /// Counts a handshake by its kind.
    pub fn count(&mut self, kind: HandshakeKind) {
        match kind {
            HandshakeKind::Full => self.full += 1,
            HandshakeKind::Resumed => self.resumed += 1,
            HandshakeKind::FullWithHelloRetryRequest => self.retried += 1,
        }
    }

    /// Counts the group and the suite that one handshake agreed on.
    pub fn agreed(&mut self, group: Option<&str>, suite: Option<&str>) {
        for (counts, name) in [(&mut self.groups, group), (&mut self.suites, suite)] {
            let Some(name) = name else { continue };
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.to_owned(), 1);
                }
            }
        }
    }

    /// Records one phase.
    pub fn record(phase: &mut Histogram<u64>, took: Duration) {
        phase.saturating_record(microseconds(took));
    }

    fn merge(&mut self, other: &Self) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.retried += other.retried;
        for (mine, theirs) in [(&mut self.groups, &other.groups), (&mut self.suites, &other.suites)] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
        let phases =
            [(&mut self.tcp, &other.tcp), (&mut self.tls, &other.tls), (&mut self.first_byte, &other.first_byte)];
        for (mine, theirs) in phases {
            // All have the same bounds: adding cannot fail.
            let _ = mine.add(theirs);
        }
    }
}

impl Tally {
    /// Adds another thread's tally.
    pub fn merge(&mut self, other: &Self) {
        self.recorder.merge(&other.recorder);
        self.failures.merge(&other.failures);
        self.wordings.merge(&other.wordings);
        self.due += other.due;
        self.sent += other.sent;
        self.answered += other.answered;
        self.in_time += other.in_time;
        self.writes += other.writes;
        self.misses += other.misses;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connections += other.connections;
        self.reconnections += other.reconnections;
        self.handshakes.merge(&other.handshakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally { sent: 3, answered: 2, ..Tally::default() };
        let mut two = Tally { sent: 4, due: 5, ..Tally::default() };
        one.handshakes.agreed(Some("X25519"), Some("A"));
        two.handshakes.agreed(Some("X25519"), None);
        two.handshakes.agreed(Some("X25519MLKEM768"), Some("B"));
        HandshakeTally::record(&mut two.handshakes.tls, Duration::from_millis(2));
        one.merge(&two);
        assert_eq!((one.sent, one.answered, one.due), (7, 2, 5));
        let groups: Vec<_> = one.handshakes.groups.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(groups, [("X25519", 2), ("X25519MLKEM768", 1)]);
        assert_eq!((one.handshakes.suites.len(), one.handshakes.tls.max() / 100), (2, 20));
    }
}
