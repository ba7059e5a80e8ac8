//! The clients: `latchkey load`, and wrk where requests per second are measured.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::measure::Lab;
use super::peers::{Peer, Running};
use super::process::{CLIENT_CORE, Process, cpu_of_the_ended, describe, pinned, run, write};

/// A `latchkey load` that is not started yet.
pub(crate) struct Load {
    command: Command,
    json: std::path::PathBuf,
}

impl Load {
    /// `words`: the protocol and then flags. The warm-up counts, because the server's CPU time does.
    pub(crate) fn new(lab: &Lab, server: &Running, words: &[&str]) -> Result<Self, String> {
        let (protocol, flags) = words.split_first().ok_or("a load needs a protocol")?;
        let json = lab.fresh("json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.args(["load", protocol, &format!("127.0.0.1:{}", server.port(spoken(words))?)]);
        if server.peer.is_plain() {
            command.arg("--plain");
        } else {
            command.arg("--ca").arg(lab.certs("ca.pem"));
            if !flags.contains(&"--pq") {
                // The group that every peer supports.
                command.args(["--pq", "off"]);
            }
        }
        if *protocol != "idle" && !flags.contains(&"--warmup") {
            command.args(["--warmup", "0s"]);
        }
        command.args(flags).arg("--json").arg(&json);
        Ok(Self { command: pinned(CLIENT_CORE, &command), json })
    }

    /// At a higher priority than other clients, so that the server's delay is measured, not the wait for the clients'
    /// core: a real-time one, since with a nice value only, others finish their time slice first. Needs the right to
    /// raise priorities.
    pub(crate) fn preferred(mut self) -> Self {
        let mut real_time = Command::new("chrt");
        real_time.args(["--rr", "1"]).arg(self.command.get_program()).args(self.command.get_args());
        self.command = real_time;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Result<Value, String> {
        self.start()?.report()
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Result<Loading, String> {
        let name = describe(&self.command);
        Ok(Loading { process: Process::spawn(&mut self.command, name, false)?, json: self.json })
    }
}

/// A running load.
pub(crate) struct Loading {
    process: Process,
    json: std::path::PathBuf,
}

impl Loading {
    /// Ends it early.
    pub(crate) fn interrupt(&mut self) -> Result<(), String> {
        self.process.interrupt()
    }

    /// Waits for its end; returns its report.
    pub(crate) fn report(mut self) -> Result<Value, String> {
        self.process.finish()?;
        let text = fs::read_to_string(&self.json).map_err(|_| format!("no report of {}", self.process.command()))?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

/// The protocol of the port that a load connects to.
fn spoken<'a>(words: &[&'a str]) -> &'a str {
    match words {
        ["idle", rest @ ..] => rest.iter().skip_while(|word| **word != "--speak").nth(1).unwrap_or(&"echo"),
        ["handshake", ..] | [] => "",
        [protocol, ..] => protocol,
    }
}

/// A number of a report.
pub(crate) fn number(report: &Value, pointer: &str) -> Result<f64, String> {
    report.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("the report has no {pointer}"))
}

/// The number of answered requests, of a run without failures.
pub(crate) fn requests(report: &Value) -> Result<f64, String> {
    match report.get("errors").and_then(Value::as_object) {
        Some(errors) if errors.is_empty() => number(report, "/requests"),
        errors => Err(format!("the load met errors: {}", serde_json::json!(errors))),
    }
}

/// Microseconds of the client's CPU time per request, half SET and half GET; its start and its handshakes included.
/// `redis-benchmark` does not look at the replies, `latchkey load` verifies each value.
pub(crate) fn client_cpu(lab: &Lab, server: &Running, pipeline: &str, requests: u32) -> Result<f64, String> {
    let before = cpu_of_the_ended();
    if server.peer == Peer::RedisBenchmark {
        let mut command = Command::new("redis-benchmark");
        command.args(["--tls", "--cacert"]).arg(lab.certs("ca.pem"));
        command.args(["-p", &server.port("resp")?.to_string(), "-n", &(requests / 2).to_string(), "-P", pipeline]);
        command.args(["-c", "50", "-d", "32", "-r", "100000", "-t", "set,get", "-q"]);
        let output = run(&mut pinned(CLIENT_CORE, &command))?;
        if output.matches("requests per second").count() < 2 {
            return Err(format!("unexpected output of redis-benchmark: {output}"));
        }
    } else {
        let count = requests.to_string();
        let words = ["resp", "--ratio", "1:1", "--pipeline", pipeline, "--requests", &count];
        let answered = self::requests(&Load::new(lab, server, &words)?.run()?)?;
        if (answered - f64::from(requests)).abs() > 0.5 {
            return Err(format!("{answered} of {requests} requests were answered"));
        }
    }
    Ok((cpu_of_the_ended() - before) * 1e6 / f64::from(requests))
}

/// Requests per second of `wrk` with 50 connections, each of which calls `get` over XML-RPC.
pub(crate) fn wrk(lab: &Lab, server: &Running) -> Result<f64, String> {
    let script = lab.dir().join("get.lua");
    let call = "<?xml version='1.0'?><methodCall><methodName>get</methodName><params><param><value><string>key\
                </string></value></param></params></methodCall>";
    write(
        &script,
        &format!("wrk.method = \"POST\"\nwrk.body = \"{call}\"\nwrk.headers[\"Content-Type\"] = \"text/xml\"\n"),
    )?;
    let port = server.port("xmlrpc")?;
    if server.peer == Peer::Latchkey {
        let mut set = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        set.args(["call", &format!("https://127.0.0.1:{port}"), "set", "key", "0123456789abcdef0123456789abcdef"]);
        run(set.arg("--ca").arg(lab.certs("ca.pem")))?;
    }
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", "50", "-d", "3s", "-s"]).arg(&script);
    let path = if server.peer == Peer::Nginx { "/" } else { "/RPC2" };
    command.arg(format!("https://127.0.0.1:{port}{path}"));
    let output = run(&mut pinned(CLIENT_CORE, &command))?;
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        return Err(format!("wrk reports errors: {output}"));
    }
    let rate = output.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    rate.and_then(|rate| rate.trim().parse().ok()).ok_or_else(|| format!("unexpected output of wrk: {output}"))
}
