//! `latchkey connect`: stdin and stdout over verified TLS.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::address::host_and_port;
use super::client_tls::{self, ClientTlsArgs};
use super::terminal::{self, Results};
use crate::client::{Client, ClientError};
use crate::net::mio::{MioNet, MioSocket};
use crate::net::{Net, TimedStream, Wake};
use crate::tls::suite_name;

/// Connect stdin and stdout to a server over verified TLS
///
/// Input is sent, replies are printed. At the end of stdin close_notify is sent, and what the server still sends is
/// printed.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The server, HOST:PORT
    #[arg(value_parser = host_and_port)]
    server: (String, u16),
    #[command(flatten)]
    tls: ClientTlsArgs,
}

/// Runs until the server closes.
pub(super) fn run(args: &ConnectArgs) -> Result<ExitCode, Failure> {
    let (host, port) = &args.server;
    let client = client_tls::connect(host, *port, &args.tls, &[])?;
    if let Some(agreed) = client.session().agreement() {
        let group = agreed.group.map_or_else(|| "no key exchange".into(), |group| format!("{group:?}"));
        let suite = suite_name(agreed.suite);
        terminal::tell(format_args!(
            "connected to {host}:{port}: {:?}, {suite}, {group}; end with Ctrl-D",
            agreed.version
        ));
    }
    Relay::new(client)?.run()?;
    Ok(ExitCode::SUCCESS)
}

/// Both directions at once: if one waited for the other, two full buffers would block each other for ever.
struct Relay {
    client: Client<TimedStream>,
    socket: MioSocket,
    net: MioNet,
    typed: mpsc::Receiver<io::Result<Vec<u8>>>,
    readable: bool,
    writable: bool,
    /// Encrypted bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
}

impl Relay {
    fn new(client: Client<TimedStream>) -> Result<Self, Failure> {
        let mut net = MioNet::new()?;
        let socket = client.stream().socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let mut socket = MioSocket::Tcp(mio::net::TcpStream::from_std(socket));
        net.register(&mut socket, 0)?;
        let typed = read_stdin(net.waker());
        Ok(Self { client, socket, net, typed, readable: true, writable: true, unsent: Vec::new() })
    }

    fn run(&mut self) -> Result<(), Failure> {
        // The server's first data may have arrived together with the end of the handshake.
        if self.print()? == Input::Closed || self.client.session().peer_closed() {
            return Ok(());
        }
        let mut events = Vec::new();
        loop {
            self.transmit()?;
            if self.readable && self.receive()? == Input::Closed {
                return Ok(());
            }
            let busy = self.readable || self.writable && !self.unsent.is_empty();
            self.net.poll(&mut events, busy.then_some(Duration::ZERO))?;
            for event in events.drain(..) {
                self.readable |= event.readable || event.read_closed;
                self.writable |= event.writable;
            }
        }
    }

    /// Sends stdin; the next piece is read only when the last one has been written.
    fn transmit(&mut self) -> Result<(), Failure> {
        while self.writable {
            if self.unsent.is_empty() {
                match self.typed.try_recv() {
                    Ok(piece) => self.encrypt(&piece?)?,
                    Err(_) => return Ok(()),
                }
            }
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(())
    }

    /// Encrypts a piece of stdin; an empty one is the end of stdin.
    fn encrypt(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let bytes = match piece {
            [] => self.client.encrypt_close_notify()?,
            piece => self.client.encrypt(piece)?,
        };
        self.unsent.extend_from_slice(&bytes);
        Ok(())
    }

    fn receive(&mut self) -> Result<Input, Failure> {
        let mut bytes = vec![0; 64 << 10];
        let count = match self.socket.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(Input::Open);
            }
            Err(error) => return Err(broken(&error)),
        };
        let answer = self.client.decrypt(bytes.get(..count).unwrap_or_default())?;
        if self.print()? == Input::Closed {
            return Ok(Input::Closed);
        }
        self.unsent.extend_from_slice(&answer);
        match (self.client.session().peer_closed(), count) {
            (true, _) => Ok(Input::Closed),
            (false, 0) => Err(ClientError::HungUp.into()),
            (false, _) => Ok(Input::Open),
        }
    }

    /// Prints the plaintext received.
    fn print(&mut self) -> Result<Input, Failure> {
        let mut results = Results::new();
        let printed = results.write_all(&self.client.take_plaintext()).and_then(|()| results.flush());
        printed.map_err(|error| terminal::cannot_write(&error))?;
        Ok(if results.has_reader() { Input::Open } else { Input::Closed })
    }
}

/// Whether more of the server's output can come and be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// The server has sent close_notify, or the reader of stdout is gone.
    Closed,
}

fn broken(error: &io::Error) -> Failure {
    Failure::Other(format!("connection lost: {error}"))
}

/// Reads stdin on its own thread: the poller cannot wait for stdin.
#[expect(clippy::disallowed_methods, reason = "it waits for the keyboard; the loop must not")]
fn read_stdin(wake: Wake) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    // Bounded: a large file must not fill memory while the server is slow to read it.
    let (pieces, typed) = mpsc::sync_channel(4);
    std::thread::spawn(move || {
        loop {
            let mut bytes = vec![0; 64 << 10];
            let piece = io::stdin().read(&mut bytes).map(|count| {
                bytes.truncate(count);
                bytes
            });
            let last = piece.as_ref().map_or(true, Vec::is_empty);
            if pieces.send(piece).is_err() || last {
                return wake();
            }
            wake();
        }
    });
    typed
}
