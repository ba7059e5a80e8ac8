//! Redis's protocol over the store: strings and keys as a user of Redis 7.2 knows them.
//!
//! A request is decoded in place, found in the [table of commands](COMMANDS), admitted, and executed by its handler,
//! which writes the reply straight to the connection. Lists, hashes, sets, streams, scripts, channels and replication
//! are not served: their commands are unknown.
//!
//! Values that were set over another protocol keep their type. Every reading command sees a typed value as its JSON
//! text, `INCR` and its kin count on integers and keep them integers, other editing commands answer `WRONGTYPE`,
//! `SET` replaces, and `TYPE` tells the type.
//!
//! `docs/resp.md` lists the commands, the limits, and where they differ from Redis.
//!
//! One command costs the loop a bounded time: see [`RespOptions`] for the bounds on keys named, keys searched and the work
//! of `LCS`. What looks at every key or client does so in steps, one a [`tick`](Resp::tick).

#![expect(clippy::unnecessary_wraps, reason = "all command handlers have the same signature")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

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

use self::call::{Call, CommandError, quoted};
use self::commands::connection::list;
use self::description::command;
use self::dispatch::authorize::{self, authorize};
use self::engine::transaction;
use self::lookahead::Lookahead;
use self::state::session::{Clients, DeferredList};
use crate::access::Reach;
use crate::connection::{Exchange, PeerInfo, Served, SessionState};
use crate::metrics::{Disconnect, Metrics};
use crate::protocol::resp::{Arguments, Encoder, Request, RequestLimits};
use crate::services::StoreProtocol;
use crate::store::{Stats, Store};
use crate::timer::Now;

/// What clients that ask for a version of Redis are told.
const REDIS_VERSION: &str = "7.2.0";

pub use self::description::command::{Command, CommandId, KeySpec, find, flag};
pub use self::state::session::RespSession;
pub use self::table::COMMANDS;

/// Bounds that keep any one command short, and what `CONFIG GET` tells of the server.
#[derive(Clone, Debug)]
pub struct RespOptions {
    /// The longest argument, and the longest string a command may make: `proto-max-bulk-len`.
    pub bulk_bytes: usize,
    /// Keys named in one command (`MGET`, `MSET`, `DEL`, `EXISTS`, `WATCH`).
    pub keys_per_command: usize,
    /// Keys that one step of `KEYS` looks at; the next step is done in the next turn.
    pub keys_per_step: usize,
    /// `KEYS` within a transaction, where it cannot be done in steps, is refused when the store holds more keys than this.
    pub keys_searched: usize,
    /// Keys that one `SCAN` looks at, whatever `COUNT` asks.
    pub scan_count: usize,
    /// The product of the lengths of two strings that `LCS` compares.
    pub lcs_cells: usize,
    /// Connections that `CLIENT KILL`, and `CLIENT LIST` within a transaction, look at.
    pub clients_visited: usize,
    /// The arguments of all commands of one transaction; a long-running command counts as 4,096.
    pub transaction_cost: usize,
    /// `maxmemory`, in bytes; 0 for none.
    pub max_memory: u64,
    /// `maxmemory-policy`, in Redis's words.
    pub max_memory_policy: &'static str,
    /// `timeout`, in seconds; 0 for none.
    pub idle_seconds: u64,
    /// What tells the time, for `INFO commandstats`; without it no call is timed.
    pub clock: Option<fn() -> Instant>,
    /// What tells the processor time that the process has taken, for `INFO cpu`.
    pub processor_time: Option<fn() -> Option<ProcessorTime>>,
    /// Seeds the choice of `RANDOMKEY`.
    pub seed: u64,
}

impl Default for RespOptions {
    fn default() -> Self {
        Self {
            bulk_bytes: 512 << 20,
            // Two milliseconds of lookups in a table far larger than the caches.
            keys_per_command: 16_384,
            // Half a millisecond.
            keys_per_step: 4096,
            keys_searched: 65_536,
            scan_count: 10_000,
            // A millisecond.
            lcs_cells: 1 << 20,
            // A few milliseconds, for a command by which somebody puts things in order.
            clients_visited: 65_536,
            transaction_cost: 65_536,
            max_memory: 0,
            max_memory_policy: "noeviction",
            idle_seconds: 0,
            clock: None,
            processor_time: None,
            seed: 0,
        }
    }
}

/// Processor time that a process has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// In its own code.
    pub user: Duration,
    /// In the system's.
    pub system: Duration,
}

/// The service: one value serves every connection of its listeners.
#[derive(Debug)]
pub struct Resp {
    core: Core,
    arguments: Arguments,
    lookahead: Lookahead,
}

/// What command handlers see of the service.
#[derive(Debug)]
pub(crate) struct Core {
    options: RespOptions,
    /// `proto-max-bulk-len`, which `CONFIG SET` changes.
    bulk_bytes: usize,
    started: Now,
    clients: Clients,
    /// By [`CommandId`].
    calls: Vec<Calls>,
    baseline: Baseline,
    /// Requests refused before they were executed.
    rejected: u64,
    random: u64,
    /// Lists of all clients that take many turns, in the order in which they were asked for.
    lists: VecDeque<DeferredList>,
}

/// What has become of the calls of one command.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    total: u64,
    failed: u64,
    /// Refused before they were executed.
    rejected: u64,
    /// How many were timed, and how long these took.
    timed: u64,
    took: Duration,
}

impl Calls {
    /// How long one takes on average, in microseconds, as far as is known.
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    fn microseconds(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / (self.timed.max(1) as f64)
    }
}

/// What the counters of the whole server were when `CONFIG RESETSTAT` was last asked for. The counters themselves go on: other
/// observers count on that.
#[derive(Debug, Default)]
struct Baseline {
    metrics: Metrics,
    store: Stats,
}

impl Core {
    /// A number that no one needs to be unable to guess: splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// Statistics begin anew from what is counted now.
    fn reset_statistics(&mut self, metrics: &Metrics, store: Stats) {
        self.calls.fill(Calls::default());
        self.rejected = 0;
        self.baseline = Baseline { metrics: metrics.clone(), store };
    }
}

/// Spreads the bits of a number: the second half of splitmix64.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Resp {
    /// A service that starts at `now`.
    #[must_use]
    pub fn new(options: RespOptions, now: Now) -> Self {
        let core = Core {
            bulk_bytes: options.bulk_bytes,
            started: now,
            clients: Clients::default(),
            calls: vec![Calls::default(); COMMANDS.len()],
            baseline: Baseline::default(),
            rejected: 0,
            random: options.seed,
            lists: VecDeque::new(),
            options,
        };
        Self { core, arguments: Arguments::default(), lookahead: Lookahead::default() }
    }

    /// What the command `name`, in any case, is about; that of a container is what its subcommands are about.
    #[must_use]
    pub fn reach(name: &str) -> Option<Reach> {
        authorize::reach(name)
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
        transaction::forget_watches(&mut session, store);
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
            Ok(Some((request, _))) if store.is_congested() && may_write(&request) => return Served::Congested,
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
            if let Err(reason) = answer(core, session, store, exchange, request, raw) {
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

    /// What the peer leaves of a request is not answered, as in Redis.
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

/// Finds the command that is asked for, and executes, queues or refuses it.
///
/// # Errors
///
/// The bytes are an HTTP request, aimed at this port through somebody's browser: the connection must be closed before
/// the rest of it, which an attacker may have chosen, is taken for commands.
fn answer(
    core: &mut Core,
    session: &mut RespSession,
    store: &mut Store,
    exchange: &mut Exchange<'_>,
    request: Request<'_>,
    raw: &[u8],
) -> Result<(), Disconnect> {
    let name = request.get(0).unwrap_or_default();
    let refusal = match resolve(&request) {
        Ok((id, command)) => {
            if let Some(client) = core.clients.get_mut(exchange.peer.id) {
                client.active_ms = exchange.env.now.unix_ms;
                client.command = Some(id);
            }
            let mut call = Call { core, session, store, command, id, request, exchange, is_atomic: false };
            match admit(&mut call) {
                Ok(()) if call.session.transaction.is_some() && !command.is(flag::IN_MULTI) => {
                    match transaction::queue(&mut call, raw) {
                        Ok(()) => return Ok(()),
                        Err(failure) => failure,
                    }
                }
                Ok(()) => {
                    execute(&mut call);
                    return Ok(());
                }
                Err(failure) => failure,
            }
        }
        Err(_) if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") => {
            exchange.explain("an HTTP request, where RESP is spoken");
            return Err(Disconnect::Malformed);
        }
        Err(failure) => failure,
    };
    core.rejected += 1;
    if let Ok((id, _)) = resolve(&request)
        && let Some(calls) = core.calls.get_mut(id.index())
    {
        calls.rejected += 1;
    }
    let refusal = transaction::abort_transaction(session, store, name, refusal);
    Encoder::new(exchange.reply(), session.protocol).error(refusal.text());
    Ok(())
}

/// Whether a request may change the store.
fn may_write(request: &Request<'_>) -> bool {
    resolve(request).is_ok_and(|(_, command)| command.is(flag::WRITE) || command.name == "exec")
}

/// Finds the command, or the subcommand, that a request names.
fn resolve(request: &Request<'_>) -> Result<(CommandId, &'static Command), CommandError> {
    let name = request.get(0).unwrap_or_default();
    let (id, command) = find(name).ok_or_else(|| unknown_command(request))?;
    match request.get(1) {
        Some(name) if command.is(flag::CONTAINER) => {
            command::find_subcommand(command, name).ok_or_else(|| unknown_subcommand(command, name))
        }
        _ => Ok((id, command)),
    }
}

/// Arguments of a command that does not take a list of keys.
const OTHER_ARGUMENTS: usize = 128;

/// The one place that every command passes before it is executed or queued, and again when `EXEC` executes it.
///
/// It sees who asks, what command it is, and which keys it names.
fn admit(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if !call.command.takes(call.request.len()) {
        return Err(CommandError::arity(call.command));
    }
    if call.command.is(flag::PROTECTED) {
        return (call.command.handler)(call);
    }
    let most = call.core.options.keys_per_command;
    if call.command.key_count(&call.request) > most {
        return Err(CommandError::from(format!("ERR too many keys in one command: at most {most} are served")));
    }
    let takes_any_keys = call.command.keys.iter().flatten().any(|keys| keys.last < 0);
    if !takes_any_keys && call.request.len() > OTHER_ARGUMENTS {
        return Err(CommandError::from(format!("ERR too many arguments: at most {OTHER_ARGUMENTS} are served")));
    }
    authorize(call)?;
    if call.command.is(flag::WRITE) && call.store.refuses_writes().is_some() {
        return Err(CommandError::NOT_KEPT);
    }
    Ok(())
}

/// Arguments that cost as much as another request: a command that names many keys uses up more of its client's share of the
/// turn.
const ARGUMENTS_PER_REQUEST: usize = 16;

/// Of so many calls of a command one is timed, the first of them: to read a clock takes as long as a part of a small command.
const CALLS_TIMED: u64 = 16;

/// The clock and the time by it, where this call is one of those that are timed.
fn begin_timing(call: &Call<'_, '_>) -> Option<(fn() -> Instant, Instant)> {
    let calls = call.core.calls.get(call.id.index())?;
    let clock = call.core.options.clock.filter(|_| calls.total.is_multiple_of(CALLS_TIMED))?;
    Some((clock, clock()))
}

/// Calls the handler and writes what it fails with.
fn execute(call: &mut Call<'_, '_>) {
    let began = begin_timing(call);
    let is_untouched = call.session.is_untouching && call.command.name != "touch";
    // Commands of a transaction are executed within `EXEC`, each by its own rule.
    let outer = call.store.set_untouched(is_untouched);
    let outcome = (call.command.handler)(call);
    call.store.set_untouched(outer);
    // A heavy one has cost as much as all that one client may ask for in a turn.
    let is_heavy = call.command.is(flag::HEAVY);
    let share =
        if is_heavy { call.exchange.env.limits.requests_per_turn } else { call.request.len() / ARGUMENTS_PER_REQUEST };
    call.exchange.spend(share);
    let failed = u64::from(outcome.is_err());
    let took = began.map(|(clock, began)| clock().saturating_duration_since(began));
    if let Some(calls) = call.core.calls.get_mut(call.id.index()) {
        calls.total += 1;
        calls.failed += failed;
        if let Some(took) = took {
            calls.timed += 1;
            calls.took += took;
        }
    }
    if let Err(failure) = outcome {
        call.reply().error(failure.text());
    }
}

fn unknown_command(request: &Request<'_>) -> CommandError {
    const LONGEST: usize = 128;
    let name = quoted(request.get(0).unwrap_or_default(), LONGEST);
    let mut text = [b"ERR unknown command '", name, b"', with args beginning with: "].concat();
    let start = text.len();
    for argument in request.from(1) {
        let Some(room) = LONGEST.checked_sub(text.len() - start).filter(|&room| room > 0) else { break };
        text.extend_from_slice(&[b"'", quoted(argument, room), b"' "].concat());
    }
    CommandError::from(text)
}

fn unknown_subcommand(container: &Command, name: &[u8]) -> CommandError {
    let tail = format!("'. Try {} HELP.", container.name.to_uppercase());
    CommandError::from([b"ERR unknown subcommand '", quoted(name, 128), tail.as_bytes()].concat())
}
