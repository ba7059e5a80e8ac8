//! A connection against a real TLS client, both in memory.

use std::time::Duration;

use super::*;
use crate::disconnect::Disconnect;
use crate::limits::Limits;
use crate::testing::{self, IDLE, Pair};

mod handshake;

#[test]
fn an_idle_echo_connection_holds_no_buffer() {
    let mut pair = Pair::open();
    pair.client_sends(b"Hello World?");
    pair.run_until_idle();
    assert_eq!(pair.client.received, b"Hello World?");
    assert_eq!(pair.connection.memory(), 0);
    assert_eq!(pair.context.env.metrics.handshakes_full, 1);
}

#[test]
fn every_split_of_the_bytes_gives_the_same_echo() {
    for step in [1, 2, 7, 100] {
        let mut pair = Pair::new();
        let mut sent = false;
        for _ in 0..100_000 {
            pair.client_turn();
            if !sent && !pair.client.is_handshaking() {
                pair.client_sends(b"split");
                sent = true;
            }
            let rest = pair.to_server.bytes.split_off(step.min(pair.to_server.bytes.len()));
            pair.turn();
            pair.to_server.bytes.extend(rest);
            if pair.client.received == b"split" {
                break;
            }
        }
        assert_eq!(pair.client.received, b"split", "in steps of {step}");
    }
}

#[test]
fn a_partial_hello_survives_a_write_and_a_timeout() {
    let mut pair = Pair::new();
    pair.client_turn();
    pair.to_server.bytes.truncate(15);
    pair.turn();
    assert_eq!(pair.connection.phase(), Phase::Handshaking);
    pair.turn();
    pair.after(pair.context.env.limits.handshake_timeout);
    assert_eq!(pair.connection.phase(), Phase::Closed);
    assert_eq!(pair.connection.reason(), Some(Disconnect::HandshakeTimeout));
}

#[test]
fn only_an_answered_hello_awaits_finished() {
    let mut pair = Pair::new();
    pair.client_turn();
    let rest = pair.to_server.bytes.split_off(100);
    pair.turn();
    assert!(!pair.connection.awaits_finished(), "a hello in two pieces must not overtake whole ones");
    pair.to_server.bytes.extend(rest);
    pair.turn();
    assert!(pair.connection.awaits_finished());
    // Invalid bytes after a hello do not make the client one without TLS.
    (pair.to_client.bytes, pair.to_server.bytes) = (Vec::new(), b"PING\r\n".to_vec());
    pair.turn();
    let told = (pair.connection.reason(), pair.to_client.bytes.starts_with(b"-ERR"));
    assert_eq!(told, (Some(Disconnect::Handshake), false));
}

#[test]
fn data_and_fin_in_one_event_are_both_processed() {
    let mut pair = Pair::open();
    pair.client_sends(b"last words");
    pair.client_closes();
    pair.to_server.fin = true;
    // One event announces both. After it the poller reports nothing more; only the connection's own state can drive it.
    pair.turn();
    while pair.wants_turn() {
        pair.work();
    }
    pair.client_turn();
    assert_eq!(pair.client.received, b"last words");
    assert!(pair.client.peer_closed(), "the client got close_notify");
    assert!(!pair.fin_sent, "closing the socket, which comes next, sends it");
    assert_eq!(pair.connection.phase(), Phase::Closed);
    assert_eq!(pair.connection.reason(), Some(Disconnect::PeerClosed));
}

#[test]
fn a_later_event_does_not_clear_an_earlier_one() {
    let mut pair = Pair::open();
    pair.client_sends(b"announced once");
    pair.connection.note_event(true, false, false);
    pair.connection.note_event(false, true, false);
    assert!(pair.wants_turn(), "no other event reports these bytes");
    pair.connection.note_event(false, false, true);
    assert!(pair.wants_turn());
}

#[test]
fn fin_without_close_notify_is_truncation_and_loses_no_reply() {
    let mut pair = Pair::open();
    pair.client_sends(b"unfinished");
    pair.to_server.fin = true;
    pair.run_until_idle();
    pair.client_turn();
    assert_eq!(pair.client.received, b"unfinished");
    assert_eq!(pair.connection.reason(), Some(Disconnect::NoCloseNotify));
}

#[test]
fn half_close_is_honoured_while_the_reply_is_still_being_sent() {
    let mut pair = Pair::open();
    let message = vec![7; 300_000];
    for piece in message.chunks(10_000) {
        pair.client_sends(piece);
    }
    pair.client_closes();
    pair.to_client.room = 0;
    pair.turn();
    for _ in 0..1_000 {
        pair.to_client.room += 1_000;
        pair.turn();
        pair.client_turn();
    }
    assert_eq!(pair.client.received.len(), message.len());
    assert!(pair.client.received == message);
    assert!(pair.client.peer_closed());
}

#[test]
fn input_after_close_notify_is_dropped_not_kept() {
    let mut pair = Pair::open();
    pair.client_closes();
    pair.to_client.room = 0;
    pair.turn();
    for _ in 0..100 {
        pair.to_server.bytes.resize(50_000, 0);
        pair.turn();
        assert!(pair.connection.memory() < 100_000, "{} bytes kept", pair.connection.memory());
    }
}

#[test]
fn an_error_is_latched_and_its_alert_sent() {
    let mut pair = Pair::open();
    pair.client_sends(b"to be damaged");
    let last = pair.to_server.bytes.len() - 1;
    pair.to_server.bytes[last] ^= 1;
    pair.turn();
    assert_eq!(pair.connection.reason(), Some(Disconnect::Tls));
    assert!(pair.fin_sent);
    pair.client_turn();
    assert!(matches!(pair.client.error, Some(rustls::Error::AlertReceived(_))), "{:?}", pair.client.error);
    // Later bytes must not reach the failed session.
    pair.to_server.bytes.extend_from_slice(&[23, 3, 3, 0, 1, 0]);
    pair.turn();
    assert!(pair.to_client.bytes.is_empty());
    pair.after(pair.context.env.limits.linger_timeout);
    assert_eq!(pair.connection.phase(), Phase::Closed);
    assert_eq!(pair.connection.reason(), Some(Disconnect::Tls));
}

#[test]
fn a_broken_record_after_the_handshake_is_not_a_failed_handshake() {
    let mut pair = Pair::new();
    pair.client_turn();
    pair.turn();
    pair.client_turn();
    assert!(!pair.client.is_handshaking());
    pair.client_sends(b"to be damaged");
    let last = pair.to_server.bytes.len() - 1;
    pair.to_server.bytes[last] ^= 1;
    pair.turn();
    assert_eq!(pair.connection.reason(), Some(Disconnect::Tls));
    pair.client_turn();
    assert!(matches!(pair.client.error, Some(rustls::Error::AlertReceived(_))), "{:?}", pair.client.error);
}

#[test]
fn a_client_without_tls_gets_an_error_in_its_protocol() {
    let mut pair = Pair::new();
    pair.to_server.bytes = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    pair.turn();
    assert!(pair.to_client.bytes.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(pair.connection.reason(), Some(Disconnect::NotTls));
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_costs_a_bounded_buffer() {
    let mut pair = Pair::open();
    pair.to_client.room = 0;
    for _ in 0..1_000 {
        pair.client_sends(&[1; 16_000]);
        pair.turn();
        while pair.wants_turn() {
            pair.turn();
        }
    }
    let bound = 3 * pair.context.env.limits.output_bytes;
    assert!(pair.connection.memory() < bound, "{} bytes", pair.connection.memory());
    assert!(!pair.to_server.bytes.is_empty(), "the rest waits in the socket");
    pair.after(pair.context.env.limits.write_timeout);
    assert_eq!(pair.connection.reason(), Some(Disconnect::Stalled));

    let mut pair = Pair::open();
    pair.to_client.room = 0;
    for _ in 0..200 {
        pair.client_sends(&[1; 16_000]);
    }
    pair.turn();
    pair.to_client.room = usize::MAX;
    pair.run_until_idle();
    assert_eq!(pair.client.received.len(), 200 * 16_000, "a client that reads again gets all of it");
}

#[test]
fn idleness_begins_when_the_last_byte_of_a_reply_is_sent() {
    let mut pair = Pair::open();
    pair.to_client.room = 0;
    pair.client_sends(b"taken slowly");
    pair.turn();
    for _ in 0..20 {
        pair.to_client.room += 1;
        pair.turn();
        pair.after(pair.context.env.limits.write_timeout / 30);
        assert_eq!(pair.connection.phase(), Phase::Open);
    }
    pair.to_client.room = usize::MAX;
    pair.run_until_idle();
    assert_eq!(pair.client.received, b"taken slowly");
    pair.after(IDLE / 2);
    assert_eq!(pair.connection.phase(), Phase::Open);
    pair.after(IDLE / 2);
    assert_eq!(pair.connection.reason(), Some(Disconnect::Idle));
}

#[test]
fn a_client_whose_requests_wait_for_the_server_is_not_idle() {
    let mut pair = Pair::open();
    pair.context.env.limits.output_bytes = 4;
    pair.client_sends(b"served bit by bit");
    pair.turn();
    assert!(pair.wants_turn());
    pair.after(IDLE);
    assert_eq!(pair.connection.reason(), None);
    pair.run_until_idle();
    assert_eq!(pair.client.received, b"served bit by bit");
}

#[test]
fn an_incomplete_record_ends_at_the_request_timeout() {
    let mut pair = Pair::open();
    pair.client_sends(b"cut in the middle");
    pair.to_server.bytes.truncate(10);
    pair.turn();
    pair.after(pair.context.env.limits.request_timeout);
    assert_eq!(pair.connection.reason(), Some(Disconnect::RequestTimeout));
}

#[test]
fn a_linked_connection_with_an_incomplete_record_has_its_idle_timeout() {
    let partner = PeerId { key: 1, generation: 0 };
    for link in [Link::Upstream(partner), Link::Client(partner)] {
        let mut pair = Pair::open();
        pair.connection.link(link);
        pair.client_sends(b"cut in the middle");
        let record = std::mem::take(&mut pair.to_server.bytes);
        for byte in &record[..record.len() - 1] {
            pair.to_server.bytes.push(*byte);
            pair.turn();
            pair.after(IDLE.saturating_sub(Duration::from_secs(1)));
            assert_eq!(pair.connection.reason(), None, "a byte has come in time");
        }
        pair.after(Duration::from_secs(1));
        assert_eq!(pair.connection.reason(), Some(Disconnect::Idle));
    }
}

/// A client that has requested half a megabyte and reads `rate` bytes a second, in one piece at the end of every `step`
/// seconds. Returns how long it was served, in seconds, and why it was closed.
fn read_slowly(rate: usize, step: usize) -> (usize, Option<Disconnect>) {
    let mut pair = Pair::open();
    pair.to_client.room = 0;
    for _ in 0..32 {
        pair.client_sends(&[1; 16 << 10]);
        pair.turn();
    }
    for second in 0..3_600 {
        if pair.client.received.len() == 512 << 10 || pair.connection.phase() == Phase::Closed {
            return (second, pair.connection.reason());
        }
        if second % step == step - 1 {
            pair.to_client.room += rate * step;
        }
        pair.turn();
        pair.client_turn();
        pair.after(Duration::from_secs(1));
    }
    panic!("it is served for ever")
}

#[test]
fn slow_readers_are_served_and_readers_below_the_write_rate_are_not() {
    let limits = Limits::default();
    let (seconds, reason) = read_slowly(2 * limits.write_rate, 1);
    assert_eq!(reason, None, "slow, but not too slow");
    assert!(
        seconds > 3 * usize::try_from(limits.write_timeout.as_secs()).expect("small"),
        "the rate is counted afresh"
    );
    for rate in [0, 1, limits.write_rate / 2] {
        let (seconds, reason) = read_slowly(rate, 1);
        assert_eq!(reason, Some(Disconnect::Stalled), "{rate} bytes a second");
        assert!(seconds <= 60, "{seconds} s for {rate} bytes a second");
    }
}

/// A TLS library reads whole records, however steadily its user reads.
#[test]
fn steady_readers_of_whole_records_are_not_stalled() {
    let limits = Limits::default();
    for step in 1..=16 {
        let (_, reason) = read_slowly(limits.write_rate + limits.write_rate / 32, step);
        assert_eq!(reason, None, "every {step} seconds");
    }
    for step in [1, 16] {
        let (seconds, reason) = read_slowly(limits.write_rate / 2, step);
        assert_eq!((seconds <= 120, reason), (true, Some(Disconnect::Stalled)), "every {step} seconds: {seconds} s");
    }
}

#[test]
fn memory_of_a_large_reply_is_freed_while_it_is_sent() {
    let mut pair = Pair::open();
    pair.context.env.limits.output_bytes = 4 << 20;
    pair.to_client.room = 0;
    for _ in 0..256 {
        pair.client_sends(&[1; 16 << 10]);
    }
    pair.turn();
    while pair.wants_turn() {
        pair.turn();
    }
    assert!(pair.connection.memory() > 3 << 20);
    pair.to_client.room = 4_000_000;
    while pair.wants_turn() || pair.to_client.room > 0 && pair.connection.output() > 0 {
        pair.turn();
    }
    let (owed, held) = (pair.connection.output(), pair.connection.memory());
    assert!(owed > 100_000 && held < 4 * owed, "{held} bytes are held for {owed}");
}

#[test]
fn a_client_whose_lost_reply_has_no_replacement_is_closed() {
    let mut pair = Pair::open();
    let replies = &mut pair.connection.framing.output.replies;
    replies.mark();
    replies.tail().extend_from_slice(b"kept");
    replies.hold(1, Vec::new);
    let Pair { connection, context, .. } = &mut pair;
    connection.retract(context);
    assert_eq!((pair.connection.phase(), pair.connection.reason()), (Phase::Closed, Some(Disconnect::Abandoned)));
}

#[test]
fn each_timer_ends_the_connection_with_its_own_reason() {
    let limits = Limits::default();
    let mut connecting = Pair::new();
    connecting.connection.phase = Phase::Connecting;
    connecting.after(limits.connect_timeout);
    assert_eq!(connecting.connection.reason(), Some(Disconnect::ConnectTimeout));
    let mut handshaking = Pair::new();
    handshaking.after(limits.handshake_timeout);
    assert_eq!(handshaking.connection.reason(), Some(Disconnect::HandshakeTimeout));
    // The other end of the link has finished, and the peer says nothing more.
    let mut half_closed = Pair::open();
    half_closed.connection.idle_timeout = None;
    half_closed.connection.link(Link::Upstream(PeerId { key: 1, generation: 0 }));
    let now = half_closed.context.env.now.instant;
    half_closed.connection.finish_output(true, now);
    half_closed.run_until_idle();
    half_closed.after(limits.half_close_timeout);
    assert_eq!(half_closed.connection.reason(), Some(Disconnect::HalfCloseTimeout));
    // Everything is sent, and the peer does not close: the reason of the end stands.
    let mut lingering = Pair::open();
    let now = lingering.context.env.now.instant;
    lingering.connection.end(Disconnect::Killed, now, &mut lingering.context.env.scratch);
    lingering.run_until_idle();
    assert_eq!(lingering.connection.phase(), Phase::Lingering);
    lingering.after(limits.linger_timeout);
    assert_eq!(
        (lingering.connection.phase(), lingering.connection.reason()),
        (Phase::Closed, Some(Disconnect::Killed))
    );
}
