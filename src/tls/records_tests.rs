use proptest::prelude::*;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection};

use super::*;
use crate::testing::{Clock, NOW, TestPki};

/// The hello of a rustls client, in records of at most `longest` bytes.
fn hello(longest: Option<usize>) -> Vec<u8> {
    let config = TestPki::new().client_config(None, &Clock::at(NOW));
    let mut config = ClientConfig::clone(&config);
    config.max_fragment_size = longest;
    let mut client = ClientConnection::new(config.into(), "localhost".try_into().expect("a name")).expect("a client");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("into memory");
    }
    bytes
}

/// Whether the hello offers the group, as rustls reads it; `None` if rustls does not accept it as a hello.
fn of_rustls(mut bytes: &[u8]) -> Option<bool> {
    let mut acceptor = Acceptor::default();
    while acceptor.read_tls(&mut bytes).ok()? > 0 {
        if let Some(accepted) = acceptor.accept().ok()? {
            let groups = accepted.client_hello().named_groups()?.contains(&NamedGroup::X25519MLKEM768);
            return Some(groups);
        }
    }
    None
}

#[test]
fn any_split_of_a_hello_gives_the_same_decision() {
    for records in [None, Some(64)] {
        let bytes = hello(records);
        assert!(offers_post_quantum(&bytes));
        let mut hello = Hello::default();
        for count in 0..bytes.len() {
            assert_eq!(hello.look(&bytes[..count], 1 << 16, 1 << 17), Look::NeedMore, "{count}");
        }
        assert_eq!(hello.look(&bytes, 1 << 16, 1 << 17), Look::Start(bytes.len()));
        // Bytes after it are not examined.
        let more = [&bytes[..], &[23, 3, 3, 0, 0]].concat();
        assert_eq!(Hello::default().look(&more, 1 << 16, 1 << 17), Look::Start(bytes.len()));
    }
}

#[test]
fn a_hello_is_refused_by_its_declared_length() {
    let begun = [22, 3, 1, 0x40, 0, 1, 0, 0x20, 1];
    let look = |longest, most| Hello::default().look(&begun, longest, most);
    assert_eq!(look(0x2001, 1 << 16), Look::NeedMore);
    assert_eq!(look(0x2000, 1 << 16), Look::TooLong);
    assert_eq!(look(0x2001, 0x4004), Look::TooLong, "the record is longer than all may be");
    assert_eq!(Hello::default().look(&begun[..8], 0x2000, 1 << 16), Look::NeedMore);
    // The same in records of one byte: each counts with its header.
    let pieces: Vec<u8> = begun[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    assert_eq!(Hello::default().look(&pieces, 0x2000, 1 << 16), Look::TooLong);
    assert_eq!(Hello::default().look(&pieces, 0x2001, 20), Look::TooLong);
    assert_eq!(Hello::default().look(&pieces, 0x2001, 1 << 16), Look::NeedMore);
}

#[test]
fn bytes_that_are_not_a_hello_are_left_to_rustls() {
    let bytes = hello(Some(64));
    let Record::Whole { end: first, .. } = record_at(&bytes, 0) else { panic!("a record") };
    for foreign in [&b"GET"[..], &[21, 3, 3, 0, 2], &[23], &[22, 9], &[22, 3, 3, 0xff, 0xff]] {
        let input = [&bytes[..first], foreign].concat();
        let expected = if foreign == [23] { Look::NeedMore } else { Look::Start(first) };
        assert_eq!(Hello::default().look(&input, 1 << 16, 1 << 17), expected, "{foreign:?}");
    }
    assert_eq!(Hello::default().look(&[22, 3, 3, 0, 1, 2], 1 << 16, 1 << 17), Look::Start(6), "a server's hello");
}

proptest! {
    /// Any hello that rustls accepts is read in the same way here.
    #[test]
    fn groups_are_read_as_rustls_reads_them(
        bytes in Just(hello(None)),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = bytes;
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Some(expected) = of_rustls(&bytes) {
            prop_assert_eq!(offers_post_quantum(&bytes), expected);
        }
    }
}
