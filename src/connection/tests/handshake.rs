//! Handshakes that are long, broken or split into pieces.

use super::*;

const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;

fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// A ClientHello (RFC 8446, 4.1.2) with a message of `length` bytes, padded with unknown extensions. It offers X25519,
/// with a share, and after it X25519MLKEM768.
fn hello(length: usize) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &sized(content)].concat();
    let share = sized(&[&[0, 29][..], &sized(&[9; 32])].concat());
    let mut extensions = [
        extension(10, &sized(&[0, 29, 0x11, 0xec])),
        extension(13, &sized(&[4, 3, 8, 7])),
        extension(43, &[2, 3, 4]),
        extension(51, &share),
    ]
    .concat();
    let fixed = 4 + 2 + 32 + 1 + 4 + 2 + 2;
    let mut kind = 0x1a1a;
    while fixed + extensions.len() < length {
        let fill = (length - fixed - extensions.len() - 4).min(16_000);
        extensions.extend(extension(kind, &vec![0; fill]));
        kind += 1;
    }
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions)].concat();
    let message = [&[1], &u32::try_from(body.len()).expect("short").to_be_bytes()[1..], &body].concat();
    message.chunks(16_384).flat_map(record).collect()
}

fn record(payload: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &u16::try_from(payload.len()).expect("short").to_be_bytes()[..], payload].concat()
}

/// A server that was sent `bytes` in pieces of `size`.
fn sent(bytes: &[u8], size: usize, handshake_bytes: Option<usize>) -> Pair {
    let mut pair = Pair::new();
    pair.context.env.limits.handshake_bytes = handshake_bytes.unwrap_or(pair.context.env.limits.handshake_bytes);
    for piece in bytes.chunks(size) {
        pair.to_server.bytes.extend_from_slice(piece);
        while !pair.to_server.bytes.is_empty() && pair.connection.phase() == Phase::Handshaking {
            pair.turn();
        }
        pair.turn();
    }
    pair
}

/// The group in a HelloRetryRequest (RFC 8446, 4.1.4): the last extension is its key share.
fn retry(answer: &[u8]) -> Option<[u8; 2]> {
    const KEY_SHARE: [u8; 4] = [0, 51, 0, 2];
    let found = answer.windows(4).position(|window| window == KEY_SHARE)?;
    answer.get(found + 4..found + 6)?.try_into().ok()
}

/// Anyone on the path chooses the pieces, and must not choose the key exchange.
#[test]
fn a_long_hello_gets_the_post_quantum_group_in_any_pieces() {
    for length in [1_000, 20_000, 60_000, 65_500] {
        let bytes = hello(length);
        let whole = sent(&bytes, bytes.len(), None);
        assert_eq!(retry(&whole.to_client.bytes), Some([0x11, 0xec]), "{length}");
        for size in [1_400, 5, 16_384, 40_000] {
            let pieces = sent(&bytes, size, None);
            assert_eq!(pieces.to_client.bytes, whole.to_client.bytes, "{length} bytes in pieces of {size}");
        }
    }
}

#[test]
fn a_hello_that_is_too_long_gets_an_alert_in_any_pieces() {
    for (length, limit) in [(9_000, 8 << 10), (40_000, 32 << 10)] {
        let bytes = hello(length);
        for size in [bytes.len(), 1_400, 5, 1] {
            let pair = sent(&bytes, size, Some(limit));
            let ended = (pair.connection.phase(), pair.connection.reason());
            assert_eq!(ended, (Phase::Lingering, Some(Disconnect::TooLarge)), "{length} in pieces of {size}");
            assert_eq!(pair.to_client.bytes, alert(DECODE_ERROR), "{length} in pieces of {size}");
            assert_eq!(pair.connection.memory(), 0);
        }
    }
    // More than rustls accepts, by the first nine bytes.
    for bytes in [&[22, 3, 1, 0x40, 0, 1, 1, 0, 0][..], &[22, 3, 1, 0x40, 0, 1, 1, 0, 1]] {
        let mut bytes = bytes.to_vec();
        bytes.resize(5 + 0x4000, 0);
        for size in [bytes.len(), 1_400, 1] {
            let pair = sent(&bytes, size, None);
            assert_eq!(pair.connection.reason(), Some(Disconnect::TooLarge), "in pieces of {size}");
            assert_eq!(pair.to_client.bytes, alert(DECODE_ERROR), "in pieces of {size}");
        }
    }
}

/// Records of a byte each carry little and cost much: the records of a message are limited too.
#[test]
fn a_hello_in_tiny_records_is_bounded_and_read_once() {
    let message = &hello(3_000)[5..];
    let tiny: Vec<u8> = message.chunks(1).flat_map(record).collect();
    let refused = sent(&tiny, tiny.len(), Some(8 << 10));
    assert_eq!(refused.connection.reason(), Some(Disconnect::TooLarge));
    let (whole, pieces) = (sent(&tiny, tiny.len(), None), sent(&tiny, 7, None));
    assert_eq!(retry(&whole.to_client.bytes), Some([0x11, 0xec]));
    assert_eq!(pieces.to_client.bytes, whole.to_client.bytes);
}

/// rustls queues no alert for these.
#[test]
fn errors_before_any_key_cause_an_alert() {
    let hello = hello(1_000);
    let interleaved = [&record(&hello[5..400])[..], &[23, 3, 3, 0, 1, 0]].concat();
    let unknown = [&record(&hello[5..400])[..], &[99, 3, 3, 0, 1, 0]].concat();
    let ssl2 = [0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16, 1, 0, 128];
    let no_hello = record(&[20, 0, 0, 1, 0]);
    for (bytes, description) in [
        (&interleaved[..], UNEXPECTED_MESSAGE),
        (&no_hello, UNEXPECTED_MESSAGE),
        (&unknown, DECODE_ERROR),
        (&ssl2, DECODE_ERROR),
    ] {
        for size in [bytes.len(), 1] {
            let pair = sent(bytes, size, None);
            assert_eq!(pair.to_client.bytes, alert(description), "{bytes:?} in pieces of {size}");
            assert_eq!(
                (pair.connection.phase(), pair.connection.reason()),
                (Phase::Lingering, Some(Disconnect::Handshake)),
                "{bytes:?} in pieces of {size}"
            );
        }
    }
}

/// rustls aborts a TLS 1.2 connection with AES-GCM in the middle of a reply when its keys are used up.
#[test]
fn a_connection_with_worn_keys_ends_between_two_requests() {
    use rustls::crypto::aws_lc_rs::cipher_suite as suites;
    const ALL_BUT_RESERVE: u64 = (1 << 24) - (1 << 16);
    for (suite, has_limit) in [
        (suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true),
        (suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true),
        (suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false),
        (suites::TLS13_AES_256_GCM_SHA384, false),
    ] {
        let mut pair = Pair::of(testing::sessions_over(&[suite.version()], &[suite]));
        pair.run_until_idle();
        assert!(pair.connection.is_tls() && pair.connection.phase() == Phase::Open, "{suite:?}");
        pair.connection.channel.wear(ALL_BUT_RESERVE - 100);
        pair.client_sends(b"as ever");
        pair.run_until_idle();
        assert_eq!((pair.connection.reason(), &pair.client.received[..]), (None, &b"as ever"[..]), "{suite:?}");
        pair.connection.channel.wear(100);
        pair.client_sends(b", and the last");
        pair.run_until_idle();
        assert_eq!(pair.client.received, b"as ever, and the last", "{suite:?}");
        assert_eq!(pair.connection.reason(), has_limit.then_some(Disconnect::KeyLimit), "{suite:?}");
        assert_eq!(pair.client.peer_closed(), has_limit, "{suite:?}");
    }
}
