//! A service over a store: what all protocols with keys and values share.

use std::time::Duration;

use crate::connection::{CommitStatus, Environment, Exchange, PeerInfo, Served, Service, SessionState, Tick};
use crate::disconnect::Disconnect;
use crate::disk::StorageError;
use crate::store::{CommitGroup, GroupStatus, Store};
use crate::timer::Now;

/// One or more protocols over a store, which is passed to each call.
///
/// The methods are those of [`Service`] with the store added, with the same two required and the same defaults.
/// [`KeyValue`] handles commits.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{Shutdown, TcpStream};
///
/// use latchkey::key_value::{Expiry, KeyValue, Kind, Store, StoreOptions, StoreProtocol};
/// use latchkey::{Disconnect, Exchange, Limits, ListenerConfig, MioNet, Security, Served, Server};
///
/// /// `put KEY VALUE` stores a value, and `get KEY` returns it, empty where there is none.
/// struct Words;
///
/// impl StoreProtocol for Words {
///     type Session = ();
///
///     fn open(&mut self, _: &mut Exchange<'_>) {}
///
///     fn serve(&mut self, (): &mut (), store: &mut Store, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
///         let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
///             return if input.len() < 1024 { Served::Incomplete } else { Served::Close(Disconnect::TooLarge) };
///         };
///         let now = exchange.env.now;
///         match *input[..end].split(|byte| *byte == b' ').collect::<Vec<_>>() {
///             [b"put", key, value] => match store.set(key, Kind::Bytes, value, Expiry::Never, now) {
///                 Ok(()) => exchange.reply().extend(b"done"),
///                 Err(error) => exchange.reply().extend(error.to_string().bytes()),
///             },
///             [b"get", key] => exchange.reply().extend(store.get(key, now).map_or(&b""[..], |entry| entry.data)),
///             _ => return Served::Close(Disconnect::Malformed),
///         }
///         exchange.reply().push(b'\n');
///         Served::Used(end + 1)
///     }
/// }
///
/// let mut options = StoreOptions { max_memory: Some(64 << 20), ..StoreOptions::default() };
/// // Secret, so that no client can choose keys that collide.
/// std::fs::File::open("/dev/urandom")?.read_exact(&mut options.hash_key)?;
/// let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
/// let service = KeyValue::over(Store::new(options), Words);
/// let mut server = Server::new(MioNet::new()?, service, vec![listener], Limits::default())?;
/// let (address, handle) = (server.addresses()?[0], server.handle());
/// let running = std::thread::spawn(move || server.run());
///
/// let mut client = TcpStream::connect(address)?;
/// client.write_all(b"put spam eggs\nget spam\n")?;
/// client.shutdown(Shutdown::Write)?;
/// let mut replies = String::new();
/// client.read_to_string(&mut replies)?;
/// assert_eq!(replies, "done\neggs\n");
///
/// handle.stop();
/// running.join().expect("the loop does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StoreProtocol {
    /// The framing state of one connection between calls.
    type Session;

    /// See [`Service::open`].
    fn open(&mut self, exchange: &mut Exchange<'_>) -> Self::Session;

    /// See [`Service::serve`]. The reply is held until what it reports is durable.
    fn serve(
        &mut self,
        session: &mut Self::Session,
        store: &mut Store,
        input: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Served;

    /// See [`Service::end_of_input`].
    fn end_of_input(
        &mut self,
        session: &mut Self::Session,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        let _ = (session, exchange);
        (!rest.is_empty()).then_some(Disconnect::CutOff)
    }

    /// See [`Service::inspect`].
    fn inspect(&self, session: &Self::Session) -> SessionState {
        let _ = session;
        SessionState::default()
    }

    /// See [`Service::refuse`].
    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        let _ = (listener, reason, reply);
    }

    /// See [`Service::retract`].
    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        let _ = (listener, reply, out);
    }

    /// See [`Service::close`].
    fn close(&mut self, session: Self::Session, store: &mut Store, peer: &PeerInfo) {
        let _ = (session, store, peer);
    }

    /// Continues work that takes many turns, for well under a millisecond. Returns when it wants to be called again if
    /// nothing happens.
    fn tick(&mut self, store: &mut Store, now: Now) -> Option<Duration> {
        let _ = (store, now);
        None
    }
}

/// Serves a protocol over one store.
pub struct KeyValue<P> {
    store: Store,
    protocol: P,
    /// The loss of the store's changes has been logged.
    is_loss_logged: bool,
}

impl<P> KeyValue<P> {
    /// Serves `protocol` over `store`.
    #[must_use]
    pub fn over(store: Store, protocol: P) -> Self {
        Self { store, protocol, is_loss_logged: false }
    }

    /// The store, to load it before anything is served.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The protocol.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.protocol
    }

    /// Makes everything durable and closes the data directory.
    ///
    /// # Errors
    ///
    /// Changes could not be written, now or earlier.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.store.close()
    }
}

impl<P> KeyValue<P> {
    /// Submits the changes of this turn to the disk as one group, and returns the status of earlier groups.
    fn commit(&mut self, now: Now) -> CommitStatus {
        if !self.store.is_durable() {
            return CommitStatus::NotUsed;
        }
        match self.store.commit(now) {
            GroupStatus::Unchanged => CommitStatus::Unchanged,
            GroupStatus::Durable(group) => CommitStatus::Durable(group),
            GroupStatus::Recovered => {
                tracing::info!("there is room in the data directory: writes are taken again");
                CommitStatus::Unchanged
            }
            GroupStatus::Lost(failure) => {
                let end = if matches!(failure, StorageError::Full(_)) { ", until there is room" } else { "" };
                tracing::error!("writes are refused from now on{end}; reads are served: {failure}");
                CommitStatus::Lost
            }
            GroupStatus::Fatal(failure) => {
                // The status repeats each turn, for requests that have since read lost changes.
                if !std::mem::replace(&mut self.is_loss_logged, true) {
                    tracing::error!("stopping: the state of the data on disk is unknown: {failure}");
                }
                CommitStatus::Fatal
            }
        }
    }
}

impl<P: StoreProtocol> Service for KeyValue<P> {
    type Session = P::Session;

    fn open(&mut self, exchange: &mut Exchange<'_>) -> P::Session {
        self.protocol.open(exchange)
    }

    fn serve(&mut self, session: &mut P::Session, input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let mut view = self.store.view();
        let served = self.protocol.serve(session, &mut view, input, exchange);
        if let Some(CommitGroup(group)) = view.finish() {
            exchange.hold(group);
        }
        served
    }

    fn end_of_input(
        &mut self,
        session: &mut P::Session,
        rest: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Option<Disconnect> {
        self.protocol.end_of_input(session, rest, exchange)
    }

    fn inspect(&self, session: &P::Session) -> SessionState {
        self.protocol.inspect(session)
    }

    fn close(&mut self, session: P::Session, peer: &PeerInfo) {
        self.protocol.close(session, &mut self.store, peer);
    }

    fn refuse(&mut self, listener: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        self.protocol.refuse(listener, reason, reply);
    }

    fn retract(&mut self, listener: usize, reply: &[u8], out: &mut Vec<u8>) {
        self.protocol.retract(listener, reply, out);
    }

    fn tick(&mut self, env: &mut Environment) -> Tick {
        self.store.set_client_memory(env.client_memory);
        let mut view = self.store.view();
        let protocol = self.protocol.tick(&mut view, env.now);
        let (scans, store) = (view.scan_tick(env.now), view.tick(env.now));
        view.finish_unreported();
        let commits = self.commit(env.now);
        let again_in = [protocol, scans, store, self.store.wants_commit_in(env.now)].into_iter().flatten().min();
        Tick { commits, again_in }
    }
}
