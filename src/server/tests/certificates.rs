//! Certificates of clients count in client memory.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::linked::wrapping_with;
use super::*;
use crate::testing::{Clock, NOW, TestPki, client_config};
use crate::tls::authority::{Issued, KeyKind, Role, Subject};
use crate::tls::{ServerPolicy, ServerTrust};

/// What a certificate with as many names as [`named`] is given takes at least, for each name.
const NAME_BYTES: usize = 64;

fn named(pki: &TestPki, names: usize) -> Issued {
    let names: Vec<String> = (0..names).map(|number| format!("DNS:{number}.example")).collect();
    let subject = Subject::named("alice", &names).expect("good names");
    pki.authority.issue(Role::Client, &subject, KeyKind::Ed25519, NOW).expect("a leaf")
}

/// From now on, the site requires certificates of the CA.
fn require_certificates<S: Service>(site: &mut Site<S>, pki: &TestPki, clock: &Arc<Clock>) {
    let policy = ServerPolicy::new(pki.mutual(clock)).expect("a policy");
    site.server.context.env.security[0] = Security::tls(Arc::new(policy));
}

/// A client that has completed its handshake, or was closed in it.
fn greet<S: Service>(site: &mut Site<S>, config: &Arc<ClientConfig>) -> (SimSocket, ClientConnection) {
    let mut socket = site.connect();
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(config.clone(), name).expect("a usable configuration");
    while client.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut socket).expect("room");
        }
        site.deliver();
        site.run_until_idle();
        while client.read_tls(&mut socket).is_ok_and(|count| count > 0) {
            client.process_new_packets().expect("a sound server");
        }
    }
    (socket, client)
}

#[test]
fn certificates_of_clients_count_in_their_memory() {
    let limits = Limits { client_memory: 1 << 20, ..Limits::default() };
    let mut site = Site::new(NetFaults::none(), limits.clone());
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    require_certificates(&mut site, &pki, &clock);
    let config = pki.client_config(Some(&named(&pki, 1000)), &clock);

    let crowd: Vec<_> = (0..20).map(|_| greet(&mut site, &config)).collect();
    let (open, counted) = (site.server.connections(), site.server.client_memory());
    assert!(counted >= open * 1000 * NAME_BYTES, "{open} clients are counted as {counted} bytes");
    assert!(counted <= limits.client_memory / 4 * 3, "silent clients leave room: {counted}");
    assert_eq!(site.server.metrics().disconnects(Disconnect::Memory), 20 - u64::try_from(open).expect("few"));
    assert!(open >= 4, "{open} clients fit");

    let modest = greet(&mut site, &pki.client_config(Some(&pki.client), &clock));
    assert_eq!(site.server.connections(), open + 1, "there is room for a usual certificate");
    drop((crowd, modest));
    site.deliver();
    site.run_until_idle();
    assert_eq!((site.server.client_memory(), site.server.connections()), (0, 0));
}

#[test]
fn certificates_of_resumed_sessions_count() {
    let mut site = Site::new(NetFaults::none(), Limits::default());
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    require_certificates(&mut site, &pki, &clock);
    let config = pki.client_config(Some(&named(&pki, 300)), &clock);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let client = greet(&mut site, &config);
        assert_eq!(client.1.handshake_kind(), Some(kind));
        assert!(site.server.client_memory() >= 300 * NAME_BYTES, "{}", site.server.client_memory());
        drop(client);
        site.deliver();
        site.run_until_idle();
        assert_eq!(site.server.client_memory(), 0);
    }
}

#[test]
fn certificates_of_linked_clients_count() {
    let (mut site, mut net, listener) = wrapping_with(None, NetFaults::none());
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    require_certificates(&mut site, &pki, &clock);
    let client = greet(&mut site, &pki.client_config(Some(&named(&pki, 1000)), &clock));
    let backend = net.accept(&listener).expect("the wrapper has dialed");
    site.run_until_idle();
    assert!(site.server.client_memory() >= 1000 * NAME_BYTES, "{}", site.server.client_memory());
    drop((client, backend));
    site.deliver();
    site.run_until_idle();
    assert_eq!(site.server.client_memory(), 0);
}

#[test]
fn certificates_count_before_the_handshake_is_done() {
    let mut site = Site::new(NetFaults::none(), Limits::default());
    let (pki, clock) = (TestPki::new(), Clock::at(NOW));
    require_certificates(&mut site, &pki, &clock);
    let trust = ServerTrust::new(&[pki.ca()], &rustls::crypto::aws_lc_rs::default_provider()).expect("a CA");
    let identity = named(&pki, 1000);
    // In TLS 1.2 the Finished is a record of its own.
    let config = client_config(trust, Some(&identity), &clock, &[&rustls::version::TLS12]);
    let mut socket = site.connect();
    let mut client = ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("usable");
    client.write_tls(&mut socket).expect("room");
    site.deliver();
    site.run_until_idle();
    client.read_tls(&mut socket).expect("a flight");
    client.process_new_packets().expect("a sound server");
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).expect("room");
    }
    socket.write_all(&flight[..flight.len() - 1]).expect("room");
    site.deliver();
    site.run_until_idle();
    let counted = site.server.client_memory();
    assert!(site.server.handshakes().1 == 1 && counted >= identity.certificate.len(), "{counted} bytes");
    drop(socket);
    site.deliver();
    site.run_until_idle();
    assert_eq!(site.server.client_memory(), 0);
}
