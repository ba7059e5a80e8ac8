//! The compared servers: how each is started, and tuned as its own guide recommends.
//!
//! All use one thread, the same ECDSA P-256 certificate and session tickets, and write no log.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::measure::Lab;
use super::process::{Process, free_port, run, write};

/// A server to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// `latchkey serve`.
    Latchkey,
    /// The same without TLS.
    LatchkeyPlain,
    /// `latchkey wrap` in front of a plain redis-server, which does not count.
    LatchkeyWrap,
    /// `latchkey wrap` in front of a plain echo server, which does not count.
    LatchkeyWrapEcho,
    /// The server's half of a handshake in memory, without sockets or a loop.
    InMemory,
    /// redis-server over TLS.
    Redis,
    /// redis-server without TLS.
    RedisPlain,
    /// nginx with a fixed reply to every request.
    Nginx,
    /// HAProxy with a fixed reply to every request.
    Haproxy,
    /// HAProxy, mode tcp, in front of a plain echo server, which does not count.
    HaproxyEcho,
    /// HAProxy, mode tcp, in front of a plain redis-server, which does not count.
    HaproxyWrap,
    /// stunnel in front of a plain redis-server, which does not count.
    StunnelWrap,
    /// Python's `SimpleXMLRPCServer` with threads and HTTP/1.1.
    Python,
    /// redis-server over TLS with `latchkey load`, whose own CPU time is measured.
    LoadClient,
    /// redis-server over TLS with `redis-benchmark`, whose own CPU time is measured.
    RedisBenchmark,
    /// Echo with tokio and tokio-rustls (`benches/peers/tokio-echo`).
    Tokio,
}

/// A started server.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    /// The process whose CPU time and memory are measured; `None` for what runs in this process.
    process: Option<Process>,
    /// The server behind it.
    _behind: Option<Process>,
    /// Its ports by protocol. A single port serves any protocol.
    ports: Vec<(String, u16)>,
    pub(crate) version: String,
    pub(crate) settings: String,
}

impl Running {
    /// The port for `protocol`; the first one if `protocol` is empty.
    pub(crate) fn port(&self, protocol: &str) -> Result<u16, String> {
        let speaks = |name: &str| protocol.is_empty() || self.ports.len() == 1 || name == protocol;
        let port = self.ports.iter().find(|(name, _)| speaks(name)).map(|(_, port)| *port);
        port.ok_or_else(|| format!("{} does not speak {protocol}", self.peer.name()))
    }

    /// The measured process.
    pub(crate) fn process(&self) -> Result<&Process, String> {
        self.process.as_ref().ok_or_else(|| format!("{} is not a process", self.peer.name()))
    }
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latchkey => "latchkey",
            Self::LatchkeyPlain => "latchkey, plain",
            Self::LatchkeyWrap | Self::LatchkeyWrapEcho => "latchkey wrap",
            Self::InMemory => "in memory",
            Self::Redis => "redis",
            Self::RedisPlain => "redis, plain",
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxyEcho | Self::HaproxyWrap => "haproxy",
            Self::StunnelWrap => "stunnel",
            Self::LoadClient => "latchkey load",
            Self::RedisBenchmark => "redis-benchmark",
            Self::Python => "python",
            Self::Tokio => "tokio-rustls",
        }
    }

    /// Whether clients use it without TLS.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::LatchkeyPlain | Self::RedisPlain)
    }

    /// Starts it; the error names what is missing or went wrong.
    pub(crate) fn start(self, lab: &Lab) -> Result<Running, String> {
        match self {
            Self::Latchkey => serve(self, lab, "tls"),
            Self::LatchkeyPlain => serve(self, lab, "plain"),
            Self::LatchkeyWrap => wrap(self, lab, redis(Self::RedisPlain, lab)?, "resp"),
            Self::LatchkeyWrapEcho => wrap(self, lab, serve(Self::LatchkeyPlain, lab, "plain")?, "echo"),
            Self::InMemory => Ok(in_memory()),
            Self::Redis | Self::RedisPlain | Self::LoadClient | Self::RedisBenchmark => redis(self, lab),
            Self::Nginx => nginx(lab),
            Self::Haproxy => haproxy_http(lab),
            Self::HaproxyEcho => haproxy_echo(lab),
            Self::HaproxyWrap => haproxy_wrap(lab),
            Self::StunnelWrap => stunnel(lab),
            Self::Python => python(lab),
            Self::Tokio => tokio(lab),
        }
    }
}

const LATCHKEY: &str = env!("CARGO_BIN_EXE_latchkey");

fn version(program: &str, argument: &str) -> Result<String, String> {
    let text = run(Command::new(program).arg(argument))?;
    let line = text.lines().find(|line| line.contains(char::is_numeric)).unwrap_or_default();
    Ok(line.split(" sha=").next().unwrap_or(line).trim_start_matches("nginx version: ").to_owned())
}

fn serve(peer: Peer, lab: &Lab, scheme: &str) -> Result<Running, String> {
    let address = if scheme == "plain" { "plain://127.0.0.1:0" } else { "127.0.0.1:0" };
    let mut command = Command::new(LATCHKEY);
    command.current_dir(lab.dir()).args(["serve", "--log-level", "off"]);
    command.args(["--echo", address, "--xmlrpc", address, "--resp", address]);
    let mut process = Process::start(&command, true)?;
    let ports = process.listening(3)?;
    Ok(running(peer, process, None, ports, version(LATCHKEY, "--version")?, String::new()))
}

fn wrap(peer: Peer, lab: &Lab, behind: Running, protocol: &str) -> Result<Running, String> {
    let mut command = Command::new(LATCHKEY);
    command.current_dir(lab.dir()).args(["wrap", "--log-level", "off", "--listen", "127.0.0.1:0"]);
    command.args(["--to", &format!("127.0.0.1:{}", behind.port(protocol)?)]);
    let mut process = Process::start(&command, true)?;
    let port = process.listening(1)?.first().map_or(0, |(_, port)| *port);
    let version = version(LATCHKEY, "--version")?;
    Ok(running(peer, process, behind.process, any(port), version, String::new()))
}

fn in_memory() -> Running {
    let version = concat!("latchkey ", env!("CARGO_PKG_VERSION")).to_owned();
    let settings = "the server's calls of a TLS 1.3 handshake, on this thread's clock".to_owned();
    Running { peer: Peer::InMemory, process: None, _behind: None, ports: Vec::new(), version, settings }
}

fn redis(peer: Peer, lab: &Lab) -> Result<Running, String> {
    let version = version("redis-server", "--version")?;
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    // The backlog and the number of clients are the first settings of its guide; saving would fork.
    command.args(["--save", "", "--appendonly", "no", "--maxclients", "18000", "--tcp-backlog", "4096"]);
    command.args(["--loglevel", "warning", "--logfile", "/dev/null"]);
    if peer == Peer::RedisPlain {
        command.args(["--port", &port.to_string()]);
    } else {
        command.args(["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(lab.certs("server.pem"));
        command.arg("--tls-key-file").arg(lab.certs("server-key.pem"));
        command.arg("--tls-ca-cert-file").arg(lab.certs("ca.pem"));
    }
    let mut process = Process::start(&command, false)?;
    process.wait_for(port)?;
    Ok(running(peer, process, None, any(port), version, String::new()))
}

fn nginx(lab: &Lab) -> Result<Running, String> {
    let version = version("nginx", "-v")?;
    let port = free_port()?;
    let config = format!(
        "daemon off;\npid nginx.pid;\nerror_log /dev/null crit;\nworker_processes 1;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 18000; multi_accept on; }}\n\
         http {{\n access_log off;\n keepalive_requests 1000000000;\n keepalive_timeout 10m;\n \
         client_header_timeout 10m;\n tcp_nodelay on;\n client_body_temp_path {dir};\n proxy_temp_path {dir};\n \
         fastcgi_temp_path {dir};\n uwsgi_temp_path {dir};\n scgi_temp_path {dir};\n server {{\n \
         listen 127.0.0.1:{port} ssl backlog=4096 reuseport;\n ssl_certificate {cert};\n \
         ssl_certificate_key {key};\n ssl_protocols TLSv1.2 TLSv1.3;\n ssl_session_cache shared:SSL:20m;\n \
         ssl_session_tickets on;\n default_type text/xml;\n location / {{ return 200 '{RESPONSE}'; }}\n }}\n}}\n",
        dir = lab.dir().display(),
        cert = lab.certs("server.pem").display(),
        key = lab.certs("server-key.pem").display(),
    );
    write(&lab.dir().join("nginx.conf"), &config)?;
    let mut command = Command::new("nginx");
    command.args(["-e", "/dev/null", "-p"]).arg(lab.dir()).args(["-c", "nginx.conf"]);
    let mut process = Process::start(&command, false)?;
    process.wait_for(port)?;
    Ok(running(Peer::Nginx, process, None, any(port), version, config))
}

/// The reply of our server to `get` of 32 bytes, so that nginx sends as much.
const RESPONSE: &str = "<?xml version=\"1.0\"?>\n<methodResponse>\n<params>\n<param>\n<value><string>\
                        0123456789abcdef0123456789abcdef</string></value>\n</param>\n</params>\n</methodResponse>\n";

/// A certificate and its key in one file, as HAProxy needs them.
fn pair(lab: &Lab) -> Result<String, String> {
    let read = |name: &str| fs::read_to_string(lab.certs(name)).map_err(|error| error.to_string());
    let path = lab.dir().join("pair.pem");
    write(&path, &(read("server.pem")? + &read("server-key.pem")?))?;
    Ok(path.display().to_string())
}

fn haproxy(lab: &Lab, peer: Peer, mode: &str, rule: &str, behind: Option<Process>) -> Result<Running, String> {
    let version = version("haproxy", "-v")?;
    let port = free_port()?;
    let config = format!(
        "global\n maxconn 16000\n no strict-limits\n nbthread 1\n tune.ssl.cachesize 20000\ndefaults\n mode {mode}\n \
         timeout connect 5s\n timeout client 10m\n timeout server 10m\n timeout http-request 10m\n\
         listen peer\n bind 127.0.0.1:{port} ssl crt {} backlog 4096\n {rule}\n",
        pair(lab)?
    );
    let file = lab.dir().join(format!("haproxy-{port}.cfg"));
    write(&file, &config)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]).arg(&file);
    let mut process = Process::start(&command, false)?;
    process.wait_for(port)?;
    Ok(running(peer, process, behind, any(port), version, config))
}

fn haproxy_http(lab: &Lab) -> Result<Running, String> {
    haproxy(lab, Peer::Haproxy, "http", "http-request return status 200 content-type text/plain string ok", None)
}

fn haproxy_echo(lab: &Lab) -> Result<Running, String> {
    let behind = serve(Peer::LatchkeyPlain, lab, "plain")?;
    let rule = format!("server echo 127.0.0.1:{}", behind.port("echo")?);
    haproxy(lab, Peer::HaproxyEcho, "tcp", &rule, behind.process)
}

fn haproxy_wrap(lab: &Lab) -> Result<Running, String> {
    let behind = redis(Peer::RedisPlain, lab)?;
    let rule = format!("server redis 127.0.0.1:{}", behind.port("resp")?);
    haproxy(lab, Peer::HaproxyWrap, "tcp", &rule, behind.process)
}

fn stunnel(lab: &Lab) -> Result<Running, String> {
    let version = version("stunnel4", "-version")?;
    let behind = redis(Peer::RedisPlain, lab)?;
    let port = free_port()?;
    let config = format!(
        "foreground = yes\npid =\ndebug = 0\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[wrap]\n\
         accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n",
        behind.port("resp")?,
        lab.certs("server.pem").display(),
        lab.certs("server-key.pem").display(),
    );
    let file = lab.dir().join(format!("stunnel-{port}.conf"));
    write(&file, &config)?;
    let mut process = Process::start(Command::new("stunnel4").arg(&file), false)?;
    process.wait_for(port)?;
    Ok(running(Peer::StunnelWrap, process, behind.process, any(port), version, config))
}

/// The recipe's server with threads and kept connections: without them it serves one client at a time.
const PYTHON: &str = r#"
import socketserver, ssl, sys
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

class Handler(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

class Server(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 1024

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = Server(("127.0.0.1", 0), Handler, logRequests=False, allow_none=True)
keys = {}
server.register_function(keys.__getitem__, "get")
server.register_function(keys.__setitem__, "set")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening xmlrpc tls://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
"#;

fn python(lab: &Lab) -> Result<Running, String> {
    let script = lab.dir().join("server.py");
    write(&script, PYTHON)?;
    let mut command = Command::new("python3");
    command.arg(&script).arg(lab.certs("server.pem")).arg(lab.certs("server-key.pem"));
    let mut process = Process::start(&command, true)?;
    let ports = process.listening(1)?;
    Ok(running(Peer::Python, process, None, ports, version("python3", "--version")?, PYTHON.to_owned()))
}

fn tokio(lab: &Lab) -> Result<Running, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/peers");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
    build.arg(root.join("benches/peers/tokio-echo/Cargo.toml")).arg("--target-dir").arg(&target);
    run(&mut build)?;
    let mut command = Command::new(target.join("release/tokio-echo"));
    command.arg(lab.certs("server.pem")).arg(lab.certs("server-key.pem"));
    let mut process = Process::start(&command, true)?;
    let ports = process.listening(1)?;
    let lock = fs::read_to_string(root.join("benches/peers/tokio-echo/Cargo.lock")).unwrap_or_default();
    let locked = |name: &str| {
        let rest = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).unwrap_or_default();
        format!("{name} {}", rest.split('"').next().unwrap_or_default())
    };
    let version = ["tokio", "tokio-rustls", "rustls"].map(locked).join(", ");
    Ok(running(Peer::Tokio, process, None, ports, version, "current_thread, 16 KiB buffer, tickets".to_owned()))
}

fn any(port: u16) -> Vec<(String, u16)> {
    vec![("any".to_owned(), port)]
}

fn running(
    peer: Peer,
    process: Process,
    behind: Option<Process>,
    ports: Vec<(String, u16)>,
    version: String,
    config: String,
) -> Running {
    let settings = if config.is_empty() { process.command().to_owned() } else { config };
    Running { peer, process: Some(process), _behind: behind, ports, version, settings }
}
