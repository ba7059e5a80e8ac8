//! Redis's protocol over the store: strings and keys as a user of Redis 7.2 knows them.
//!
//! Lists, hashes, sets, streams, scripts, channels and replication are not served: their commands are unknown.
//! `docs/resp.md` lists the commands, the limits, and the differences from Redis.
//!
//! Values that were set over another protocol keep their type. Every reading command sees a typed value as its JSON
//! text, `INCR` and its kin count on integers and keep them integers, other editing commands answer `WRONGTYPE`,
//! `SET` replaces, and `TYPE` tells the type.
//!
//! One command costs the loop a bounded time: see [`RespOptions`] for the bounds on keys named, keys searched and the work
//! of `LCS`. A command that needs every key or every client takes
//! bounded steps, one a turn, and its reply is deferred.
//!
//! # Layers
//!
//! A request is decoded in place by `protocol::resp::Decoder`, its command found in the `table` and admitted, and its handler
//! writes the reply straight to the connection. Each layer imports only from those below it, which `tests/tidy.rs` checks:
//!
//! ```text
//! mod.rs        the service: connections, and the decoding of requests
//! lookahead     decodes the requests behind the one that is served, and prefetches their keys from a large table
//! table         all commands, put together from the families
//! engine        the outcome of a request: executed, queued by MULTI, refused; the family of MULTI, EXEC and WATCH
//! dispatch      the name to a command, admission (arity, lengths, permission), execution, counters
//! commands      by family: the description of each command, its handler, the forecast of its cost in a transaction
//! call          one command being executed: the input of its handler, errors, arguments, the budget of a transaction
//! state         state of the service and its connections between requests
//! description   commands as data: names, arity, keys, flags, help; and whether rules permit a request
//! ```
//!
//! `table` is handed down with each call, so that `COMMAND` and `EXEC` find other commands without importing them.

#![expect(clippy::unnecessary_wraps, reason = "all command handlers have the same signature")]

mod call;
mod commands;
mod description;
mod dispatch;
mod engine;
mod lookahead;
mod state;
mod table;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::commands::connection::list;
use self::description::{Command, permission};
use self::engine::{answer, may_write};
use self::lookahead::Lookahead;
use self::state::Core;
use self::table::TABLE;
use crate::access::Reach;
use crate::connection::{Exchange, PeerInfo, Served, SessionState};
use crate::disconnect::Disconnect;
use crate::protocol::resp::{Arguments, Encoder, RequestLimits};
use crate::services::StoreProtocol;
use crate::store::Store;
use crate::timer::Now;

pub use self::state::{ProcessorTime, RespOptions, RespSession};

/// The service: one value serves every connection of its listeners.
#[derive(Debug)]
pub struct Resp {
    core: Core,
    arguments: Arguments,
    lookahead: Lookahead,
}

impl Resp {
    /// A service that starts at `now`.
    #[must_use]
    pub fn new(options: RespOptions, now: Now) -> Self {
        let core = Core::new(options, TABLE.commands().len(), now);
        Self { core, arguments: Arguments::default(), lookahead: Lookahead::default() }
    }

    /// The reach of a rule that grants the command `name`, in any case; that of a container is that of its subcommands.
    #[must_use]
    pub(crate) fn reach(name: &str) -> Option<Reach> {
        let is_named = |own: &str| own.eq_ignore_ascii_case(name);
        let bears = |command: &&'static Command| is_named(command.name) || command.container().is_some_and(is_named);
        permission::reach(&TABLE.commands().filter(bears).collect::<Vec<_>>())
    }
}

impl StoreProtocol for Resp {
    type Session = RespSession;

    fn open(&mut self, exchange: &mut Exchange<'_>) -> RespSession {
        let peer = exchange.peer;
        let client = self.core.clients.insert(peer, exchange.env.now);
        if let Some(name) = peer.identity.as_ref().and_then(|identity| identity.common_name.as_ref()) {
            // `CLIENT LIST` separates its fields by spaces.
            let printable = name.bytes().map(|byte| if byte.is_ascii_graphic() { byte } else { b'_' });
            client.names().user = printable.collect();
        }
        RespSession::default()
    }

    fn close(&mut self, mut session: RespSession, store: &mut Store, peer: &PeerInfo) {
        session.unwatch(store);
        list::cancel(&mut self.core, peer.id);
        store.cancel_scans(peer.id.token());
        self.core.clients.remove(peer.id);
    }

    fn tick(&mut self, _: &mut Store, now: Now) -> Option<Duration> {
        list::tick(&mut self.core, now)
    }

    fn serve(
        &mut self,
        session: &mut RespSession,
        store: &mut Store,
        input: &[u8],
        exchange: &mut Exchange<'_>,
    ) -> Served {
        let Self { core, arguments, lookahead } = self;
        let most = exchange.env.limits.request_bytes;
        let limits = RequestLimits { bulk_bytes: core.bulk_bytes, ..RequestLimits::new(most) };
        let foreseen = lookahead.next(exchange.peer.id, input);
        let is_foreseen = foreseen.is_some();
        let decoded = match foreseen {
            Some(decoded) => Ok(Some(decoded)),
            None => session.decoder.decode(input, &limits, arguments),
        };
        let (request, used) = match decoded {
            Ok(None) => return Served::Incomplete,
            Ok(Some((request, _))) if store.is_congested() && may_write(&TABLE, &request) => return Served::Congested,
            Ok(Some(decoded)) => decoded,
            Err(error) => {
                let mut reply = Encoder::new(exchange.reply(), session.protocol);
                reply.error(format!("ERR {error}").as_bytes());
                exchange.explain(error.to_string());
                return Served::Close(if error.is_limit() { Disconnect::TooLarge } else { Disconnect::Malformed });
            }
        };
        let (raw, rest) = input.split_at_checked(used).unwrap_or_default();
        if !request.is_empty() {
            exchange.env.metrics.requests += 1;
            if let Err(reason) = answer(&TABLE, core, session, store, exchange, request, raw) {
                return Served::Close(reason);
            }
        }
        if is_foreseen {
            lookahead.advance();
        } else {
            lookahead.look(exchange.peer.id, store, rest, &limits);
        }
        session.ending.take().map_or(Served::Used(used), Served::Close)
    }

    /// An incomplete request is not answered, as in Redis.
    fn end_of_input(&mut self, _: &mut RespSession, rest: &[u8], exchange: &mut Exchange<'_>) -> Option<Disconnect> {
        if rest.is_empty() {
            return None;
        }
        exchange.explain("in the middle of a command");
        Some(Disconnect::CutOff)
    }

    fn inspect(&self, session: &RespSession) -> SessionState {
        SessionState { is_in_head: false, memory: session.memory() }
    }

    fn retract(&mut self, _: usize, _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"-MISCONF Errors writing to the data directory: this command may not be kept\r\n");
    }

    fn refuse(&mut self, _: usize, reason: Disconnect, reply: &mut Vec<u8>) {
        let text: &[u8] = match reason {
            Disconnect::Refused => b"-ERR max number of clients reached\r\n",
            Disconnect::AddressLimit => b"-ERR max number of clients reached for this address\r\n",
            Disconnect::Memory => b"-ERR clients hold all the memory they may\r\n",
            Disconnect::Denied => b"-NOPERM this certificate's identity has no access to this server\r\n",
            Disconnect::Revoked => b"-NOPERM this certificate's access has been withdrawn\r\n",
            Disconnect::RequestTimeout | Disconnect::HeaderTimeout => b"-ERR the request did not arrive in time\r\n",
            Disconnect::Shutdown => b"-ERR the server is shutting down\r\n",
            _ => return,
        };
        reply.extend_from_slice(text);
    }
}
