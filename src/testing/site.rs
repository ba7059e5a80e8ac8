//! A server on the simulated network: the real loop, with simulated sockets and a simulated clock.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::connection::Service;
use crate::limits::Limits;
use crate::net::Net;
use crate::net::sim::{NetFaults, Network, SimNet, SimSocket};
use crate::server::{ListenerConfig, Security, Server, Status};
use crate::services::Echo;
use crate::timer::Now;

/// A server, and the network to it.
pub struct Site<S: Service = Echo> {
    /// Where time passes, and what is under way.
    pub network: Network,
    /// The server's host; clients may connect from it too.
    pub net: SimNet,
    /// The server.
    pub server: Server<SimNet, S>,
    /// Where each listener is.
    pub addresses: Vec<SocketAddr>,
}

impl Site {
    /// An echo server; see [`serving`](Self::serving).
    pub fn new(faults: NetFaults, limits: Limits) -> Self {
        Self::serving(Echo, faults, limits)
    }
}

impl<S: Service> Site<S> {
    /// A server without TLS that has a listener for clients and, as the second, one for operators.
    pub fn serving(service: S, faults: NetFaults, limits: Limits) -> Self {
        Self::behind(plain_listener(), service, faults, limits)
    }

    /// The same with this listener for clients, and one like it for operators.
    pub fn behind(listener: ListenerConfig, service: S, faults: NetFaults, limits: Limits) -> Self {
        let for_operators = ListenerConfig { for_operators: true, ..listener.clone() };
        Self::start(|_| service, faults, limits, vec![listener, for_operators])
    }

    /// A server with these listeners. The service is made at the time of its host.
    pub fn start(
        service: impl FnOnce(Now) -> S,
        faults: NetFaults,
        limits: Limits,
        listeners: Vec<ListenerConfig>,
    ) -> Self {
        let network = Network::new(1, faults);
        let net = network.host();
        let server = Server::new(net.clone(), service(net.now()), listeners, limits).expect("a free port");
        let addresses = server.addresses().expect("bound");
        Self { network, net, server, addresses }
    }

    /// A client of the first listener, connected but not accepted.
    pub fn connect(&mut self) -> SimSocket {
        self.connect_to(0, None)
    }

    /// The same to this listener, from this address.
    pub fn connect_to(&mut self, listener: usize, from: Option<IpAddr>) -> SimSocket {
        let socket = self.net.connect(&self.addresses[listener].into(), from).expect("begun");
        self.deliver();
        socket
    }

    /// Delivers everything that is under way, without a turn of the loop.
    pub fn deliver(&self) {
        deliver(&self.network);
    }

    /// Delivers everything and runs turns until the loop would sleep and nothing is under way.
    pub fn run_until_idle(&mut self) -> Status {
        self.deliver();
        loop {
            match self.server.turn() {
                Ok(Status::Running) => {}
                Ok(Status::Stopped) => return Status::Stopped,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            self.deliver();
            if !self.net.is_awake() {
                return Status::Running;
            }
        }
    }

    /// Lets `time` pass, with all that becomes due in it.
    pub fn wait(&mut self, time: Duration) {
        let until = self.network.now() + time;
        while let Some(wakes) = self.net.wakes_at().filter(|wakes| *wakes < until) {
            self.network.advance_to(wakes);
            self.run_until_idle();
        }
        self.network.advance_to(until);
        self.run_until_idle();
    }
}

/// Delivers everything that is under way in `network`.
pub fn deliver(network: &Network) {
    while let Some(next) = network.next_happening() {
        network.advance_to(next);
    }
}

/// A listener without TLS, on any port of the server's host.
pub fn plain_listener() -> ListenerConfig {
    ListenerConfig::new(([10, 0, 0, 2], 0).into(), Security::Plain)
}

/// All arrived bytes, and whether the stream has ended.
pub fn drain(socket: &mut SimSocket) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    let result = socket.read_to_end(&mut received);
    (received, result.is_ok())
}
