//! One connection of the server and its TLS client, in memory: no sockets, no loop.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{TestClient, now, sessions};
use crate::connection::{Connection, Context, PeerId, PeerInfo, Phase, Service, Transmitted};
use crate::limits::Limits;
use crate::services::Echo;
use crate::tls::Session;

/// The idle timeout of a [`Pair::new`].
pub const IDLE: Duration = Duration::from_mins(5);

/// One direction of a socket: bytes under way, and perhaps FIN after them.
pub struct Pipe {
    /// What is written and not read yet.
    pub bytes: Vec<u8>,
    /// The stream ends after `bytes`.
    pub fin: bool,
    /// How many more bytes can be written before it would block.
    pub room: usize,
}

impl Default for Pipe {
    fn default() -> Self {
        Self { bytes: Vec::new(), fin: false, room: usize::MAX }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.fin {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.bytes.as_slice().read(buffer)?;
        self.bytes.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A served connection, its client, and the state that a loop provides.
pub struct Pair<S: Service = Echo> {
    /// The client's end.
    pub client: TestClient,
    /// The server's end.
    pub connection: Box<Connection<S>>,
    /// From the client.
    pub to_server: Pipe,
    /// From the server.
    pub to_client: Pipe,
    /// The server has asked for its direction of the socket to be shut down.
    pub fin_sent: bool,
    /// What the loop provides.
    pub context: Context<S>,
    idle_timeout: Option<Duration>,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// An echo connection before its handshake.
    pub fn new() -> Self {
        Self::of(sessions())
    }

    /// The same with these sessions of the server and of the client.
    pub fn of(sessions: (Session, Session)) -> Self {
        Self::serving(Echo, Some(IDLE), sessions)
    }

    /// An echo connection after its handshake.
    pub fn open() -> Self {
        let mut pair = Self::new();
        pair.handshake();
        pair
    }
}

impl<S: Service> Pair<S> {
    /// A connection to `service` before its handshake.
    pub fn serving(service: S, idle_timeout: Option<Duration>, (server, client): (Session, Session)) -> Self {
        let (mut context, _) = Context::new(service, Limits::default(), Vec::new(), Arc::new(|| {}), now(0));
        let connection = accept(server, idle_timeout, &mut context);
        let (to_server, to_client) = Default::default();
        let client = TestClient::new(client);
        Self { client, connection, to_server, to_client, fin_sent: false, context, idle_timeout }
    }

    /// Another client connects to the same loop, and takes the place of this one.
    pub fn connect(&mut self, (server, client): (Session, Session)) {
        self.client = TestClient::new(client);
        (self.to_server, self.to_client, self.fin_sent) = Default::default();
        self.accept(server);
    }

    /// The server's half of [`connect`](Self::connect), the end of the connection before included.
    pub fn accept(&mut self, session: Session) {
        self.connection = accept(session, self.idle_timeout, &mut self.context);
    }

    /// Performs the handshake.
    pub fn handshake(&mut self) {
        self.run_until_idle();
        assert_eq!(self.connection.phase(), Phase::Open);
        assert!(!self.client.is_handshaking());
    }

    /// Receives and transmits, with or without an event.
    pub fn work(&mut self) {
        self.connection.receive(&mut self.to_server, &mut self.context);
        let transmitted = self.connection.transmit(&mut self.to_client, &mut self.context);
        self.fin_sent |= transmitted == Transmitted::ShutdownWrite;
    }

    /// One turn of the server for this connection.
    pub fn turn(&mut self) {
        self.connection.note_event(!self.to_server.bytes.is_empty(), self.to_client.room > 0, self.to_server.fin);
        self.work();
    }

    /// The client reads arrived bytes and answers the handshake.
    pub fn client_turn(&mut self) {
        let flight = self.client.receive(&mut self.to_client.bytes);
        self.to_server.bytes.extend(flight);
    }

    /// Both sides work until nothing moves.
    pub fn run_until_idle(&mut self) {
        for _ in 0..10_000 {
            self.client_turn();
            self.turn();
            let moving = !self.to_server.bytes.is_empty() || !self.to_client.bytes.is_empty();
            if !moving && !self.wants_turn() {
                return;
            }
        }
        panic!("the two sides never became idle");
    }

    /// Whether the server must give the connection a turn without an event.
    pub fn wants_turn(&self) -> bool {
        self.connection.wants_turn(&self.context.env.limits)
    }

    /// The client sends `plaintext`.
    pub fn client_sends(&mut self, plaintext: &[u8]) {
        let bytes = self.client.send(plaintext);
        self.to_server.bytes.extend(bytes);
    }

    /// The client sends close_notify.
    pub fn client_closes(&mut self) {
        let bytes = self.client.close();
        self.to_server.bytes.extend(bytes);
    }

    /// Time passes, and deadlines with it.
    pub fn after(&mut self, time: Duration) {
        self.context.env.now.instant += time;
        self.connection.expire(&mut self.context);
    }
}

fn accept<S: Service>(
    session: Session,
    idle_timeout: Option<Duration>,
    context: &mut Context<S>,
) -> Box<Connection<S>> {
    let address = ([127, 0, 0, 1], 1).into();
    let info = PeerInfo::new(PeerId { key: 0, generation: 0 }, 0, address, address);
    Box::new(Connection::new(session, info, idle_timeout, None, context))
}
