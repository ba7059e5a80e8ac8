//! `latchkey load`: the load harness.

mod analysis;
mod args;
mod machine;
mod outputs;
mod run;
mod target;
mod tls;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;

/// Load a server and measure its latency and throughput
///
/// Latency counts from when a request was due, so a stall of the server shows in it. A run with problems (errors, less
/// load sent than asked for, figures that describe this client) fails with exit code 3, a missed --slo with 4.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Debug, Subcommand)]
enum LoadCommand {
    /// Send bytes to an echo server and verify that all come back
    Echo(args::EchoArgs),
    /// GET and SET on a Redis-protocol server; values that are read are verified
    Resp(args::KeyValueArgs),
    /// Call get and set on an XML-RPC server, by POST to /RPC2; values that are read are verified
    Xmlrpc(args::XmlRpcArgs),
    /// Make TLS handshakes: connect, handshake, close
    Handshake(args::HandshakeArgs),
    /// Hold idle connections, then verify that each still answers
    Idle(args::IdleArgs),
    /// Compare runs: differences with 95% confidence intervals
    Compare(analysis::CompareArgs),
    /// Add up the HDR logs of several hosts
    Merge(analysis::MergeArgs),
}

/// Runs the subcommand of `args`.
pub(super) fn run(args: &LoadArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        LoadCommand::Echo(args) => run::run(args.job()?),
        LoadCommand::Resp(args) => run::run(args.job("resp")?),
        LoadCommand::Xmlrpc(args) => run::run(args.job()?),
        LoadCommand::Handshake(args) => run::run(args.job()?),
        LoadCommand::Idle(args) => run::run(args.job()?),
        LoadCommand::Compare(args) => analysis::compare(args),
        LoadCommand::Merge(args) => analysis::merge(args),
    }
}
