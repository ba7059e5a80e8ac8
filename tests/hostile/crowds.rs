//! Many clients that say nothing, too little, or nonsense; that take nothing, or vanish.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::attack::{Attack, scale};
use crate::common::{Server, fail, latchkey, tls, until};
use crate::honest::{Destination, call};

/// Sends FIN's opposite: the other end hears of a reset.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

/// A small source of noise; its quality is of no interest.
fn noise(seed: &mut u64) -> u8 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    seed.to_be_bytes()[0]
}

#[test]
fn silence_and_one_byte_a_second_hold_up_nobody() {
    let attack = Attack::begin("silence", &["--handshake-timeout", "3s"]);
    let silent: Vec<_> = (0..500).map(|_| Attack::plain(&attack.destination.resp)).collect();
    let mut slow: Vec<_> = (0..200).map(|_| Attack::plain(&attack.destination.xmlrpc)).collect();
    // The beginning of a ClientHello of 512 bytes.
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 1, 2, 3, 4];
    for second in 0..5 * scale() {
        for stream in &mut slow {
            let _ = stream.write_all(&[hello.get(second).copied().unwrap_or(0)]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    attack.server.logged("reason=\"handshake_timeout\"");
    // They were dropped without a word, long ago.
    for mut stream in silent.into_iter().chain(slow) {
        assert!(!matches!(stream.read(&mut [0; 100]), Ok(1..)), "words for a client that said nothing");
    }
    attack.end(0);
}

#[test]
fn garbage_and_resets_in_the_middle_end_with_a_reason() {
    let attack = Attack::begin("garbage", &[]);
    let Destination { resp, xmlrpc, .. } = attack.destination.clone();
    let mut seed = 42;
    for round in 0..100 * scale() {
        for address in [&resp, &xmlrpc, &attack.resp, &attack.xmlrpc] {
            let mut stream = Attack::plain(address);
            let garbage: Vec<u8> = (0..=round * 37 % 3_000).map(|_| noise(&mut seed)).collect();
            let _ = stream.write_all(&garbage);
            if round % 2 == 0 {
                reset(&stream);
            }
        }
    }
    for round in 0..50 * scale() {
        let mut client = attack.destination.resp();
        let record = client.encrypt(b"GET honest\r\n").expect("a record");
        let cut = 1 + round % (record.len() - 1);
        client.stream().write_all(&record[..cut]).expect("send");
        reset(client.stream());
        drop(client);
    }
    attack.server.logged("reason=\"not_tls\"");
    attack.server.logged("reason=\"reset\"");
    attack.end(0);
}

#[test]
fn a_million_large_replies_that_nobody_reads_cost_what_clients_may_hold() {
    const BUDGET: usize = 8 << 20;
    let attack = Attack::begin("unread", &["--max-client-memory", "8m", "--write-timeout", "3s", "--max-output", "1m"]);
    let mut setter = attack.destination.resp();
    let value = "v".repeat(100_000);
    assert_eq!(
        Destination::ask(&mut setter, &format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$100000\r\n{value}"), 5),
        b"+OK\r\n"
    );
    let mut rest: Vec<_> = (0..20).map(|_| (Attack::plain(&attack.resp), 1_000_000 * scale())).collect();
    for (stream, _) in &rest {
        stream.set_nonblocking(true).expect("nonblocking");
    }
    let requests = b"GET big\r\n".repeat(10_000);
    let end = Instant::now() + Duration::from_secs(6);
    let mut closed = 0;
    while Instant::now() < end && !rest.is_empty() {
        rest.retain_mut(|(stream, left)| match stream.write(&requests) {
            Ok(count) => {
                *left = left.saturating_sub(count / 9);
                *left > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => {
                closed += 1;
                false
            }
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(closed > 0, "nobody was closed");
    attack.server.logged("reason=\"memory\"");
    attack.server.logged("reason=\"stalled\"");
    drop((rest, setter));
    attack.end(BUDGET);
}

/// The keys are short, so what is kept beside their bytes is most of what they cost.
#[test]
fn watched_keys_cost_what_clients_may_hold() {
    const BUDGET: usize = 48 << 20;
    let attack = Attack::begin("watchers", &["--max-client-memory", "48m"]);
    let mut watchers: Vec<_> = (0..120).map(|_| Attack::plain(&attack.resp)).collect();
    for (number, watcher) in watchers.iter_mut().enumerate() {
        let keys = (number * 16_000..(number + 1) * 16_000).map(|key| format!(" {key:x}"));
        let watch: Vec<String> = keys.collect::<Vec<_>>().chunks(8_000).map(<[String]>::concat).collect();
        // A client that is closed has been charged for too much, which is what this test looks for.
        for keys in watch {
            let _ = writeln!(watcher, "WATCH{keys}\r");
            let _ = watcher.read(&mut [0; 64]);
        }
    }
    attack.server.logged("reason=\"memory\"");
    drop(watchers);
    attack.end(BUDGET);
}

#[test]
fn heads_and_bodies_that_trickle_are_cut_off_each_in_its_time() {
    let attack = Attack::begin("loris", &["--header-timeout", "2s", "--request-timeout", "4s"]);
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut heads: Vec<_> = (0..100).map(|_| Attack::plain(&attack.xmlrpc)).collect();
    let mut bodies: Vec<_> = (0..100).map(|_| attack.destination.connect(&attack.destination.xmlrpc)).collect();
    for client in &mut bodies {
        client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").expect("send");
    }
    for stream in &mut heads {
        stream.write_all(head).expect("send");
    }
    for _ in 0..10 {
        for stream in &mut heads {
            let _ = stream.write_all(b"x");
        }
        for client in &mut bodies {
            let _ = client.write_all(b"<");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    attack.server.logged("reason=\"header_timeout\"");
    attack.server.logged("reason=\"request_timeout\"");
    drop((heads, bodies));
    attack.end(0);
}

#[test]
fn connections_whose_other_end_is_gone_do_not_stay() {
    let attack = Attack::begin("half-open", &["--idle-timeout", "2s", "--half-close-timeout", "2s"]);
    // Nothing more is ever heard of these: as if their machines had lost their power.
    let mut gone: Vec<_> = (0..100).map(|_| attack.destination.connect(&attack.destination.xmlrpc)).collect();
    for client in &mut gone {
        call(client, "has_key", "honest");
    }
    // These have finished, but not closed.
    let finished: Vec<_> = (0..100).map(|_| Attack::plain(&attack.resp)).collect();
    for stream in &finished {
        stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    }
    attack.server.logged("reason=\"idle\"");
    for mut stream in finished {
        assert_eq!(stream.read(&mut [0; 10]).expect("a proper end"), 0);
    }
    for mut client in gone {
        // Before it hangs up, the server says good-bye.
        assert_eq!(client.read(&mut [0; 10]).expect("a proper end"), 0);
    }
    attack.end(0);
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let attack = Attack::without_newcomers("one address", &["--max-connections-per-address", "10"]);
    // All come from one address, the honest client too: it has its place, and keeps it.
    let mut told = 0;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = Attack::plain(&attack.xmlrpc);
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let mut words = String::new();
        let _ = stream.read_to_string(&mut words);
        told += usize::from(words.starts_with("HTTP/1.1 503 ") && words.contains("Your address"));
        held.push(stream);
    }
    assert!(told >= 10, "{told} were told");
    let mut over = Attack::plain(&attack.resp);
    let mut words = String::new();
    over.read_to_string(&mut words).expect("words");
    assert_eq!(words, "-ERR max number of clients reached for this address\r\n");
    drop((held, over));
    let line = attack.server.logged("reason=\"address_limit\"");
    assert!(line.contains("too many connections from this address"), "{line}");
    attack.end(0);
}

#[test]
fn one_address_begins_no_more_handshakes_than_its_share() {
    const SHARE: usize = 5;
    let arguments = ["--max-handshakes-per-address", "5", "--handshake-timeout", "10m"];
    let attack = Attack::without_newcomers("handshakes", &arguments);
    // Where there are no handshakes, that is no limit.
    let mut plain = Attack::plain(&attack.resp);
    let mut says = |ask: &[u8]| {
        plain.write_all(ask).expect("send");
        let mut reply = [0; 100];
        let count = plain.read(&mut reply).expect("an answer");
        String::from_utf8_lossy(&reply[..count]).into_owned()
    };
    // The honest client's handshakes count until the server has seen their ends: in its second round it has seen both.
    until(|| !matches!(&*says(b"GET honest\r\n"), "$-1\r\n" | "$8\r\n00000000\r\n"));
    let mut held: Vec<_> = (0..SHARE).map(|_| Attack::plain(&attack.destination.resp)).collect();
    for stream in &mut held {
        stream.write_all(&[22, 3, 1]).expect("send");
    }
    for _ in 0..SHARE {
        // At the same listener, which takes them in the order in which they came.
        let mut over = Attack::plain(&attack.destination.resp);
        assert!(!matches!(over.read(&mut [0; 10]), Ok(1..)), "words for a handshake too many");
    }
    let line = attack.server.logged("reason=\"address_limit\"");
    assert!(line.contains("too many handshakes under way with this address"), "{line}");
    assert_eq!(says(b"PING\r\n"), "+PONG\r\n");
    for stream in &held {
        stream.set_nonblocking(true).expect("nonblocking");
        let kind = (&mut &*stream).read(&mut [0; 10]).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::WouldBlock), "it has its share, and keeps it");
    }
    drop(held);
    let config = tls::config(&attack.server);
    until(|| {
        let mut newcomer = tls::wrap(&config, tls::dial(&attack.destination.resp));
        newcomer.write_all(b"PING\r\n").and_then(|()| newcomer.read_exact(&mut [0; 7])).is_ok()
    });
    drop(plain);
    attack.end(0);
}

#[test]
fn too_many_clients_are_told_so_over_every_protocol() {
    let dir = tempfile::tempdir().expect("a folder");
    let any = "127.0.0.1:0";
    let arguments = ["--max-connections", "2", "--echo", any, "--resp", any, "--xmlrpc", any];
    let server = Server::start_in(dir, &arguments);
    let destination = |protocol: &str| Destination {
        resp: server.address(protocol),
        xmlrpc: String::new(),
        ca: server.certificate("ca.pem"),
        renews: true,
    };
    let held = [destination("echo").resp(), destination("echo").resp()];
    for (protocol, words) in [
        ("echo", "connection refused: refused\n"),
        ("resp", "-ERR max number of clients reached\r\n"),
        ("xmlrpc", "HTTP/1.1 503 Service Unavailable\r\n"),
    ] {
        let mut answer = String::new();
        destination(protocol).resp().read_to_string(&mut answer).expect("words, and then a good-bye");
        assert!(answer.starts_with(words), "{protocol}: {answer}");
    }
    drop(held);
    until(|| Destination::ask(&mut destination("resp").resp(), "PING", 7) == b"+PONG\r\n");
}

#[test]
fn a_wrapped_server_is_guarded_too() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = upstream.local_addr().expect("an address").to_string();
    // It greets, and hangs up when its client does.
    let greeter = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = upstream.accept().expect("a client");
            stream.write_all(b"hello").expect("send");
            stream.read_to_end(&mut Vec::new()).expect("a proper end");
        }
    });
    let mut command = latchkey();
    command.args(["wrap", "--listen", "127.0.0.1:0", "--to", &to, "--max-connections-per-address", "1"]);
    let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 1);
    let resp = server.address("wrap");
    let destination = Destination { xmlrpc: resp.clone(), resp, ca: server.certificate("ca.pem"), renews: true };
    let mut first = destination.resp();
    first.read_exact(&mut [0; 5]).expect("the greeting");
    // What the server speaks is not known here: a handshake and a good-bye are all that can be said.
    assert_eq!(destination.resp().read(&mut [0; 5]).expect("a proper end"), 0);
    server.logged("reason=\"address_limit\"");
    drop(first);
    until(|| destination.resp().read(&mut [0; 5]).expect("a proper end or a greeting") == 5);
    greeter.join().expect("it greets");
}

#[test]
fn costly_commands_in_a_row_hold_up_nobody() {
    let attack = Attack::begin("costly", &[]);
    let mut setter = Attack::plain(&attack.resp);
    for first in (0..60_000).step_by(1_000) {
        let sets: String =
            (first..first + 1_000).map(|key| format!("SET key:{key} v\r\n")).collect::<Vec<_>>().concat();
        setter.write_all(sets.as_bytes()).expect("send");
        setter.read_exact(&mut vec![0; 5 * 1_000]).expect("answers");
    }
    let mut costly: Vec<_> = (0..3).map(|_| Attack::plain(&attack.resp)).collect();
    let count = 10 * scale();
    // A neighbour who asks for sixteen turns' worth of small things, and leaves a mark when they are done. Each `KEYS`
    // takes fifteen turns, and the scans wait for each other, so a client that looks behind them must find the mark.
    let pings = 2_000;
    setter.write_all(format!("{}SET mark left\r\n", "PING\r\n".repeat(pings)).as_bytes()).expect("send");
    let asked = format!("{}GET mark\r\n", "KEYS *nothing*is*like*this\r\n".repeat(count));
    for stream in &mut costly {
        stream.write_all(asked.as_bytes()).expect("send");
    }
    let wanted = [b"*0\r\n".repeat(count), b"$4\r\nleft\r\n".to_vec()].concat();
    for stream in &mut costly {
        let mut answers = vec![0; wanted.len()];
        stream.read_exact(&mut answers).expect("answers");
        assert_eq!(String::from_utf8_lossy(&answers), String::from_utf8_lossy(&wanted));
    }
    setter.read_exact(&mut vec![0; 7 * pings + 5]).expect("answers");
    drop((setter, costly));
    attack.end(8 << 20);
}

#[test]
fn a_request_sent_by_half_fails_no_write_and_evicts_no_key() {
    for policy in ["noeviction", "allkeys"] {
        let dir = tempfile::tempdir().expect("a folder");
        let limits = ["--max-memory", "32m", "--max-memory-policy", policy];
        let server = Server::start_in(dir, &[&["--resp", "plain://127.0.0.1:0"], &limits[..]].concat());
        let address = server.address("resp");
        let mut asks = Attack::plain(&address);
        let mut ask = |request: &[u8]| {
            asks.write_all(request).expect("send");
            let mut reply = [0; 100];
            let count = asks.read(&mut reply).expect("an answer");
            String::from_utf8_lossy(&reply[..count]).into_owned()
        };
        // As much as the keys may take, and a little less.
        let value = "v".repeat(1_000_000);
        for key in 0..26 {
            let request = format!("*3\r\n$3\r\nSET\r\n$2\r\n{key:02}\r\n${}\r\n{value}\r\n", value.len());
            assert_eq!(ask(request.as_bytes()), "+OK\r\n", "{policy}: {key}");
        }
        let mut refused = Attack::plain(&address);
        refused.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$20000000\r\n").expect("send");
        let mut words = [0; 100];
        let count = refused.read(&mut words).expect("an answer");
        assert!(words[..count].starts_with(b"-ERR Protocol error"), "it is more than half of what clients may hold");
        // Half of each request, five times what all clients may hold.
        let mut greedy: Vec<_> = (0..13).map(|_| Attack::plain(&address)).collect();
        for stream in &mut greedy {
            let half = [&b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000\r\n"[..], &b"z".repeat(1_600_000)].concat();
            // Those that hold most are closed on the way.
            let _ = stream.write_all(&half);
            assert_eq!(ask(b"*3\r\n$3\r\nSET\r\n$5\r\nsmall\r\n$1\r\nv\r\n"), "+OK\r\n", "{policy}");
        }
        assert_eq!(ask(b"DBSIZE\r\n"), ":27\r\n", "{policy}");
        server.logged("reason=\"memory\"");
    }
}

#[test]
fn limits_that_would_serve_nobody_refuse_to_start() {
    let dir = tempfile::tempdir().expect("a folder");
    for (flag, value) in [
        ("--max-client-memory", "100k"),
        ("--max-request", "8000000000g"),
        ("--max-handshake", "1k"),
        ("--max-output-hard", "1k"),
        ("--max-connections-per-address", "0"),
        ("--max-handshakes-per-address", "many"),
        ("--tcp-keepalive", "10ms"),
        ("--header-timeout", "0s"),
    ] {
        let error = fail(latchkey().args(["serve", "--echo", "127.0.0.1:0", flag, value]).current_dir(dir.path()), 2);
        assert!(error.contains(flag), "{flag} {value}: {error}");
    }
}
