//! `latchkey wrap`: TLS for a server that exists already.

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
use super::tls_options::TlsArgs;
use super::{Failure, client_tls, descriptors, signals, terminal, units};
use crate::limits::Limits;
use crate::net::mio::MioNet;
use crate::net::{Address, Lookup, Subnet, Target};
use crate::server::{BindError, Bound, ListenerConfig, Security, Server};
use crate::services::{Renewable, Splice, UpstreamSecurity};

/// A name is looked up again no sooner than this, however many connections fail.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// Put TLS in front of a server that exists already
///
/// Clients speak TLS to --listen; what they say goes on to --to in the clear, and the answers come back. With
/// --originate it is the other way round: clients speak in the clear, the server is spoken to over verified TLS. One
/// line goes to stdout: `listening wrap tls://HOST:PORT`. Everything else goes to stderr. SIGTERM and SIGINT stop
/// accepting; open connections get --drain-timeout to finish. The files that TLS flags name are reloaded, all or none, at
/// SIGHUP and when they change.
#[derive(Clone, Debug, Args)]
pub(super) struct WrapArgs {
    /// Where clients connect, host:port; port 0 picks a free one
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse)]
    listen: ListenAddress,
    /// The server, HOST:PORT or unix:PATH
    ///
    /// A name's addresses are tried in order. It is looked up at start, and again when no address answers.
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
    /// How much to log on stderr: off, error, warn, info, debug
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: LevelFilter,
}

/// What is asked of clients over TLS, which nobody speaks to a listener of --originate.
const LISTENER_FLAGS: [&str; 8] =
    ["client_ca", "client_pin", "client_auth", "crl", "reauth_after", "tls_min", "pq", "authorize"];

/// TLS towards the server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS to the server")]
struct OriginateArgs {
    /// Listen without TLS and speak verified TLS to the server; --cert and --key are then shown to it
    #[arg(long, conflicts_with_all = LISTENER_FLAGS)]
    originate: bool,
    /// Believe the server by this PEM file: its CA's certificate, or its own self-signed one [default: the system's CAs]
    #[arg(long, value_name = "FILE", requires = "originate")]
    ca: Option<PathBuf>,
    /// The name that must stand in the server's certificate [default: the HOST of --to]
    #[arg(long, value_name = "NAME", requires = "originate")]
    server_name: Option<String>,
    /// Listen without TLS on an address that other machines can reach: whoever connects speaks with --cert's identity
    #[arg(long, requires = "originate")]
    allow_plain: bool,
}

/// Who the client is, for those behind a balancer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "PROXY protocol")]
struct ProxyArgs {
    /// Tell the server who its client is, by a PROXY protocol version 2 header: addresses, TLS version, certificate name
    #[arg(long)]
    proxy_protocol: bool,
    /// Balancers whose connections begin with a PROXY protocol header (version 1 or 2), which is believed [repeatable]
    #[arg(long, value_name = "CIDR")]
    accept_proxy_from: Vec<Subnet>,
}

/// Bounds on what clients may cost.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Open clients [default: half of what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// From accept, or from the server's answer, to a finished TLS handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    handshake_timeout: Duration,
    /// How long the server may take to accept a connection
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::time)]
    connect_timeout: Duration,
    /// A client or server that takes none of the bytes waiting for it, or fewer than --min-write-rate
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::time)]
    write_timeout: Duration,
    /// A connection on which no byte moves in either direction, or 'off'
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = units::time_or_off)]
    idle_timeout: units::TimeOrOff,
    /// One side has finished and no byte comes from the other
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::time)]
    half_close_timeout: Duration,
    /// How long open connections may take to finish after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    drain_timeout: Duration,
    /// Bytes waiting in one direction of one connection before its sender is no longer read
    #[arg(long, value_name = "BYTES", default_value = "256k", value_parser = units::bytes)]
    max_output: usize,
    #[command(flatten)]
    guard: GuardArgs,
    /// Time spent on handshakes in one turn of the loop while established clients wait
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = units::time)]
    handshake_slice: Duration,
}

impl LimitArgs {
    fn limits(&self) -> Result<(Limits, Option<Shortage>), Failure> {
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
            // What is forwarded never goes beyond the one above.
            output_hard_bytes: usize::MAX,
            handshake_slice: self.handshake_slice,
            ..Limits::default()
        };
        // A client takes its own connection and one to the server.
        let used = descriptors::Use { client: 2, data: false, operators: Operators::None };
        let (limits, shortage) = descriptors::fit(&limits, self.max_connections, used)?;
        Ok((self.guard.complete(&limits, self.guard.client_memory(None)?)?, shortage))
    }
}

/// The server, as written.
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
            return Ok(Self::Unix(path.into()));
        }
        if text.contains('/') {
            return Err("a server is HOST:PORT or unix:PATH, with no scheme before it and no path behind it".into());
        }
        let (host, port) = host_and_port(text).map_err(|error| format!("{error}; or unix:PATH"))?;
        Ok(Self::Tcp { host: bare(&host).to_owned(), port })
    }

    /// Looks the name up, which may take long.
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

/// Looks a name up whenever that is asked for, on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "looking a name up blocks; the loop must not")]
fn look_up(lookup: Lookup, upstream: Upstream) {
    std::thread::spawn(move || {
        lookup.run(|| {
            std::thread::sleep(LOOKUP_PAUSE);
            upstream.resolve()
        });
    });
}

/// Runs until it is told to stop.
pub(super) fn run(args: &WrapArgs) -> Result<ExitCode, Failure> {
    let logging = Logging::start(args.log_level);
    let mut net = MioNet::new()?;
    args.tls.check_use(args.originate.originate)?;
    let (limits, shortage) = args.limits.limits()?;
    let recipe = args.recipe()?;
    let address = args.listen.resolve("--listen")?;
    args.check_exposure(address)?;
    // Before any file is made: what cannot be done leaves nothing behind.
    let sockets = Bound::new(&mut net, &limits, [address]).map_err(|BindError { error, .. }| {
        Failure::usage("--listen", format!("cannot listen on {}: {error}", args.listen))
    })?;
    let prepared = recipe.as_ref().map(|recipe| recipe.prepare(None)).transpose()?;
    if let Some(prepared) = &prepared {
        check_rules(&prepared.security)?;
    }
    // One listener, so one way of protecting it.
    let security = prepared.as_ref().map_or_else(|| vec![Security::Plain], |prepared| prepared.security.clone());
    let configs = security.iter().map(|security| ListenerConfig {
        idle_timeout: args.limits.idle_timeout.0,
        balancers: args.proxy.accept_proxy_from.clone().into(),
        ..ListenerConfig::new(address, security.clone())
    });
    let upstream = args.upstream_security()?;
    let service = Splice::new(args.to.target()?, upstream.clone(), args.proxy.proxy_protocol);
    let mut server = Server::on(sockets, net, service, configs.collect(), limits);
    signals::stop_on_signal(server.handle())?;
    if let (Some(recipe), Some(prepared)) = (recipe, prepared) {
        reload::keep_current(recipe, prepared, server.handle())?;
    }
    let behind = args.describe(&upstream);
    if let UpstreamSecurity::Tls(config, _) = upstream {
        let flags = args.clone();
        let renew = move || flags.upstream_config().map(|fresh| config.renew(fresh));
        reload::keep_renewed(args.upstream_files(), server.handle(), renew)?;
    }
    shortage.into_iter().for_each(Shortage::say);
    for (security, address) in security.iter().zip(server.addresses()?) {
        announce(security, address, &behind);
    }
    server.run()?;
    drop(logging);
    Ok(ExitCode::SUCCESS)
}

impl WrapArgs {
    /// How clients speak to us; `None` for without TLS.
    fn recipe(&self) -> Result<Option<Recipe>, Failure> {
        match (self.originate.originate, self.listen.plain) {
            (true, _) => Ok(None),
            (false, false) => {
                Ok(Some(Recipe { tls: self.tls.clone(), listeners: vec![Some(&[])], reach: Splice::reach }))
            }
            (false, true) => Err(Failure::usage(
                "--listen",
                "wrap listens with TLS: leave out plain://, or give --originate to speak TLS to the server instead",
            )),
        }
    }

    fn check_exposure(&self, address: SocketAddr) -> Result<(), Failure> {
        let originate = &self.originate;
        if originate.allow_plain && address.ip().is_loopback() {
            let problem = "--listen is not beyond this machine: leave it out";
            return Err(Failure::usage("--allow-plain", problem));
        }
        if originate.originate && !originate.allow_plain && !address.ip().is_loopback() {
            let problem = format!(
                "everybody who can reach {address} would speak to the server with our identity: listen on a loopback \
                 address, or give --allow-plain"
            );
            return Err(Failure::usage("--listen", problem));
        }
        Ok(())
    }

    /// The files on which it depends how we speak to the server.
    fn upstream_files(&self) -> Vec<PathBuf> {
        self.originate.ca.iter().chain(self.tls.files()).cloned().collect()
    }

    /// How we speak to the server over TLS, by the files as they are now.
    fn upstream_config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let (ca, identity) = (self.originate.ca.as_deref(), self.tls.client_identity()?);
        Ok(client_tls::policy(ca, identity, &[], self.tls.max_chain())?.config())
    }

    /// The server and how it is spoken to, for people.
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

    /// How we speak to the server.
    fn upstream_security(&self) -> Result<UpstreamSecurity, Failure> {
        if !self.originate.originate {
            return Ok(UpstreamSecurity::Plain);
        }
        let name = match (&self.originate.server_name, &self.to) {
            (Some(name), _) => name,
            (None, Upstream::Tcp { host, .. }) => host,
            (None, Upstream::Unix(_)) => {
                return Err(Failure::usage("--server-name", "needed to verify a server behind a Unix socket"));
            }
        };
        let name = client_tls::server_name(name)?;
        Ok(UpstreamSecurity::Tls(Renewable::new(self.upstream_config()?), name))
    }
}

/// Refuses to start where nobody could ever be let in. A reload that does that is taken as it is: somebody may be meant
/// to be cut off.
fn check_rules(security: &[Security]) -> Result<(), Failure> {
    let grants_nobody =
        |security: &Security| matches!(security, Security::Tls(gate) if gate.grants_nobody(Splice::CONNECT));
    if security.iter().any(grants_nobody) {
        let problem = "no rule grants \"connect\", so that nobody is let in: write grant = [\"connect\"]";
        return Err(Failure::usage("--authorize", problem));
    }
    Ok(())
}

/// Says on stdout where clients may connect, for scripts, and on stderr what is demanded of them, for people.
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
    fn servers_are_named_by_host_and_port_or_path() {
        let tcp = |host: &str, port| Ok(Upstream::Tcp { host: host.into(), port });
        assert_eq!(Upstream::parse("localhost:6379"), tcp("localhost", 6379));
        assert_eq!(Upstream::parse("[::1]:80"), tcp("::1", 80));
        assert_eq!(Upstream::parse("unix:/run/redis.sock"), Ok(Upstream::Unix("/run/redis.sock".into())));
        for bad in
            ["", "localhost", "http://localhost:80", "localhost:80/", ":80", "localhost:0", "localhost:99999", "unix:"]
        {
            assert!(Upstream::parse(bad).is_err(), "{bad}");
        }
    }
}
