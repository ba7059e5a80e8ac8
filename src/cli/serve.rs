//! `latchkey serve`: echo and key/value over TLS.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::address::ListenAddress;
use super::data::DataArgs;
use super::descriptors::{Operators, Shortage};
use super::development::DevelopmentIdentities;
use super::guard::GuardArgs;
use super::hints::{self, Reachable, Standing};
use super::logging::Logging;
use super::reload::{self, Recipe};
use super::threads::Threads;
use super::tls_options::TlsArgs;
use super::{Failure, descriptors, processor, signals, terminal, units};
use crate::access::Gate;
use crate::limits::Limits;
use crate::net::Net;
use crate::server::{BindError, Bound, ListenerConfig, Security, Servers};
use crate::services::resp::RespOptions;
use crate::services::xmlrpc::{FaultStyle, XmlRpcOptions};
use crate::services::{Builtin, BuiltinOptions, Protocol};
use crate::store::{Eviction, StoreOptions};

/// Serve echo and key/value over TLS
///
/// Without a listener flag, all protocols are served on loopback, on the ports shown below. ADDR is host:port for TLS
/// or plain://host:port without; port 0 picks a free port. One line per listener goes to stdout: `listening PROTOCOL
/// tls://HOST:PORT`. Everything else goes to stderr. SIGTERM and SIGINT stop the server after the requests received
/// have been answered. Files named by TLS flags are reloaded, all or none, at SIGHUP and when they change.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Echo every byte [repeatable; default: 127.0.0.1:20000]
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = "Listeners")]
    echo: Vec<ListenAddress>,
    /// XML-RPC key/value over HTTPS [repeatable; default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = "Listeners")]
    xmlrpc: Vec<ListenAddress>,
    /// Key/value over the Redis protocol (RESP) [repeatable; default: 127.0.0.1:6380]
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = "Listeners")]
    resp: Vec<ListenAddress>,
    /// Prometheus metrics at /metrics, and /health, over HTTPS [repeatable; default: none]
    ///
    /// With --authorize, a rule must grant "metrics" by name.
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = "Listeners")]
    admin: Vec<ListenAddress>,
    /// Allow key/value and metrics without TLS on an address that other machines can reach
    #[arg(long, help_heading = "Listeners")]
    allow_plain: bool,
    /// Allow key/value and metrics over TLS, for clients without a certificate, on an address that other machines can
    /// reach
    #[arg(long, help_heading = "Listeners")]
    allow_anonymous: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Fault codes sent to XML-RPC clients [default: python]
    #[arg(long, value_enum, value_name = "STYLE", help_heading = "Protocols")]
    faults: Option<FaultsArg>,
    /// What to do when --max-memory is reached [default: noeviction]
    #[arg(long, value_enum, value_name = "POLICY", help_heading = "Protocols", requires = "max_memory")]
    max_memory_policy: Option<EvictionArg>,
    /// Number of threads that serve clients, or 'auto' for one per processor; only 1 with --xmlrpc or --resp
    #[arg(long, value_name = "N", default_value_t, value_parser = Threads::parse)]
    threads: Threads,
    /// Log level on stderr: off, error, warn, info, debug
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: LevelFilter,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FaultsArg {
    /// As Python's server: code 1 and the text of the exception
    Python,
    /// The standard codes (-32700 and so on)
    Standard,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum EvictionArg {
    /// Refuse writes; reads continue
    Noeviction,
    /// Evict the least recently used keys
    Allkeys,
    /// Evict the least recently used keys that have a TTL
    Volatile,
}

/// Limits on what clients may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Maximum number of open connections over all listeners [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Connections reserved for --admin listeners, counted after the handshake, and as many handshakes. When all are in
    /// use, a new one takes a client's connection, and when those are in use too, replaces the --admin connection that
    /// has been silent for longest [default: 16, or fewer if the descriptor limit is low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    admin_connections: Option<u32>,
    /// Time limit for the TLS handshake, from accept
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    handshake_timeout: Duration,
    /// Time limit for receiving one request, from its first byte
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::time)]
    request_timeout: Duration,
    /// Time limit for receiving the head of an HTTP request, from its first byte [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    header_timeout: Option<Duration>,
    /// Close a client that reads none of the bytes waiting for it, or fewer than --min-write-rate, for this time
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::time)]
    write_timeout: Duration,
    /// Close a half-closed connection whose remaining replies make no progress for this time
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::time)]
    half_close_timeout: Duration,
    /// Close a connection without requests for this time, or 'off' [default: 5m over HTTP, off elsewhere]
    #[arg(long, value_name = "TIME", value_parser = units::time_or_off)]
    idle_timeout: Option<units::TimeOrOff>,
    /// Time limit for open connections after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    drain_timeout: Duration,
    /// Maximum size of a request in bytes; at most half of --max-client-memory, since buffers grow by doubling
    /// [default: 64m, or that half if it is less]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_request: Option<usize>,
    /// Maximum size of an XML-RPC call and of its reply in bytes; at most --max-request. One megabyte occupies the loop
    /// for two to three milliseconds [default: 17m]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_call: Option<usize>,
    /// Memory for keys, values and client buffers in bytes; --max-client-memory of it is reserved for clients [default:
    /// no limit]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_memory: Option<usize>,
    /// Bytes of replies waiting for one client above which its requests are not decoded
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = units::bytes)]
    max_output: usize,
    /// Bytes of replies waiting for one client above which it is closed; at least --max-request, or a value could be
    /// set but not read [default: 256m, or four times --max-request if that is more]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_output_hard: Option<usize>,
    #[command(flatten)]
    guard: GuardArgs,
    /// Time spent on handshakes per loop turn while established clients wait
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = units::time)]
    handshake_slice: Duration,
}

/// Why a request may not take all of the client memory.
const DOUBLING: &str = "the buffer of a request that arrives in pieces grows by doubling";

/// Why the limit on replies may not be below the limit on requests.
const UNREADABLE: &str = "a value could be set but not read";

/// The size of a value as XML, at most, in multiples of the size it was sent in.
const XML_GROWTH: usize = 4;

impl LimitArgs {
    /// The limits, fitted to the machine. `data`: whether there is a data directory. `admin`: whether there are
    /// `--admin` listeners.
    fn limits(&self, threads: Threads, data: bool, admin: bool) -> Result<(Limits, Option<Shortage>), Failure> {
        let usual = Limits::default();
        let client_memory = self.guard.client_memory(self.max_memory)?;
        let (request_bytes, output_hard_bytes) = self.sizes(&usual, client_memory)?;
        let limits = Limits {
            handshake_timeout: self.handshake_timeout,
            header_timeout: self.header_timeout.unwrap_or(usual.header_timeout),
            request_timeout: self.request_timeout,
            write_timeout: self.write_timeout,
            half_close_timeout: self.half_close_timeout,
            drain_timeout: self.drain_timeout,
            request_bytes,
            call_bytes: self.max_call.unwrap_or(usual.call_bytes),
            output_bytes: self.max_output,
            output_hard_bytes,
            handshake_slice: self.handshake_slice,
            ..usual
        };
        let operators = match self.admin_connections {
            Some(wanted) if admin => Operators::Wanted(wanted),
            None if admin => Operators::Usual,
            _ => Operators::None,
        };
        let used = descriptors::Use { client: 1, threads, data, operators };
        let (limits, shortage) = descriptors::fit(&limits, self.max_connections, used)?;
        Ok((self.guard.complete(&limits, client_memory)?, shortage))
    }

    /// The maximum size of a request, and of the replies waiting for one client, in bytes. Refuses values that another
    /// limit makes unusable.
    fn sizes(&self, usual: &Limits, client_memory: usize) -> Result<(usize, usize), Failure> {
        let request_bytes = self.max_request.unwrap_or(usual.request_bytes.min(client_memory / 2));
        if request_bytes > client_memory / 2 {
            let problem = format!("must be at most half of --max-client-memory, which is {client_memory}: {DOUBLING}");
            return Err(Failure::usage("--max-request", problem));
        }
        if self.max_call.is_some_and(|call_bytes| call_bytes > request_bytes) {
            let problem = format!("must not be more than --max-request, which is {request_bytes}: a call is a request");
            return Err(Failure::usage("--max-call", problem));
        }
        let most = usual.output_hard_bytes.max(request_bytes.saturating_mul(XML_GROWTH)).max(self.max_output);
        let output_hard_bytes = self.max_output_hard.unwrap_or(most);
        if output_hard_bytes < self.max_output {
            return Err(Failure::usage("--max-output-hard", "must not be less than --max-output"));
        }
        if output_hard_bytes < request_bytes {
            let problem = format!("must not be less than --max-request, which is {request_bytes}: {UNREADABLE}");
            return Err(Failure::usage("--max-output-hard", problem));
        }
        Ok((request_bytes, output_hard_bytes))
    }

    fn idle_timeout(&self, protocol: Protocol) -> Option<Duration> {
        // HTTP clients retry when an idle connection has been closed; other clients may not.
        let is_http = matches!(protocol, Protocol::XmlRpc | Protocol::Admin);
        let usual = is_http.then_some(Duration::from_mins(5));
        self.idle_timeout.map_or(usual, |chosen| chosen.0)
    }
}

/// Runs the server until SIGTERM or SIGINT.
pub(super) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let logging = Logging::start(args.log_level);
    let wanted = args.listeners();
    args.check_use(&wanted)?;
    let (limits, shortage) = args.limits.limits(args.threads, args.data.is_given(), !args.admin.is_empty())?;
    // After the descriptor limit was raised: each poller needs some.
    let (mut first, others) = args.threads.pollers()?;
    let (wake, now) = (first.waker(), first.now());
    // Before any file is created: a command that cannot run leaves nothing behind.
    let listeners = args.resolve(wanted)?;
    let addresses = listeners.iter().map(|listener| listener.address);
    let sockets = Bound::new(&mut first, &limits, addresses).map_err(|error| args.cannot_listen(&listeners, &error))?;
    args.check_openness(&listeners)?;
    let recipe = args.recipe(&listeners);
    let prepared = recipe.prepare(None)?;
    let configs = args.configure(&listeners, &prepared.security);
    let protocols = listeners.iter().map(|listener| listener.protocol).collect();
    let options = args.services(protocols, limits.client_memory)?;
    let service = |_| Builtin::new(options.clone(), now);
    let mut servers = Servers::on(sockets, first, others, service, configs.clone(), limits);
    let addresses = servers.addresses();
    signals::stop_on_signal(servers.handle())?;
    let development = prepared.development.clone();
    reload::keep_current(recipe, prepared, servers.handle())?;
    let service = servers.first_mut().service_mut();
    service.watch_log(logging.dropped());
    args.data.load(service.store_mut(), wake)?;
    shortage.into_iter().for_each(Shortage::say);
    let reachable: Vec<Served> = Served::all(&listeners, &configs, &addresses);
    announce(&reachable);
    if let Some(development) = &development {
        if reachable.iter().any(|reachable| reachable.security.is_tls() && !reachable.address.ip().is_loopback()) {
            tracing::warn!(
                "the development certificate is for localhost only, and every user who can read certs/ can impersonate \
                 this server: where other machines connect, pass your own with --cert and --key"
            );
        }
        suggest(development, &reachable);
    }
    let ran = servers.run();
    let closed = servers.first_mut().service_mut().close().map_err(|failure| Failure::Other(failure.to_string()));
    drop(logging);
    ran?;
    closed.map(|()| ExitCode::SUCCESS)
}

impl ServeArgs {
    /// The listeners given, or the default ports.
    fn listeners(&self) -> Vec<(Protocol, ListenAddress)> {
        let named = |protocol, addresses: &[ListenAddress]| {
            addresses.iter().map(|address| (protocol, address.clone())).collect::<Vec<_>>()
        };
        let echo = named(Protocol::Echo, &self.echo);
        let mut all = [echo, named(Protocol::XmlRpc, &self.xmlrpc), named(Protocol::Resp, &self.resp)].concat();
        if all.is_empty() {
            all = vec![
                (Protocol::Echo, ListenAddress::local(20_000)),
                (Protocol::XmlRpc, ListenAddress::local(15_000)),
                (Protocol::Resp, ListenAddress::local(6380)),
            ];
        }
        all.extend(named(Protocol::Admin, &self.admin));
        all
    }

    /// Resolves the addresses; refuses those where data would cross the network in the clear.
    fn resolve(&self, wanted: Vec<(Protocol, ListenAddress)>) -> Result<Vec<Listener>, Failure> {
        let resolve = |(protocol, asked): (Protocol, ListenAddress)| {
            let address = asked.resolve(&Listener::flag(protocol))?;
            let listener = Listener { protocol, asked, address };
            if listener.is_exposed() && !self.allow_plain {
                let problem = "would send keys or metrics over the network unencrypted: use TLS, or pass --allow-plain";
                return Err(Failure::usage(&Listener::flag(protocol), format!("plain://{address} {problem}")));
            }
            Ok(listener)
        };
        let listeners = wanted.into_iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        if self.allow_plain && !listeners.iter().any(Listener::is_exposed) {
            let problem = "no key/value or metrics listener uses plain:// on an address that other machines can reach: \
                           remove this flag";
            return Err(Failure::usage("--allow-plain", problem));
        }
        Ok(listeners)
    }

    /// Refuses flags without effect on the listeners.
    fn check_use(&self, listeners: &[(Protocol, ListenAddress)]) -> Result<(), Failure> {
        let is_served = |wanted: &[Protocol]| listeners.iter().any(|(protocol, _)| wanted.contains(protocol));
        let of_calls = [("--faults", self.faults.is_some()), ("--max-call", self.limits.max_call.is_some())];
        if let Some((flag, _)) = of_calls.into_iter().find(|(_, is_given)| *is_given)
            && !is_served(&[Protocol::XmlRpc])
        {
            return Err(Failure::usage(flag, "there is no XML-RPC listener: add --xmlrpc ADDR, or remove this flag"));
        }
        let of_keys = [("--data", self.data.is_given()), ("--max-memory", self.limits.max_memory.is_some())];
        if let Some((flag, _)) = of_keys.into_iter().find(|(_, is_given)| *is_given)
            && !is_served(&[Protocol::XmlRpc, Protocol::Resp])
        {
            return Err(Failure::usage(
                flag,
                "there is no key/value listener: add --resp or --xmlrpc ADDR, or remove this flag",
            ));
        }
        if self.limits.admin_connections.is_some() && !is_served(&[Protocol::Admin]) {
            let problem = "there is no admin listener: add --admin ADDR, or remove this flag";
            return Err(Failure::usage("--admin-connections", problem));
        }
        if self.limits.header_timeout.is_some() && !is_served(&[Protocol::XmlRpc, Protocol::Admin]) {
            let problem = "there is no HTTP listener: add --xmlrpc or --admin ADDR, or remove this flag";
            return Err(Failure::usage("--header-timeout", problem));
        }
        if self.threads.count() > 1 && is_served(&[Protocol::XmlRpc, Protocol::Resp]) {
            let problem =
                "keys are served by one thread: choose other listeners than --xmlrpc and --resp, or remove this flag";
            return Err(Failure::usage("--threads", problem));
        }
        self.limits.guard.check_use(listeners.iter().any(|(_, address)| !address.plain))?;
        self.tls.check_use(false)
    }

    fn cannot_listen(&self, listeners: &[Listener], failed: &BindError) -> Failure {
        let error = &failed.error;
        let Some(Listener { protocol, asked, .. }) = listeners.get(failed.listener) else {
            return Failure::Other(error.to_string());
        };
        let is_named = !self.echo.is_empty() || !self.xmlrpc.is_empty() || !self.resp.is_empty();
        if is_named || *protocol == Protocol::Admin {
            return Failure::usage(&Listener::flag(*protocol), format!("cannot listen on {asked}: {error}"));
        }
        Failure::Usage(format!(
            "cannot listen on {asked}, the default for {}: {error}; choose listeners with other ports: --echo, \
             --xmlrpc or --resp ADDR",
            protocol.name()
        ))
    }

    /// How the listeners are protected.
    fn recipe(&self, listeners: &[Listener]) -> Recipe {
        let alpn = listeners.iter().map(|listener| (!listener.asked.plain).then(|| listener.protocol.alpn()));
        Recipe { tls: self.tls.clone(), listeners: alpn.collect(), reach: Builtin::reach }
    }

    /// The options of the services, with new secrets from the operating system.
    fn services(&self, listeners: Vec<Protocol>, client_memory: usize) -> Result<BuiltinOptions, Failure> {
        let mut secret = [0; 24];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| Failure::Other("the operating system returns no random numbers".into()))?;
        let (hash_key, seed) = secret.split_at(16);
        let (eviction, max_memory_policy) = match self.max_memory_policy.unwrap_or(EvictionArg::Noeviction) {
            EvictionArg::Noeviction => (Eviction::NoEviction, "noeviction"),
            EvictionArg::Allkeys => (Eviction::AllKeys, "allkeys-lru"),
            EvictionArg::Volatile => (Eviction::Volatile, "volatile-lru"),
        };
        let faults = match self.faults.unwrap_or(FaultsArg::Python) {
            FaultsArg::Python => FaultStyle::Python,
            FaultsArg::Standard => FaultStyle::Standard,
        };
        let max_memory = self.limits.max_memory;
        Ok(BuiltinOptions {
            listeners,
            store: StoreOptions {
                max_memory,
                client_reserve: client_memory,
                eviction,
                hash_key: hash_key.try_into().unwrap_or_default(),
            },
            xmlrpc: XmlRpcOptions { faults },
            resp: RespOptions {
                max_memory: max_memory.unwrap_or_default() as u64,
                max_memory_policy,
                idle_seconds: self.limits.idle_timeout(Protocol::Resp).unwrap_or_default().as_secs(),
                clock: Some(processor::clock),
                processor_time: Some(processor::time),
                seed: u64::from_le_bytes(seed.try_into().unwrap_or_default()),
                ..RespOptions::default()
            },
        })
    }

    /// Refuses to serve keys over TLS to clients without a certificate on the network, unless `--allow-anonymous` was given.
    fn check_openness(&self, listeners: &[Listener]) -> Result<(), Failure> {
        let mut open = listeners.iter().filter(|listener| listener.is_open(&self.tls));
        match (open.next(), self.allow_anonymous) {
            (Some(Listener { protocol, address, .. }), false) => Err(Failure::usage(
                &Listener::flag(*protocol),
                format!(
                    "every client that can reach {address} would have access: no client certificate is required; add \
                     --client-ca or --client-pin, listen on a loopback address, or pass --allow-anonymous"
                ),
            )),
            (None, true) => Err(Failure::usage(
                "--allow-anonymous",
                "no key/value or metrics listener accepts clients without a certificate from other machines: remove this \
                 flag",
            )),
            _ => Ok(()),
        }
    }

    fn configure(&self, listeners: &[Listener], security: &[Security]) -> Vec<ListenerConfig> {
        let configure = |(listener, security): (&Listener, &Security)| ListenerConfig {
            idle_timeout: self.limits.idle_timeout(listener.protocol),
            for_operators: listener.protocol == Protocol::Admin,
            ..ListenerConfig::new(listener.address, security.clone())
        };
        listeners.iter().zip(security).map(configure).collect()
    }
}

/// A listener named on the command line, or a default one.
struct Listener {
    protocol: Protocol,
    asked: ListenAddress,
    address: SocketAddr,
}

impl Listener {
    fn flag(protocol: Protocol) -> String {
        format!("--{}", protocol.name())
    }

    fn is_beyond_this_machine(&self) -> bool {
        self.protocol != Protocol::Echo && !self.address.ip().is_loopback()
    }

    /// Whether it sends keys or metrics over the network unencrypted.
    fn is_exposed(&self) -> bool {
        self.asked.plain && self.is_beyond_this_machine()
    }

    /// Whether it accepts clients without a certificate from other machines.
    fn is_open(&self, tls: &TlsArgs) -> bool {
        !self.asked.plain && self.is_beyond_this_machine() && !tls.knows_clients()
    }
}

/// A bound listener.
struct Served<'a> {
    protocol: Protocol,
    /// The bound address; the port may have been chosen by the system.
    address: SocketAddr,
    security: &'a Security,
}

impl<'a> Served<'a> {
    fn all(listeners: &[Listener], configs: &'a [ListenerConfig], addresses: &[SocketAddr]) -> Vec<Self> {
        let served = listeners.iter().zip(configs).zip(addresses).map(|((listener, config), address)| Self {
            protocol: listener.protocol,
            address: *address,
            security: &config.security,
        });
        served.collect()
    }

    fn gate(&self) -> Option<&'a Gate> {
        match self.security {
            Security::Tls(gate) => Some(gate),
            Security::Plain => None,
        }
    }
}

/// Prints the addresses of the listeners on stdout, for scripts, and what each requires of clients on stderr.
fn announce(listeners: &[Served]) {
    let mut lines = String::new();
    for Served { protocol, address, security } in listeners {
        let (name, scheme) = (protocol.name(), security.scheme());
        let _ = writeln!(lines, "listening {name} {scheme}://{address}");
        terminal::tell(format_args!("{name} {scheme}://{address}: {}", security.describe()));
    }
    terminal::announce(&lines);
}

/// Prints on stderr how to try the listeners.
fn suggest(development: &DevelopmentIdentities, listeners: &[Served]) {
    // All listeners share one TLS configuration, so any gate judges a client in the same way.
    let Some(gate) = listeners.iter().find_map(Served::gate) else { return };
    let with_tls = listeners.iter().filter(|served| served.security.is_tls());
    let reachable: Vec<_> =
        with_tls.map(|Served { protocol, address, .. }| Reachable { protocol: *protocol, address: *address }).collect();
    terminal::tell_lines(&hints::how_to_connect(development, &reachable, &Standing::before(gate, development)));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[test]
    fn an_unavailable_default_port_is_reported_without_a_flag() {
        let refusal = |line: &[&str], index: usize| {
            let args = Line::parse_from([&["serve"], line].concat()).serve;
            let listeners: Vec<Listener> = args.resolve(args.listeners()).expect("addresses");
            let address = listeners[index].address;
            let error = std::io::ErrorKind::AddrInUse.into();
            args.cannot_listen(&listeners, &BindError { listener: index, address, error }).to_string()
        };
        let said = refusal(&["--admin", "127.0.0.1:9180"], 0);
        assert!(said.starts_with("cannot listen on 127.0.0.1:20000, the default for echo: "), "{said}");
        assert!(refusal(&["--admin", "127.0.0.1:9180"], 3).starts_with("--admin: cannot listen on 127.0.0.1:9180"));
        assert!(refusal(&["--echo", "127.0.0.1:1"], 0).starts_with("--echo: cannot listen on 127.0.0.1:1: "));
    }
}
