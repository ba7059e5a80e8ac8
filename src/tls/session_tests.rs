//! The rules of rustls's unbuffered API, tested on a session alone.

use super::*;
use crate::testing;

/// A server's and a client's session after their handshake.
fn open_sessions() -> (Session, Session) {
    let (server, client, _) = with_tickets_on_the_way();
    (server, client)
}

/// The same, and the bytes that the client has not read yet: its tickets.
fn with_tickets_on_the_way() -> (Session, Session, Outgoing) {
    let (mut server, mut client) = testing::sessions();
    let tickets = handshake(&mut server, &mut client);
    (server, client, tickets)
}

/// Performs the handshake of two sessions. Returns the bytes that the client has not read.
fn handshake(server: &mut Session, client: &mut Session) -> Outgoing {
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    while server.is_handshaking() || client.is_handshaking() {
        let mut input = std::mem::take(&mut back).filled().to_vec();
        let _ = client.receive(&mut input, &mut forth, &mut |_| {});
        let mut input = std::mem::take(&mut forth).filled().to_vec();
        let _ = server.receive(&mut input, &mut back, &mut |_| {});
    }
    back
}

#[test]
fn a_session_with_a_partial_hello_refuses_to_write_without_panic() {
    let (mut server, mut client) = testing::sessions();
    let (mut hello, mut output) = (Outgoing::default(), Outgoing::default());
    let _ = client.receive(&mut [], &mut hello, &mut |_| {});
    let mut partial = hello.filled()[..15].to_vec();
    let received = server.receive(&mut partial, &mut output, &mut |_| {});
    let mut retained = partial.split_off(received.consumed);
    assert!(server.send(b"too early", &mut retained, &mut output).is_err());
    assert_eq!(output.filled(), b"");
}

/// rustls keeps offsets of a message's pieces in the retained bytes, and uses them in every call.
#[test]
fn a_session_with_a_part_of_a_message_refuses_to_write_without_panic() {
    let (mut server, mut client) = testing::sessions_in_small_records();
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    let _ = client.receive(&mut [], &mut forth, &mut |_| {});
    let mut hello = std::mem::take(&mut forth).filled().to_vec();
    let _ = server.receive(&mut hello, &mut back, &mut |_| {});
    let mut flight = back.filled().to_vec();
    let _ = client.receive(&mut flight, &mut forth, &mut |_| {});
    let mut part = forth.filled()[..forth.filled().len() / 2].to_vec();
    let received = server.receive(&mut part, &mut back, &mut |_| {});
    let mut retained = part.split_off(received.consumed);
    assert!(server.is_handshaking() && retained.len() > 64, "{}", retained.len());
    assert!(server.send(b"too early", &mut retained, &mut back).is_err());
}

/// The same after the handshake, when writing is allowed: the rest of a ticket, which is such a message, must find its
/// beginning.
#[test]
fn a_session_writes_between_the_pieces_of_a_ticket() {
    const RECORD: usize = 64;
    let (server, mut client) = testing::sessions();
    let Kind::Hello(policy, _) = &server.kind else { panic!("it has not begun") };
    let mut config = rustls::ServerConfig::clone(&policy.begin().config);
    config.max_fragment_size = Some(RECORD);
    let connection = UnbufferedServerConnection::new(Arc::new(config)).expect("a usable configuration");
    let mut server = Session::new(Kind::Server(connection), true);
    let tickets = handshake(&mut server, &mut client);

    let (first, rest) = tickets.filled().split_at(3 * RECORD);
    let (mut first, mut forth, mut heard) = (first.to_vec(), Outgoing::default(), Vec::new());
    let received = client.receive(&mut first, &mut forth, &mut |_| {});
    assert_eq!((received.error.is_none(), client.tickets_received()), (true, 0));
    let mut retained = first.split_off(received.consumed);
    assert!(!retained.is_empty(), "the beginning of a ticket");
    for word in [&b"in "[..], b"between"] {
        client.send(word, &mut retained, &mut forth).expect("it is open");
    }
    retained.extend_from_slice(rest);
    let received = client.receive(&mut retained, &mut forth, &mut |_| {});
    assert!(received.error.is_none() && client.tickets_received() > 0, "{received:?}");
    let mut input = forth.filled().to_vec();
    let received = server.receive(&mut input, &mut Outgoing::default(), &mut |bytes| heard.extend_from_slice(bytes));
    assert!(received.error.is_none() && heard == b"in between", "{received:?}");
}

#[test]
fn a_failed_session_is_never_used_again() {
    let (mut server, mut client) = open_sessions();
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    client.send(b"to be damaged", &mut [], &mut forth).expect("send");
    let mut damaged = forth.filled().to_vec();
    *damaged.last_mut().expect("a record") ^= 1;
    assert!(server.receive(&mut damaged, &mut back, &mut |_| {}).error.is_some());
    let alert = back.filled().len();
    assert!(alert > 0);

    // rustls would accept the intact version of the damaged record as if nothing had happened.
    let mut heard = 0;
    let mut good = forth.filled().to_vec();
    let received = server.receive(&mut good, &mut back, &mut |bytes| heard += bytes.len());
    assert_eq!((received.consumed, received.error.is_some(), heard), (good.len(), false, 0));
    assert!(server.send(b"more", &mut [], &mut back).is_err());
    assert!(server.send_close_notify(&mut [], &mut back).is_err());
    assert_eq!(back.filled().len(), alert, "nothing may follow the alert");
}

#[test]
fn a_session_takes_tickets_that_come_after_its_own_close_notify() {
    let (_server, mut client, back) = with_tickets_on_the_way();
    let mut forth = Outgoing::default();
    client.send_close_notify(&mut [], &mut forth).expect("close_notify");
    assert_eq!(client.tickets_received(), 0);
    let received = client.receive(&mut back.filled().to_vec(), &mut forth, &mut |_| {});
    assert!(received.error.is_none() && client.tickets_received() > 0);
}

#[test]
fn a_session_drops_all_input_behind_close_notify() {
    let (mut server, mut client) = open_sessions();
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    client.send_close_notify(&mut [], &mut forth).expect("close_notify");
    forth.append(&[23, 3, 3, 0, 200, 1, 2, 3]);
    let mut input = forth.filled().to_vec();
    let received = server.receive(&mut input, &mut back, &mut |_| {});
    assert_eq!(received.consumed, input.len(), "a record that never ends must not be kept");
    assert!(server.peer_closed());
    assert_eq!(server.receive(&mut [0; 99], &mut back, &mut |_| {}).consumed, 99);
    server.send(b"still writing", &mut [], &mut back).expect("half-close leaves our direction open");
}

/// When rustls is asked for output after an error, it uses its offsets into the retained bytes, which it is not given,
/// and panics if it has no output but a part of a message. So it is called only while it wants to write.
#[test]
fn a_session_is_not_asked_for_output_after_an_error_that_left_none() {
    let (mut server, mut client) = testing::sessions();
    let (mut forth, mut back) = (Outgoing::default(), Outgoing::default());
    let _ = client.receive(&mut [], &mut forth, &mut |_| {});
    let mut part = vec![22, 3, 1, 0, 100];
    part.extend_from_slice(&forth.filled()[5..105]);
    // Application data in the middle of a message: an error without an alert in rustls.
    part.extend_from_slice(&[23, 3, 3, 0, 1, 0]);
    let received = server.receive(&mut part, &mut back, &mut |_| {});
    assert!(matches!(received.error, Some(rustls::Error::PeerMisbehaved(_))), "{received:?}");
    assert_eq!(back.filled(), [21, 3, 3, 0, 2, 2, 10]);
}
