//! `latchkey wrap`: TLS for an existing server.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::ClientConfig;
use tracing::level_filters::LevelFilter;

use super::address::{ListenAddress, bare, host_and_port};
use super::descriptors::{Operators, Shortage};
use super::guard::GuardArgs;
use super::logging::Logging;
use super::reload::{self, Recipe};
use super::threads::Threads;
use super::tls_options::TlsArgs;
use super::{Failure, client_tls, descriptors, signals, terminal, units};
use crate::limits::Limits;
use crate::net::{Address, Lookup, Subnet, Target};
use crate::server::{BindError, Bound, ListenerConfig, Security, Servers};
use crate::services::{Renewable, Splice, UpstreamSecurity};

/// Minimum time between two lookups of a name, however many connections fail.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// Put TLS in front of an existing server
///
/// Clients connect to --listen over TLS; data is forwarded to --to without TLS, and back. With --originate the
/// directions are swapped: clients connect without TLS, and the backend is reached over verified TLS. One line goes to
/// stdout: `listening wrap tls://HOST:PORT`. Everything else goes to stderr. SIGTERM and SIGINT stop accepting; open
/// connections have --drain-timeout to finish. Files named by TLS flags are reloaded, all or none, at SIGHUP and when
/// they change.
#[derive(Clone, Debug, Args)]
pub(super) struct WrapArgs {
    /// Address to listen on, host:port; port 0 picks a free port
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse)]
    listen: ListenAddress,
    /// The backend, HOST:PORT or unix:PATH
    ///
    /// The addresses of a name are tried in order. The name is resolved at start, and again when no address accepts
    /// connections.
    #[arg(long, value_name = "SERVER", value_parser = Upstream::parse)]
    to: Upstream,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    originate: OriginateArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Number of threads that serve clients, or 'auto' for one per processor
    #[arg(long, value_name = "N", default_value_t, value_parser = Threads::parse)]
    threads: Threads,
    /// Log level on stderr: off, error, warn, info, debug
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: LevelFilter,
}

/// Flags about TLS clients, which a listener of --originate does not have.
const LISTENER_FLAGS: [&str; 8] =
    ["client_ca", "client_pin", "client_auth", "crl", "reauth_after", "tls_min", "pq", "authorize"];

/// TLS towards the backend.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS to the backend")]
struct OriginateArgs {
    /// Listen without TLS and connect to the backend over verified TLS; --cert and --key are the client certificate
    /// sent to it
    #[arg(long, conflicts_with_all = LISTENER_FLAGS)]
    originate: bool,
    /// Trust the backend by this PEM file: its CA's certificate, or its own self-signed one [default: the system's CAs]
    #[arg(long, value_name = "FILE", requires = "originate")]
    ca: Option<PathBuf>,
    /// Name expected in the backend's certificate [default: the HOST of --to]
    #[arg(long, value_name = "NAME", requires = "originate")]
    server_name: Option<String>,
    /// Listen without TLS on an address that other machines can reach: every client then uses the identity of --cert
    #[arg(long, requires = "originate")]
    allow_plain: bool,
}

/// The client's address behind a load balancer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "PROXY protocol")]
struct ProxyArgs {
    /// Send the backend a PROXY protocol version 2 header with the client's addresses, TLS version and certificate name
    #[arg(long)]
    proxy_protocol: bool,
    /// Load balancers whose connections begin with a PROXY protocol header (version 1 or 2), which is trusted
    /// [repeatable]
    #[arg(long, value_name = "CIDR")]
    accept_proxy_from: Vec<Subnet>,
}

/// Limits on what clients may use.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Maximum number of open clients [default: half of what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Time limit for the TLS handshake, from accept or from the backend's reply
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    handshake_timeout: Duration,
    /// Time limit for connecting to the backend
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::time)]
    connect_timeout: Duration,
    /// Close a client or backend that reads none of the bytes waiting for it, or fewer than --min-write-rate, for this
    /// time
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::time)]
    write_timeout: Duration,
    /// Close a connection on which no byte moves in either direction for this time, or 'off'
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = units::time_or_off)]
    idle_timeout: units::TimeOrOff,
    /// Close a half-closed connection on which no byte arrives for this time
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::time)]
    half_close_timeout: Duration,
    /// Time limit for open connections after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    drain_timeout: Duration,
    /// Bytes buffered in one direction of one connection above which its sender is not read
    #[arg(long, value_name = "BYTES", default_value = "256k", value_parser = units::bytes)]
    max_output: usize,
    #[command(flatten)]
    guard: GuardArgs,
    /// Time spent on handshakes per loop turn while established clients wait
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = units::time)]
    handshake_slice: Duration,
}

impl LimitArgs {
    fn limits(&self, threads: Threads) -> Result<(Limits, Option<Shortage>), Failure> {
        if self.max_output == 0 {
            return Err(Failure::usage("--max-output", "must be more than zero"));
        }
        let limits = Limits {
            handshake_timeout: self.handshake_timeout,
            connect_timeout: self.connect_timeout,
            write_timeout: self.write_timeout,
            half_close_timeout: self.half_close_timeout,
            drain_timeout: self.drain_timeout,
            output_bytes: self.max_output,
            // Forwarding stops at `--max-output`, so the hard limit is never reached.
            output_hard_bytes: usize::MAX,
            handshake_slice: self.handshake_slice,
            ..Limits::default()
        };
        // Each client needs two descriptors: its own connection and one to the backend.
        let used = descriptors::Use { client: 2, threads, data: false, operators: Operators::None };
        let (limits, shortage) = descriptors::fit(&limits, self.max_connections, used)?;
        Ok((self.guard.complete(&limits, self.guard.client_memory(None)?)?, shortage))
    }
}

/// The backend as given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Upstream {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Upstream {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            // No socket can have a path that does not fit into its address.
            std::os::unix::net::SocketAddr::from_pathname(path)
                .map_err(|error| format!("no socket can have this path: {error}"))?;
            return Ok(Self::Unix(path.into()));
        }
        if text.contains('/') {
            return Err("a backend is HOST:PORT or unix:PATH, without a scheme or a path".into());
        }
        let (host, port) = host_and_port(text).map_err(|error| format!("{error}; or unix:PATH"))?;
        Ok(Self::Tcp { host: bare(&host).to_owned(), port })
    }

    /// Resolves the name; may block for seconds.
    fn resolve(&self) -> io::Result<Vec<Address>> {
        match self {
            Self::Tcp { host, port } => Ok((host.as_str(), *port).to_socket_addrs()?.map(Address::Tcp).collect()),
            Self::Unix(path) => Ok(vec![Address::Unix(path.clone())]),
        }
    }

    fn target(&self) -> Result<Target, Failure> {
        let addresses = self.resolve().map_err(|error| Failure::usage("--to", format!("{self}: {error}")))?;
        let (target, lookup) = Target::new(addresses);
        if matches!(self, Self::Tcp { .. }) {
            look_up(lookup, self.clone());
        }
        Ok(target)
    }
}

/// Resolves the name on request, on its own thread.
#[expect(clippy::disallowed_methods, reason = "looking a name up blocks; the loop must not")]
fn look_up(lookup: Lookup, upstream: Upstream) {
    std::thread::spawn(move || {
        lookup.run(|| {
            std::thread::sleep(LOOKUP_PAUSE);
            upstream.resolve()
        });
    });
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &WrapArgs) -> Result<ExitCode, Failure> {
    let logging = Logging::start(args.log_level);
    args.tls.check_use(args.originate.originate)?;
    args.limits.guard.check_use(!args.originate.originate)?;
    let (limits, shortage) = args.limits.limits(args.threads)?;
    // After the descriptor limit was raised: each poller needs some.
    let (mut first, others) = args.threads.pollers()?;
    let recipe = args.recipe()?;
    let address = args.listen.resolve("--listen")?;
    args.check_exposure(address)?;
    // Before any file is created: a command that cannot run leaves nothing behind.
    let sockets = Bound::new(&mut first, &limits, [address]).map_err(|BindError { error, .. }| {
        Failure::usage("--listen", format!("cannot listen on {}: {error}", args.listen))
    })?;
    let prepared = recipe.as_ref().map(|recipe| recipe.prepare(None)).transpose()?;
    if let Some(prepared) = &prepared {
        check_rules(&prepared.security)?;
    }
    // There is one listener, so one security value.
    let security = prepared.as_ref().map_or_else(|| vec![Security::Plain], |prepared| prepared.security.clone());
    let configs = security.iter().map(|security| ListenerConfig {
        idle_timeout: args.limits.idle_timeout.0,
        balancers: args.proxy.accept_proxy_from.clone().into(),
        ..ListenerConfig::new(address, security.clone())
    });
    let upstream = args.upstream_security()?;
    let target = args.to.target()?;
    let service = |_| Splice::new(target.clone(), upstream.clone(), args.proxy.proxy_protocol);
    let mut servers = Servers::on(sockets, first, others, service, configs.collect(), limits);
    let handle = servers.handle();
    signals::stop_on_signal(handle.clone())?;
    if let (Some(recipe), Some(prepared)) = (recipe, prepared) {
        reload::keep_current(recipe, prepared, handle.clone())?;
    }
    let behind = args.describe(&upstream);
    if let UpstreamSecurity::Tls(config, _) = upstream {
        let flags = args.clone();
        let renew = move || flags.upstream_config().map(|fresh| config.renew(fresh));
        reload::keep_renewed(args.upstream_files(), handle, renew)?;
    }
    shortage.into_iter().for_each(Shortage::say);
    for (security, address) in security.iter().zip(servers.addresses()) {
        announce(security, address, &behind);
    }
    servers.run()?;
    drop(logging);
    Ok(ExitCode::SUCCESS)
}

impl WrapArgs {
    /// How clients are protected; `None` without TLS.
    fn recipe(&self) -> Result<Option<Recipe>, Failure> {
        match (self.originate.originate, self.listen.plain) {
            (true, _) => Ok(None),
            (false, false) => {
                Ok(Some(Recipe { tls: self.tls.clone(), listeners: vec![Some(&[])], reach: Splice::reach }))
            }
            (false, true) => Err(Failure::usage(
                "--listen",
                "wrap listens with TLS: remove plain://, or pass --originate for TLS to the backend instead",
            )),
        }
    }

    fn check_exposure(&self, address: SocketAddr) -> Result<(), Failure> {
        let originate = &self.originate;
        if originate.allow_plain && address.ip().is_loopback() {
            let problem = "--listen is a loopback address: remove this flag";
            return Err(Failure::usage("--allow-plain", problem));
        }
        if originate.originate && !originate.allow_plain && !address.ip().is_loopback() {
            let problem = format!(
                "every client that can reach {address} would use the identity of --cert: listen on a loopback address, \
                 or pass --allow-plain"
            );
            return Err(Failure::usage("--listen", problem));
        }
        Ok(())
    }

    /// The files that determine TLS towards the backend.
    fn upstream_files(&self) -> Vec<PathBuf> {
        self.originate.ca.iter().chain(self.tls.files()).cloned().collect()
    }

    /// The TLS configuration for the backend, from the files as they are now.
    fn upstream_config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let (ca, identity) = (self.originate.ca.as_deref(), self.tls.client_identity()?);
        Ok(client_tls::policy(ca, identity, &[], self.tls.max_chain())?.config())
    }

    /// The start line about the backend.
    fn describe(&self, security: &UpstreamSecurity) -> String {
        match security {
            UpstreamSecurity::Plain => format!("backend {}: plain TCP", self.to),
            UpstreamSecurity::Tls(_, name) => {
                let ca = self.originate.ca.as_ref().map(|path| path.display().to_string());
                let ca = ca.unwrap_or_else(|| "the system's CAs".to_owned());
                let shown = if self.tls.has_identity() { "client certificate --cert" } else { "no client certificate" };
                format!("backend {}: TLS, verified as {} with {ca}, {shown}", self.to, name.to_str())
            }
        }
    }

    /// How the backend is reached.
    fn upstream_security(&self) -> Result<UpstreamSecurity, Failure> {
        if !self.originate.originate {
            return Ok(UpstreamSecurity::Plain);
        }
        let name = match (&self.originate.server_name, &self.to) {
            (Some(name), _) => name,
            (None, Upstream::Tcp { host, .. }) => host,
            (None, Upstream::Unix(_)) => {
                return Err(Failure::usage("--server-name", "required to verify a backend on a Unix socket"));
            }
        };
        let name = client_tls::server_name(name)?;
        Ok(UpstreamSecurity::Tls(Renewable::new(self.upstream_config()?), name))
    }
}

/// Refuses to start with rules that admit no client. A reload is not refused: its purpose may be to shut clients out.
fn check_rules(security: &[Security]) -> Result<(), Failure> {
    let grants_nobody =
        |security: &Security| matches!(security, Security::Tls(gate) if gate.grants_nobody(Splice::CONNECT));
    if security.iter().any(grants_nobody) {
        let problem = "no rule grants \"connect\", so no client is admitted: write grant = [\"connect\"]";
        return Err(Failure::usage("--authorize", problem));
    }
    Ok(())
}

/// Prints the listener's address on stdout, for scripts, and what it requires of clients on stderr.
fn announce(security: &Security, address: SocketAddr, behind: &str) {
    let scheme = security.scheme();
    terminal::announce(&format!("listening wrap {scheme}://{address}\n"));
    terminal::tell(format_args!("wrap {scheme}://{address}: {}", security.describe()));
    terminal::tell(format_args!("to {behind}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_host_and_port_or_a_unix_path() {
        let tcp = |host: &str, port| Ok(Upstream::Tcp { host: host.into(), port });
        assert_eq!(Upstream::parse("localhost:6379"), tcp("localhost", 6379));
        assert_eq!(Upstream::parse("[::1]:80"), tcp("::1", 80));
        assert_eq!(Upstream::parse("unix:/run/redis.sock"), Ok(Upstream::Unix("/run/redis.sock".into())));
        for bad in
            ["", "localhost", "http://localhost:80", "localhost:80/", ":80", "localhost:0", "localhost:99999", "unix:"]
        {
            assert!(Upstream::parse(bad).is_err(), "{bad}");
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert!(Upstream::parse(&long).is_err_and(|error| error.contains("no socket can have this path")));
    }
}
