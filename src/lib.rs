//! latchkey: a TLS server and a TLS-first load harness on one `mio` loop.
//!
//! A byte travels in one direction:
//!
//! ```text
//! socket -> tls::Session -> framing -> request -> store -> reply -> connection::Replies -> tls::Session -> socket
//! ```
//!
//! Modules stand on floors and import only downwards; `tests/tidy.rs` checks it. From the ground up:
//!
//! | floor | modules | job |
//! |---|---|---|
//! | 0 | `disconnect`, `limits`, `text`, `timer`, `value` | plain data |
//! | 1 | `net`, `disk`, `metrics` | the outside world: sockets and the clock; what outlives the process; what is counted for operators |
//! | 2 | `tls`, `store` | sessions and trust; keys and values |
//! | 3 | `protocol`, `access` | bytes to requests, replies to bytes; who may ask what |
//! | 4 | `connection` | one client: session, framing, replies in order, deadlines |
//! | 5 | `services`, `server`, `client`, `load` | what is served, the loop that serves it, who asks, and how much |
//! | 6 | `cli` | arguments to a validated configuration, then run |
//!
//! To serve a protocol of your own, implement [`Service`] and hand it to [`Server`].

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
mod text;
mod timer;
mod tls;
mod value;

#[cfg(feature = "cli")]
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
pub use net::{Address, Net, Subnet};
pub use server::{BindError, Handle, ListenerConfig, Security, Server, Status};
pub use timer::Now;
pub use tls::{
    Agreement, Anchor, AnchorKind, ClientAuth, ClientOptions, ClientPolicy, ClientPolicyError, Identity, OutdatedLists,
    PemError, PemSource, PolicyError, PolicyOptions, PostQuantum, Refusal, ServerPolicy, TlsMin, TrustError,
};

/// Who may do what: rules that match the identity in a verified client certificate.
pub mod authorization {
    pub use crate::access::{Access, Class, Gate, Grant, Rules, RulesError, Scope};
}

/// Keys and values in memory, and the protocols that serve them.
pub mod key_value {
    pub use crate::services::resp::{Resp, RespOptions};
    pub use crate::services::xmlrpc::{XmlRpc, XmlRpcOptions};
    pub use crate::services::{Echo, KeyValue, StoreProtocol};
    pub use crate::store::{Entry, Eviction, Expiry, Kind, Store, StoreError, StoreOptions};
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
        access cli client connection disconnect disk limits load metrics net protocol server services store text timer tls
        value
    }
}
