//! TLS servers on one event loop: mutual TLS, a bound on everything that a peer may cost, and a simulated network to test
//! them on.
//!
//! - [`Service`] is the trait that a protocol implements; [`Server`] serves it on any number of [`ListenerConfig`]s.
//! - [`ServerPolicy`] and [`ClientPolicy`] say what a TLS listener and a TLS client demand; both are made from PEM.
//! - [`Client`] is a blocking TLS client over any stream.
//! - [`Limits`] are the bounds, [`Metrics`] the counters, [`Disconnect`] the reasons why connections end.
//! - [`key_value`] has a store and the protocols over it, [`authorization`] the rules for who may do what, and [`sim`] the
//!   simulated network.
//!
//! One thread runs one [`Server`]; [`Servers`] runs several, for services without shared state. There is no async
//! runtime: a reply that takes long is left open with [`Exchange::defer`] and completed from another thread.
//!
//! The default feature `cli` adds the program `latchkey` and what only it needs; a program that uses the library turns it
//! off with `default-features = false`.
//!
//! # A line protocol with mutual TLS, and a client that verifies
//!
//! `latchkey certs` makes certificates to try this with: `certs init` a CA, `certs server` and `certs client` a pair each.
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpStream;
//! use std::sync::Arc;
//!
//! use latchkey::{Client, ClientOptions, ClientPolicy, PemSource, PolicyOptions, ServerPolicy};
//! use latchkey::{Disconnect, Exchange, Limits, ListenerConfig, MioNet, Security, Served, Server, Service};
//!
//! /// A line comes back in capitals; `WHO` is answered with the common name in the client's certificate.
//! struct Lines;
//!
//! impl Service for Lines {
//!     type Session = ();
//!
//!     fn open(&mut self, _: &mut Exchange<'_>) {}
//!
//!     fn serve(&mut self, (): &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
//!         let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
//!             return if input.len() < 1024 { Served::Incomplete } else { Served::Close(Disconnect::TooLarge) };
//!         };
//!         match &input[..end] {
//!             b"WHO" => {
//!                 let name = exchange.peer.identity.as_ref().and_then(|identity| identity.common_name.clone());
//!                 exchange.reply().extend(name.unwrap_or_default().bytes());
//!             }
//!             line => exchange.reply().extend(line.to_ascii_uppercase()),
//!         }
//!         exchange.reply().push(b'\n');
//!         Served::Used(end + 1)
//!     }
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let pki = folder.path();
//! # let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
//! # latchkey::internals::cli::development::development_identities(pki, now.as_secs())?;
//! let pem = |name: &str| std::fs::read(pki.join(name)).map(|bytes| PemSource { name: name.to_owned(), bytes });
//!
//! // The server: clients must show a certificate from this CA.
//! let policy = ServerPolicy::new(PolicyOptions {
//!     identities: vec![(pem("server.pem")?, pem("server-key.pem")?)],
//!     client_ca: vec![pem("ca.pem")?],
//!     ..PolicyOptions::default()
//! })?;
//! let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::tls(Arc::new(policy)));
//! let mut server = Server::new(MioNet::new()?, Lines, vec![listener], Limits::default())?;
//! let (address, handle) = (server.addresses()?[0], server.handle());
//! let running = std::thread::spawn(move || server.run());
//!
//! // The client: the server must show a certificate from this CA, for this name.
//! let policy = ClientPolicy::new(&ClientOptions {
//!     ca: vec![pem("ca.pem")?],
//!     identity: Some((pem("client.pem")?, pem("client-key.pem")?)),
//!     ..ClientOptions::default()
//! })?;
//! let mut client = Client::handshake(TcpStream::connect(address)?, policy, "localhost".try_into()?)?;
//! client.write_all(b"hello\nWHO\n")?;
//! client.finish()?;
//! let answers = BufReader::new(client).lines().collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(answers, ["HELLO", "client"]);
//!
//! handle.stop();
//! running.join().expect("the loop does not panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A key/value service
//!
//! [`KeyValue`](key_value::KeyValue) serves a protocol over a [`Store`](key_value::Store):
//! [`Resp`](key_value::Resp), the Redis protocol, or one's own [`StoreProtocol`](key_value::StoreProtocol). It is a
//! [`Service`], so TLS is as above.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//!
//! use latchkey::key_value::{KeyValue, Resp, RespOptions, Store, StoreOptions};
//! use latchkey::{Limits, ListenerConfig, MioNet, Net, Security, Server};
//!
//! let mut options = StoreOptions { max_memory: Some(64 << 20), ..StoreOptions::default() };
//! // Secret, so that no client can choose keys that collide.
//! std::fs::File::open("/dev/urandom")?.read_exact(&mut options.hash_key)?;
//! let net = MioNet::new()?;
//! let service = KeyValue::over(Store::new(options), Resp::new(RespOptions::default(), net.now()));
//! let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
//! let mut server = Server::new(net, service, vec![listener], Limits::default())?;
//! let (address, handle) = (server.addresses()?[0], server.handle());
//! let running = std::thread::spawn(move || server.run());
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"SET greeting hello\r\nGET greeting\r\n")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut replies = String::new();
//! client.read_to_string(&mut replies)?;
//! assert_eq!(replies, "+OK\r\n$5\r\nhello\r\n");
//!
//! handle.stop();
//! running.join().expect("the loop does not panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
// What only the program or our own tests use is dead code in a library build without them.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unreachable_pub, unused_imports))]

mod access;
mod client;
mod connection;
mod disconnect;
mod disk;
mod limits;
mod metrics;
mod net;
mod protocol;
mod server;
mod services;
mod store;
#[cfg(any(test, feature = "internals"))]
mod testing;
mod text;
mod timer;
mod tls;
mod value;

#[cfg(feature = "cli")]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments on arguments are help texts, in which brackets link nothing"
)]
mod cli;
#[cfg(feature = "cli")]
mod load;

pub use client::{Client, ClientError};
pub use connection::{
    CommitStatus, Deferred, Dial, Environment, Exchange, Link, Loss, PeerId, PeerInfo, Served, Service, SessionState,
    Tick,
};
pub use disconnect::Disconnect;
pub use limits::Limits;
pub use metrics::Metrics;
pub use net::mio::MioNet;
pub use net::{AcceptError, Address, Delivery, Event, Net, NotASubnet, Processor, Subnet};
pub use server::{BindError, Handle, ListenerConfig, Security, Server, Servers, Status};
pub use timer::Now;
pub use tls::{
    Agreement, Anchor, AnchorKind, ClientAuth, ClientOptions, ClientPolicy, ClientPolicyError, Identity,
    MalformedCertificate, OutdatedLists, PemError, PemSource, PolicyError, PolicyOptions, PostQuantum, Refusal,
    ServerPolicy, TlsMin, TrustError,
};

/// Who may do what: rules that match the identity in a verified client certificate.
pub mod authorization {
    pub use crate::access::{Access, Class, Gate, Grant, Rules, RulesError, Scope};
}

/// Keys and values in memory, and the protocols that serve them.
pub mod key_value {
    pub use crate::disk::{OpenError, StorageError, Sync};
    pub use crate::services::resp::{ProcessorTime, Resp, RespOptions};
    pub use crate::services::xmlrpc::{FaultStyle, XmlRpc, XmlRpcOptions};
    pub use crate::services::{Echo, KeyValue, StoreProtocol};
    pub use crate::store::{
        CommitLimits, DataOptions, DataReport, Entry, Eviction, Expiry, Kind, Store, StoreError, StoreOptions,
    };
}

/// Simulated sockets and a simulated clock, to test a service of one's own: what goes wrong goes wrong again with the same
/// seed.
pub mod sim {
    pub use crate::net::sim::{NetFault, NetFaults, Network, SimListener, SimNet, SimRandom, SimSocket};
}

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::run as run_program;

/// Every module as the crate itself sees it, for our own tests, benches and fuzz targets.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    macro_rules! open {
        ($($module:ident)*) => {
            $(#[allow(missing_docs)]
            pub mod $module {
                pub use crate::$module::*;
            })*
        };
    }

    open! {
        access cli client connection disconnect disk limits load metrics net protocol server services store testing text timer
        tls value
    }
}
