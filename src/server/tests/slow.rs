//! Slow readers: bytes held by a peer's socket are not bytes that the peer has taken.

use super::linked::wrapping_with;
use super::*;

/// What a socket accepts on a real machine while its peer reads nothing.
const WINDOW: usize = 3_000_000;

fn site(idle_timeout: Option<Duration>, limits: Limits) -> Site {
    let mut faults = NetFaults::none();
    faults.window = WINDOW;
    Site::behind(ListenerConfig { idle_timeout, ..plain_listener() }, Echo, faults, limits)
}

/// Sends as much as is accepted.
fn fill<S: Service>(site: &mut Site<S>, client: &mut SimSocket) -> usize {
    let mut sent = 0;
    while let Ok(count) = client.write(&vec![7; 100_000]) {
        sent += count;
        site.run_until_idle();
    }
    sent
}

/// Reads `rate` bytes a second, `bytes` in all, or until the stream ends.
fn sip<S: Service>(site: &mut Site<S>, client: &mut SimSocket, rate: usize, bytes: usize) -> usize {
    let mut received = 0;
    while received < bytes {
        site.wait(Duration::from_secs(1));
        match client.read(&mut vec![0; rate.min(bytes - received)]) {
            Ok(0) | Err(_) => break,
            Ok(count) => received += count,
        }
        site.run_until_idle();
    }
    received
}

#[test]
fn a_steady_reader_is_served_whatever_its_socket_holds() {
    let limits = Limits::default();
    let mut site = site(None, limits.clone());
    let mut client = site.connect();
    let sent = fill(&mut site, &mut client);
    assert!(sent > WINDOW, "{sent}");
    // Ten times the least rate, and too slow to free a third of the window in time.
    let rate = 10 * limits.write_rate;
    assert!(limits.write_timeout.as_secs() < (WINDOW / 3 / rate) as u64);
    assert_eq!(sip(&mut site, &mut client, rate, sent), sent);
    assert_eq!(site.server.metrics().disconnects(Disconnect::Stalled), 0);
}

#[test]
fn a_reader_below_the_write_rate_is_closed_in_time() {
    for rate in [0, 1, Limits::default().write_rate / 2] {
        let mut site = site(None, Limits::default());
        let mut client = site.connect();
        fill(&mut site, &mut client);
        for _ in 0..Limits::default().write_timeout.as_secs() {
            assert_eq!(site.server.metrics().disconnects(Disconnect::Stalled), 0);
            site.wait(Duration::from_secs(1));
            let _ = client.read(&mut vec![0; rate]);
        }
        site.wait(Duration::from_secs(1));
        assert_eq!(site.server.metrics().disconnects(Disconnect::Stalled), 1, "{rate} bytes a second");
    }
}

#[test]
fn a_half_closed_reader_is_not_idle_while_it_reads() {
    let limits = Limits { half_close_timeout: Duration::from_secs(20), ..Limits::default() };
    let mut site = site(None, limits);
    let mut client = site.connect();
    let sent = fill(&mut site, &mut client);
    client.shutdown_write().expect("open");
    assert_eq!(sip(&mut site, &mut client, 40_000, sent), sent);
    assert_eq!(client.read(&mut [0]).expect("a proper end"), 0);
    let metrics = site.server.metrics();
    assert_eq!((metrics.disconnects(Disconnect::Idle), metrics.disconnects(Disconnect::Stalled)), (0, 0));
}

#[test]
fn a_client_reading_from_its_socket_buffer_is_not_idle() {
    const IDLE: Duration = Duration::from_secs(10);
    let mut site = site(Some(IDLE), Limits::default());
    let mut client = site.connect();
    client.write_all(&vec![7; 2_000_000]).expect("room");
    site.run_until_idle();
    assert_eq!(site.server.metrics().bytes_sent, 2_000_000, "the socket has it all");
    assert_eq!(sip(&mut site, &mut client, 40_000, 2_000_000), 2_000_000);
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 0);
    // Now it is idle, within as much time again as the wait under way.
    site.wait(2 * IDLE);
    assert_eq!(client.read(&mut [0]).expect("a proper end"), 0);
    drop(client);
    site.wait(IDLE);
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 1);
}

#[test]
fn a_client_reading_nothing_from_its_socket_buffer_is_idle() {
    const IDLE: Duration = Duration::from_secs(10);
    let mut site = site(Some(IDLE), Limits::default());
    let mut client = site.connect();
    client.write_all(&vec![7; 2_000_000]).expect("room");
    site.run_until_idle();
    site.wait(2 * IDLE);
    site.wait(2 * Limits::default().linger_timeout);
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 1);
}

#[test]
fn neither_end_of_a_link_is_idle_while_the_other_reads() {
    const IDLE: Duration = Duration::from_secs(10);
    let mut faults = NetFaults::none();
    faults.window = WINDOW;
    let (mut site, mut net, listener) = wrapping_with(Some(IDLE), faults);
    let mut client = site.connect();
    site.run_until_idle();
    let (mut server, _) = net.accept(&listener).expect("the wrapper has dialed");
    // First to the backend, then to the client: all of it is in sockets.
    for is_upload in [true, false] {
        let (from, to) = if is_upload { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.write_all(&vec![7; 2_000_000]).expect("room");
        site.run_until_idle();
        assert_eq!(sip(&mut site, to, 40_000, 2_000_000), 2_000_000, "is_upload: {is_upload}");
    }
    assert_eq!(site.server.metrics().disconnects(Disconnect::Idle), 0);
}

#[test]
fn data_of_a_lost_backend_is_not_destroyed_while_its_client_reads() {
    let mut faults = NetFaults::none();
    faults.window = WINDOW;
    let (mut site, mut net, listener) = wrapping_with(None, faults);
    let mut client = site.connect();
    site.run_until_idle();
    let (mut server, _) = net.accept(&listener).expect("the wrapper has dialed");
    server.write_all(&vec![7; 2_000_000]).expect("room");
    site.run_until_idle();
    net.reset_when_dropped(&server).expect("open");
    drop(server);
    site.run_until_idle();
    // It takes ten times the linger timeout; then the client gets the reset.
    let rate = 2_000_000 / 10 / usize::try_from(Limits::default().linger_timeout.as_secs()).expect("small");
    assert_eq!(sip(&mut site, &mut client, rate, 2_000_000), 2_000_000);
    site.wait(2 * Limits::default().linger_timeout);
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}
