//! A server, bad clients of it, and a good one that must not notice them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::common::Server;
use crate::common::tls::{self, Tls, dial};

/// A listener, as protocol and scheme.
pub(crate) type Port = (&'static str, &'static str);

pub(crate) const PLAIN_HTTP: Port = ("xmlrpc", "plain");
pub(crate) const HTTP: Port = ("xmlrpc", "tls");
pub(crate) const PLAIN_RESP: Port = ("resp", "plain");
pub(crate) const RESP: Port = ("resp", "tls");
pub(crate) const ECHO: Port = ("echo", "tls");

/// How the client goes on when it has said its words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It reads until the server has had enough.
    Read,
    /// It sends FIN and reads on.
    Fin,
    /// It waits for the first bytes of the answer, then sends FIN and reads on: the server owes no answer to a client
    /// that has left when its bytes are looked at.
    AnswerThenFin,
    /// It resets the connection.
    Reset,
}

/// One bad client.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) to: Port,
    pub(crate) says: Vec<u8>,
    pub(crate) then: Then,
    /// What it hears must begin so; nothing at all must come where this is empty.
    pub(crate) hears: Vec<u8>,
    pub(crate) reason: &'static str,
}

pub(crate) fn case(
    name: &'static str,
    to: Port,
    says: impl AsRef<[u8]>,
    hears: impl AsRef<[u8]>,
    reason: &'static str,
) -> Case {
    Case { name, to, says: says.as_ref().to_vec(), then: Then::Read, hears: hears.as_ref().to_vec(), reason }
}

impl Case {
    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// A server with each protocol on a TLS and on a plain port, and a well-behaved client of it.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) neighbour: Tls,
    /// What the bad clients must leave in the log.
    expected: Vec<Line>,
}

/// One line of the log.
struct Line {
    /// Whose: the client's address, and the listener's, since a port may be lent again for another destination.
    peer: String,
    listener: String,
    /// As what case.
    name: String,
    /// For what reason.
    reason: &'static str,
}

impl Stage {
    pub(crate) fn set(arguments: &[&str]) -> Self {
        let mut listeners = Vec::new();
        for protocol in ["--echo", "--xmlrpc", "--resp"] {
            listeners.extend([protocol, "127.0.0.1:0", protocol, "plain://127.0.0.1:0"]);
        }
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start_in(dir, &[&listeners, arguments].concat());
        let neighbour = tls::connect(&server, "resp");
        Self { server, neighbour, expected: Vec::new() }
    }

    pub(crate) fn dial(&self, (protocol, scheme): Port) -> TcpStream {
        dial(&self.server.address_at(protocol, scheme))
    }

    /// Plays one client whose bytes go onto the wire as they are.
    pub(crate) fn play(&mut self, case: &Case) {
        let mut socket = self.dial(case.to);
        self.expect(&socket, case);
        // The server may have closed before all is sent.
        let _ = socket.write_all(&case.says);
        self.neighbour_is_served(case.name);
        let heard = match case.then {
            Then::Reset => {
                SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("linger");
                Vec::new()
            }
            Then::Fin => {
                socket.shutdown(Shutdown::Write).expect("FIN");
                hear(&mut socket)
            }
            Then::AnswerThenFin => {
                let mut heard = vec![0; case.hears.len()];
                socket.read_exact(&mut heard).expect(case.name);
                socket.shutdown(Shutdown::Write).expect("FIN");
                heard.extend(hear(&mut socket));
                heard
            }
            Then::Read => hear(&mut socket),
        };
        drop(socket);
        self.check(case, &heard);
    }

    /// Plays one client whose bytes go through the encryption that its port speaks.
    pub(crate) fn play_inside(&mut self, case: &Case) {
        let socket = self.dial(case.to);
        self.expect(&socket, case);
        let heard = if case.to.1 == "tls" {
            let mut tls = tls::wrap(&tls::config(&self.server), socket);
            let _ = tls.write_all(&case.says);
            self.neighbour_is_served(case.name);
            hear(&mut tls)
        } else {
            let mut socket = socket;
            let _ = socket.write_all(&case.says);
            self.neighbour_is_served(case.name);
            hear(&mut socket)
        };
        self.check(case, &heard);
    }

    pub(crate) fn expect(&mut self, socket: &TcpStream, case: &Case) {
        let (peer, listener) = (socket.local_addr().expect("address"), socket.peer_addr().expect("address"));
        self.expected.push(Line {
            peer: format!("peer={peer} "),
            listener: format!("://{listener}\" "),
            name: format!("{} on {:?}", case.name, case.to),
            reason: case.reason,
        });
    }

    pub(crate) fn check(&self, case: &Case, heard: &[u8]) {
        let fits = if case.hears.is_empty() { heard.is_empty() } else { heard.starts_with(&case.hears) };
        let Case { name, to, .. } = case;
        assert!(fits, "{name} on {to:?} was told: {}", heard.escape_ascii());
        // Its end is in the log before the next one comes, which may be given the same port.
        self.server.logged(&self.expected.last().expect("one").peer);
    }

    /// Somebody else asks for something, and gets it.
    pub(crate) fn neighbour_is_served(&mut self, meanwhile: &str) {
        self.neighbour.write_all(b"ping\r\n").unwrap_or_else(|error| panic!("{meanwhile}: {error}"));
        let mut pong = [0; 7];
        self.neighbour.read_exact(&mut pong).unwrap_or_else(|error| panic!("{meanwhile}: {error}"));
        assert_eq!(&pong, b"+PONG\r\n", "{meanwhile}");
    }

    /// What `INFO` says of connections' ends.
    pub(crate) fn counted(&mut self, reason: &str) -> usize {
        self.neighbour.write_all(b"info disconnects\r\n").expect("ask");
        let text = until(&mut self.neighbour, "\r\n\r\n");
        let value = text.lines().find_map(|line| line.strip_prefix(reason)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {reason} in {text}")).parse().expect("a number")
    }

    /// Stops the server and looks for exactly one line about each client, with its reason, counted.
    pub(crate) fn end(mut self) {
        let reasons: std::collections::BTreeSet<_> = self.expected.iter().map(|line| line.reason).collect();
        for reason in reasons {
            let wanted = self.expected.iter().filter(|line| line.reason == reason).count();
            assert_eq!(self.counted(reason), wanted, "{reason}: {:#?}", self.server.seen());
        }
        drop(self.neighbour);
        assert_eq!(self.server.stop(), Some(0));
        let log = self.server.log();
        for expected in &self.expected {
            let Line { peer, listener, name, reason } = expected;
            let lines: Vec<_> = log.iter().filter(|line| line.contains(peer) && line.contains(listener)).collect();
            let clients = self.expected.iter().filter(|other| (&other.peer, &other.listener) == (peer, listener));
            assert_eq!(lines.len(), clients.count(), "{name}: {lines:#?}");
            let reason = format!(" reason=\"{reason}\"");
            assert!(lines.iter().any(|line| line.contains(&reason)), "{name}: {lines:#?}");
        }
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }
}

/// All that comes until the end of the stream, or its loss.
pub(crate) fn hear(stream: &mut impl Read) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

/// Reads until the text ends so.
pub(crate) fn until(stream: &mut impl Read, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("more");
        assert!(count > 0, "cut off: {}", heard.escape_ascii());
        heard.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(heard).expect("text")
}
