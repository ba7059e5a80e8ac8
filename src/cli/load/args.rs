//! Flags of a run, and the plan that they make.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::machine;
use super::outputs::OutputArgs;
use super::target::LoadTarget;
use super::tls::{LoadTlsArgs, ResumeArgs};
use crate::cli::address::{addresses, first_reachable};
use crate::cli::call::argument;
use crate::cli::{Failure, units};
use crate::load::codec::{DEFAULT_XMLRPC_PATH, RequestTemplate};
use crate::load::plan::{LoadProtocol, Plan, Resume};
use crate::load::schedule::{Gaps, Pace, Ramp, Schedule, StopAfter};
use crate::load::workload::{Distribution, Mix, Ratio, ValueSizes, Values};
use crate::protocol::xmlrpc::append_call;

/// Connections beyond which the ports of one local address may run out: the system has 28,232 by default.
const PORTS_OF_ONE_ADDRESS: u64 = 20_000;

/// More than any client can send: each request that is due costs time, sent or not.
const HIGHEST_RATE: f64 = 1e7;

/// A validated run.
pub(super) struct LoadJob {
    pub(super) plan: Plan,
    pub(super) threads: u32,
    pub(super) protocol: &'static str,
    /// The target as the report names it.
    pub(super) target: String,
    /// The settings as the report names them.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) pid: Option<u32>,
    pub(super) outputs: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct EchoArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    opening: OpeningArgs,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct KeyValueArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    opening: OpeningArgs,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    requests: RequestArgs,
    /// Writes to reads
    #[arg(long, value_name = "W:R", default_value = "1:10", help_heading = "Requests")]
    ratio: Ratio,
    /// Number of keys
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000), help_heading = "Requests")]
    keys: u64,
    /// How often each key is used: uniform, sequential, zipf:EXPONENT or hot:KEYS%:OPERATIONS%
    #[arg(long, value_name = "HOW", default_value = "uniform", help_heading = "Requests")]
    distribution: Distribution,
    #[command(flatten)]
    outputs: OutputArgs,
}

/// Calls of methods over HTTP.
#[derive(Debug, Args)]
pub(super) struct XmlRpcArgs {
    #[command(flatten)]
    keys: KeyValueArgs,
    /// Call this method every time, in place of get and set; any answer is good but a fault
    #[arg(long, value_name = "METHOD", conflicts_with_all = ["ratio", "keys", "distribution", "value_size"], help_heading = "Requests")]
    method: Option<String>,
    /// An argument of --method, as JSON; other text is a string [repeatable]
    #[arg(long, value_name = "JSON", requires = "method", allow_hyphen_values = true, help_heading = "Requests")]
    argument: Vec<String>,
    /// Where calls are posted to
    #[arg(long, value_name = "PATH", default_value = DEFAULT_XMLRPC_PATH, value_parser = http_path, help_heading = "Requests")]
    path: String,
}

#[derive(Debug, Args)]
pub(super) struct HandshakeArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct IdleArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    opening: OpeningArgs,
    /// How long to hold the connections before each gets a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    duration: Duration,
    /// Protocol of that request
    #[arg(long, value_enum, value_name = "PROTOCOL", default_value = "echo")]
    speak: Speak,
    /// The server's process: its resident memory for each connection is reported
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speak {
    /// Some bytes, which must come back
    Echo,
    /// A GET of Redis's protocol
    Resp,
    /// A call of get by XML-RPC
    Xmlrpc,
}

/// The server, the connections to it and their identity.
#[derive(Clone, Debug, Args)]
struct CommonArgs {
    /// The server, HOST:PORT, or that behind tls://, rediss://, https:// (all TLS), plain://, tcp://, redis:// or
    /// http:// (as --plain)
    #[arg(value_parser = LoadTarget::parse, value_name = "HOST:PORT")]
    server: LoadTarget,
    #[command(flatten)]
    tls: LoadTlsArgs,
    /// Virtual clients, each with one connection
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000_000), help_heading = "Connections")]
    connections: u64,
    /// Local addresses to connect from, in turn, with commas between them [repeatable]
    #[arg(long, value_name = "IP", value_delimiter = ',', help_heading = "Connections")]
    bind: Vec<IpAddr>,
    /// How long a connection may take to be made, and a reply to come
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::time, help_heading = "Connections")]
    timeout: Duration,
    /// Threads, each with its own loop
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Connections")]
    threads: u32,
    /// Everything random follows from it [default: 1]
    #[arg(long, value_name = "N", help_heading = "Requests")]
    seed: Option<u64>,
}

/// How connections are opened before the first request.
#[derive(Clone, Copy, Debug, Args)]
struct OpeningArgs {
    /// Spread opening the connections evenly over this time [default: as fast as the server takes them]
    #[arg(long, value_name = "TIME", value_parser = units::time, help_heading = "Connections")]
    connect_over: Option<Duration>,
}

/// When requests are due.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Schedule")]
struct ScheduleArgs {
    /// Requests (or handshakes) a second, due whatever the server does [default: a closed loop: each answer brings the
    /// next request]
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,
    /// Gaps between requests that are due at a --rate [default: poisson]
    #[arg(long, value_enum, value_name = "GAPS", requires = "rate")]
    arrivals: Option<ArrivalsArg>,
    /// Let the --rate rise from zero over this time
    #[arg(long, value_name = "TIME", value_parser = units::time, requires = "rate")]
    ramp: Option<Duration>,
    /// Let the --ramp rise in so many equal steps [default: steadily]
    #[arg(long, value_name = "N", requires = "ramp", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ramp_steps: Option<u32>,
    /// How long to load the server before measuring begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time_or_zero)]
    warmup: Duration,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::time)]
    duration: Duration,
    /// How many requests to measure, in place of a --duration
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ArrivalsArg {
    /// All the same
    Constant,
    /// As from many independent clients
    Poisson,
}

/// Size, pipelining and connections of requests.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Requests")]
struct RequestArgs {
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Bytes of a value: SIZE, LOW-HIGH or SIZE:WEIGHT,SIZE:WEIGHT...
    #[arg(long, value_name = "SIZES", default_value = "32")]
    value_size: ValueSizes,
    /// Replace a connection by a new one after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests_per_connection: Option<u64>,
    /// Replace a connection by a new one when it is this old
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    connection_lifetime: Option<Duration>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= HIGHEST_RATE => Ok(rate),
        _ => Err("a rate is a number above 0, up to 10 million".into()),
    }
}

fn http_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.to_owned()) } else { Err("a path begins with / and has no spaces".into()) }
}

fn time_or_zero(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { units::time(text) }
}

/// The parts of a run in which one command differs from another.
struct RunKind {
    command: &'static str,
    protocol: LoadProtocol,
    schedule: Schedule,
    mix: Mix,
    pipeline: usize,
    requests_per_connection: Option<u64>,
    lifetime: Option<Duration>,
    connect_over: Duration,
    resume: Resume,
    hold: Duration,
    pid: Option<u32>,
}

impl EchoArgs {
    pub(super) fn job(&self) -> Result<LoadJob, Failure> {
        if self.requests.value_size.shortest() == 0 {
            return Err(Failure::usage("--value-size", "an echo of 0 bytes cannot be recognised"));
        }
        let mix = self.common.mix(&self.requests.value_size);
        let mut settings = self.schedule.settings();
        self.requests.add_settings(&mut settings);
        let kind = self.requests.kind("echo", self.schedule.schedule()?, mix);
        let resume = self.resume.resume(self.requests.replaces())?;
        self.common.job(RunKind { resume, ..self.opening.of(kind) }, settings, &self.outputs)
    }
}

impl KeyValueArgs {
    pub(super) fn job(&self, command: &'static str) -> Result<LoadJob, Failure> {
        let mix = Mix {
            ratio: self.ratio,
            keys: self.keys,
            distribution: self.distribution,
            ..self.common.mix(&self.requests.value_size)
        };
        let mut settings = self.schedule.settings();
        self.requests.add_settings(&mut settings);
        settings.insert("ratio".to_owned(), format!("{}:{}", self.ratio.writes, self.ratio.reads));
        settings.insert("keys".to_owned(), self.keys.to_string());
        settings.insert("distribution".to_owned(), self.distribution.to_string());
        let kind = self.requests.kind(command, self.schedule.schedule()?, mix);
        if kind.protocol == LoadProtocol::XmlRpc && kind.pipeline > 1 {
            return Err(Failure::usage(
                "--pipeline",
                "few XML-RPC servers take more than one request at a time: use 1",
            ));
        }
        // A server of XML-RPC may close after each answer, and is then connected to again.
        let resume = self.resume.resume(self.requests.replaces() || kind.protocol == LoadProtocol::XmlRpc)?;
        self.common.job(RunKind { resume, ..self.opening.of(kind) }, settings, &self.outputs)
    }
}

impl XmlRpcArgs {
    pub(super) fn job(&self) -> Result<LoadJob, Failure> {
        let mut job = self.keys.job("xmlrpc")?;
        if self.method.is_some() {
            job = self.keys.common.without_seed(&self.keys.schedule, job)?;
        }
        job.plan.template.path.clone_from(&self.path);
        if let Some(method) = &self.method {
            let arguments: Result<Vec<_>, _> = self.argument.iter().map(|text| argument(text)).collect();
            let arguments = arguments.map_err(|problem| Failure::usage("--argument", problem))?;
            let mut call = Vec::new();
            append_call(&mut call, method, &arguments);
            job.plan.template.call = Some(call);
            for name in ["ratio", "keys", "distribution", "value-size"] {
                job.settings.remove(name);
            }
            job.settings.insert("method".to_owned(), method.clone());
            job.settings.insert("argument".to_owned(), self.argument.join(" "));
        }
        job.settings.insert("path".to_owned(), self.path.clone());
        Ok(job)
    }
}

impl HandshakeArgs {
    pub(super) fn job(&self) -> Result<LoadJob, Failure> {
        let kind = RunKind {
            command: "handshake",
            protocol: LoadProtocol::HandshakeOnly,
            schedule: self.schedule.schedule()?,
            mix: self.common.mix(&ValueSizes::Fixed(0)),
            pipeline: 1,
            requests_per_connection: None,
            lifetime: None,
            connect_over: Duration::ZERO,
            resume: self.resume.resume(true)?,
            hold: Duration::ZERO,
            pid: None,
        };
        let job = self.common.job(kind, self.schedule.settings(), &self.outputs)?;
        self.common.without_seed(&self.schedule, job)
    }
}

impl IdleArgs {
    pub(super) fn job(&self) -> Result<LoadJob, Failure> {
        let protocol = match self.speak {
            Speak::Echo => LoadProtocol::Echo,
            Speak::Resp => LoadProtocol::Resp,
            Speak::Xmlrpc => LoadProtocol::XmlRpc,
        };
        let once = Schedule {
            pace: Pace::Closed,
            ramp: Ramp::NONE,
            warmup: Duration::ZERO,
            end: StopAfter::Count(self.common.connections),
        };
        let reads = Ratio { writes: 0, reads: 1 };
        let kind = RunKind {
            command: "idle",
            protocol,
            schedule: once,
            mix: Mix { ratio: reads, ..self.common.mix(&ValueSizes::Fixed(32)) },
            pipeline: 1,
            requests_per_connection: None,
            lifetime: None,
            connect_over: Duration::ZERO,
            resume: Resume::Full,
            hold: self.duration,
            pid: self.pid,
        };
        let speak = self.speak.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        let settings = [("duration".to_owned(), show(self.duration)), ("speak".to_owned(), speak)].into();
        self.common.job(self.opening.of(kind), settings, &self.outputs)
    }
}

impl OpeningArgs {
    fn of(self, kind: RunKind) -> RunKind {
        RunKind { connect_over: self.connect_over.unwrap_or_default(), ..kind }
    }
}

impl RequestArgs {
    /// Whether connections are replaced by new ones.
    fn replaces(&self) -> bool {
        self.requests_per_connection.is_some() || self.connection_lifetime.is_some()
    }

    fn kind(&self, command: &'static str, schedule: Schedule, mix: Mix) -> RunKind {
        let protocol = match command {
            "resp" => LoadProtocol::Resp,
            "xmlrpc" => LoadProtocol::XmlRpc,
            _ => LoadProtocol::Echo,
        };
        RunKind {
            command,
            protocol,
            schedule,
            mix,
            pipeline: self.pipeline as usize,
            requests_per_connection: self.requests_per_connection,
            lifetime: self.connection_lifetime,
            connect_over: Duration::ZERO,
            resume: Resume::Full,
            hold: Duration::ZERO,
            pid: None,
        }
    }

    fn add_settings(&self, settings: &mut BTreeMap<String, String>) {
        settings.insert("pipeline".to_owned(), self.pipeline.to_string());
        settings.insert("value-size".to_owned(), self.value_size.to_string());
        if let Some(limit) = self.requests_per_connection {
            settings.insert("requests-per-connection".to_owned(), limit.to_string());
        }
        if let Some(lifetime) = self.connection_lifetime {
            settings.insert("connection-lifetime".to_owned(), show(lifetime));
        }
    }
}

impl ScheduleArgs {
    fn gaps(&self) -> ArrivalsArg {
        self.arrivals.unwrap_or(ArrivalsArg::Poisson)
    }

    fn schedule(&self) -> Result<Schedule, Failure> {
        let run = self.warmup.saturating_add(self.duration);
        if let (Some(rate), None) = (self.rate, self.requests)
            && self.ramp.unwrap_or_default() > run
        {
            let problem = format!("the run ends after {}, before it reaches {rate}/s: see --duration", show(run));
            return Err(Failure::usage("--ramp", problem));
        }
        let gaps = match self.gaps() {
            ArrivalsArg::Constant => Gaps::Constant,
            ArrivalsArg::Poisson => Gaps::Poisson,
        };
        Ok(Schedule {
            pace: self.rate.map_or(Pace::Closed, |rate| Pace::Open { rate, gaps }),
            ramp: Ramp { over: self.ramp.unwrap_or_default(), steps: self.ramp_steps.unwrap_or(0) },
            warmup: self.warmup,
            end: self.requests.map_or(StopAfter::After(self.duration), StopAfter::Count),
        })
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([("warmup".to_owned(), show(self.warmup))]);
        match self.requests {
            Some(count) => settings.insert("requests".to_owned(), count.to_string()),
            None => settings.insert("duration".to_owned(), show(self.duration)),
        };
        if let Some(rate) = self.rate {
            let gaps = self.gaps().to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
            settings.insert("rate".to_owned(), rate.to_string());
            settings.insert("arrivals".to_owned(), gaps);
        }
        if let Some(ramp) = self.ramp {
            settings.insert("ramp".to_owned(), show(ramp));
        }
        if let Some(steps) = self.ramp_steps {
            settings.insert("ramp-steps".to_owned(), steps.to_string());
        }
        settings
    }
}

fn show(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

impl CommonArgs {
    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// A job whose requests are all the same: only their times can follow from a seed.
    fn without_seed(&self, schedule: &ScheduleArgs, mut job: LoadJob) -> Result<LoadJob, Failure> {
        let is_random = schedule.rate.is_some() && matches!(schedule.gaps(), ArrivalsArg::Poisson);
        if !is_random && self.seed.is_some() {
            return Err(Failure::usage("--seed", "nothing is random here but the times of a --rate"));
        }
        if !is_random {
            job.settings.remove("seed");
        }
        Ok(job)
    }

    fn mix(&self, sizes: &ValueSizes) -> Mix {
        let ratio = Ratio { writes: 1, reads: 1 };
        Mix { ratio, keys: 1 << 20, distribution: Distribution::Uniform, sizes: sizes.clone(), seed: self.seed() }
    }

    fn job(
        &self,
        kind: RunKind,
        mut settings: BTreeMap<String, String>,
        outputs: &OutputArgs,
    ) -> Result<LoadJob, Failure> {
        let LoadTarget { host, port, .. } = &self.server;
        let is_plain = self.server.is_plain(kind.protocol, &self.tls)?;
        if kind.protocol == LoadProtocol::HandshakeOnly && is_plain {
            return Err(Failure::usage("--plain", "a handshake is TLS"));
        }
        if is_plain && kind.resume != Resume::Full {
            return Err(Failure::usage("--resume", "without TLS there is nothing to resume"));
        }
        if u64::from(self.threads) > self.connections {
            let problem = format!("{} have nothing to do with {} connections", self.threads, self.connections);
            return Err(Failure::usage("--threads", problem));
        }
        let address = self.reachable(host, *port)?;
        let tls = if is_plain { None } else { Some(self.tls.plan(host, self.connections, kind.resume)?) };
        self.add_settings(&mut settings);
        if !kind.connect_over.is_zero() {
            settings.insert("connect-over".to_owned(), show(kind.connect_over));
        }
        if !is_plain {
            self.tls.add_settings(&mut settings);
            if kind.protocol == LoadProtocol::HandshakeOnly || kind.resume != Resume::Full {
                settings.insert("resume".to_owned(), kind.resume.to_string());
            }
        }
        let security = if is_plain { "plain" } else { "tls" };
        Ok(LoadJob {
            threads: self.threads,
            protocol: kind.command,
            target: format!("{security}://{host}:{port}"),
            settings,
            pid: kind.pid,
            outputs: outputs.clone(),
            plan: Plan {
                protocol: kind.protocol,
                target: address.into(),
                tls,
                connections: self.connections,
                connect_over: kind.connect_over,
                hold: kind.hold,
                pipeline: kind.pipeline,
                requests_per_connection: kind.requests_per_connection,
                lifetime: kind.lifetime,
                once: kind.command == "idle",
                schedule: kind.schedule,
                template: RequestTemplate::new(Values::new(&kind.mix.sizes, kind.mix.seed), format!("{host}:{port}")),
                mix: kind.mix,
                timeout: self.timeout,
                sources: self.sources(address)?,
            },
        })
    }

    /// The address of the server. A name may have several, of which not all have a server: each is tried in turn, once and
    /// before the run, up to the last, which needs no trial.
    fn reachable(&self, host: &str, port: u16) -> Result<SocketAddr, Failure> {
        let fits = |address: &SocketAddr| self.bind.first().is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
        let all = addresses(host, port)?;
        let fitting: Vec<_> = all.iter().copied().filter(fits).collect();
        let candidates = if fitting.is_empty() { all } else { fitting };
        first_reachable(&candidates, self.timeout).ok_or_else(|| Failure::Usage(format!("{host} has no address")))
    }

    /// The loopback network has enough local addresses for any number of ports. They are used only
    /// when they must be: Redis, for one, trusts 127.0.0.1 more than its neighbours.
    fn sources(&self, target: SocketAddr) -> Result<Vec<IpAddr>, Failure> {
        let is_loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if self.bind.is_empty() && is_loopback && self.connections > PORTS_OF_ONE_ADDRESS {
            return Ok((1..=u8::MAX).map(|last| Ipv4Addr::new(127, 0, 0, last).into()).collect());
        }
        for source in &self.bind {
            if source.is_ipv4() != target.is_ipv4() {
                return Err(Failure::usage("--bind", format!("{target} cannot be reached from {source}")));
            }
            machine::check_local(*source)?;
        }
        Ok(self.bind.clone())
    }

    fn add_settings(&self, settings: &mut BTreeMap<String, String>) {
        let common = [
            ("connections", self.connections.to_string()),
            ("threads", self.threads.to_string()),
            ("seed", self.seed().to_string()),
            ("timeout", show(self.timeout)),
        ];
        settings.extend(common.map(|(name, value)| (name.to_owned(), value)));
        if !self.bind.is_empty() {
            let addresses: Vec<_> = self.bind.iter().map(IpAddr::to_string).collect();
            settings.insert("bind".to_owned(), addresses.join(","));
        }
    }
}
