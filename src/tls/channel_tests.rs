//! A channel's rule: what the session has not consumed is retained, whatever is called in between.

use super::*;
use crate::testing;

/// One piece of a peer's bytes, processed whole: the plaintext in it, and whether the handshake finished in it.
fn receive(channel: &mut Channel, bytes: &[u8], output: &mut Outgoing) -> Result<(Vec<u8>, bool), rustls::Error> {
    let (mut input, mut plaintext, mut has_opened) = (Incoming::default(), Vec::new(), false);
    channel.prepare(&mut input);
    input.append(bytes);
    loop {
        match channel.receive(&mut input, output, &mut |piece| plaintext.extend_from_slice(piece)) {
            Progress::Waiting => return Ok((plaintext, has_opened)),
            Progress::Opened => has_opened = true,
            Progress::Failed(error) => return Err(error),
        }
    }
}

/// A server's and a client's channel after a handshake in pieces of `step` bytes.
fn open_channels(step: usize) -> (Channel, Channel) {
    let (server, client) = testing::sessions();
    let (mut server, mut client) = (Channel::new(server), Channel::new(client));
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    receive(&mut client, &[], &mut forth).expect("a hello");
    let (mut opened, mut rounds) = (0, 0);
    while !forth.filled().is_empty() || !back.filled().is_empty() {
        for piece in std::mem::take(&mut forth).filled().chunks(step) {
            opened += usize::from(receive(&mut server, piece, &mut back).expect("in order").1);
        }
        for piece in std::mem::take(&mut back).filled().chunks(step) {
            opened += usize::from(receive(&mut client, piece, &mut forth).expect("in order").1);
        }
        rounds += 1;
        assert!(rounds < 10, "a handshake without end");
    }
    assert_eq!(opened, 2, "each side opens once");
    (server, client)
}

#[test]
fn every_split_of_the_bytes_gives_the_same_plaintext() {
    for step in [1, 5, 100, 1 << 20] {
        let (mut server, mut client) = open_channels(step);
        let mut forth = Outgoing::default();
        client.send(b"first", &mut forth).expect("open");
        client.send(b"second", &mut forth).expect("open");
        client.send_close_notify(&mut forth).expect("open");
        let mut plaintext = Vec::new();
        for piece in forth.filled().chunks(step) {
            plaintext.append(&mut receive(&mut server, piece, &mut Outgoing::default()).expect("in order").0);
        }
        assert_eq!(plaintext, b"firstsecond", "in steps of {step}");
        assert!(server.session().peer_closed() && !server.is_mid_record());
    }
}

#[test]
fn a_part_of_a_record_survives_sending_and_a_call_without_bytes() {
    let (mut server, mut client) = open_channels(1 << 20);
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    client.send(b"in two parts", &mut forth).expect("open");
    let (first, second) = forth.filled().split_at(7);
    assert_eq!(receive(&mut server, first, &mut back).expect("in order").0, b"");
    assert!(server.is_mid_record());
    assert!(server.memory() >= 7);
    server.send(b"meanwhile", &mut back).expect("open");
    assert_eq!(receive(&mut server, &[], &mut back).expect("in order").0, b"");
    assert_eq!(receive(&mut server, second, &mut back).expect("in order").0, b"in two parts");
    assert_eq!((server.is_mid_record(), server.memory()), (false, 0), "what retains nothing owns no buffer");
}

#[test]
fn bytes_behind_the_handshake_are_delivered_by_the_next_call() {
    let (server, client) = testing::sessions();
    let (mut server, mut client) = (Channel::new(server), Channel::new(client));
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    receive(&mut client, &[], &mut forth).expect("a hello");
    receive(&mut server, std::mem::take(&mut forth).filled(), &mut back).expect("in order");
    receive(&mut client, std::mem::take(&mut back).filled(), &mut forth).expect("in order");
    client.send(b"early", &mut forth).expect("open");
    let mut input = Incoming::default();
    input.append(forth.filled());
    let mut plaintext = Vec::new();
    let progress = server.receive(&mut input, &mut back, &mut |piece| plaintext.extend_from_slice(piece));
    assert!(matches!(progress, Progress::Opened) && plaintext.is_empty(), "{progress:?}");
    assert!(!input.unread().is_empty(), "the request");
    let progress = server.receive(&mut input, &mut back, &mut |piece| plaintext.extend_from_slice(piece));
    assert!(matches!(progress, Progress::Waiting), "{progress:?}");
    assert_eq!(plaintext, b"early");
}

#[test]
fn a_failed_channel_retains_nothing_and_sends_nothing() {
    let (mut server, mut client) = open_channels(1 << 20);
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    client.send(b"to be damaged", &mut forth).expect("open");
    let mut damaged = forth.filled().to_vec();
    *damaged.last_mut().expect("a record") ^= 1;
    damaged.extend_from_slice(b"rest");
    receive(&mut server, &damaged, &mut back).expect_err("damaged");
    let alert = back.filled().len();
    assert!(alert > 0 && server.session().has_failed() && !server.is_mid_record());
    assert_eq!(receive(&mut server, forth.filled(), &mut back).expect("discarded"), (Vec::new(), false));
    assert!(server.send(b"more", &mut back).is_err() && server.send_close_notify(&mut back).is_err());
    assert_eq!((back.filled().len(), server.is_mid_record()), (alert, false));
}

#[test]
fn bytes_before_the_first_record_are_retained_unprocessed() {
    let (mut server, mut client) = (Channel::new(Session::plain()), Channel::new(Session::plain()));
    let (mut input, mut output) = (Incoming::with_size(4), Outgoing::default());
    server.prepare(&mut input);
    input.append(b"PROXY T");
    server.retain(&mut input);
    server.prepare(&mut input);
    input.append(b"CP4 ...\r\nrequest");
    assert_eq!(input.unread(), b"PROXY TCP4 ...\r\nrequest");
    input.consume(16);
    let mut plaintext = Vec::new();
    let progress = server.receive(&mut input, &mut output, &mut |piece| plaintext.extend_from_slice(piece));
    assert!(matches!(progress, Progress::Waiting) && plaintext == b"request", "{progress:?}");
    client.send(b"unchanged", &mut output).expect("without TLS");
    assert_eq!(output.filled(), b"unchanged");
}
