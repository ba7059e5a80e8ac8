//! Parses arguments into a validated configuration and runs it; one file per subcommand.

mod address;
mod call;
mod certs;
mod client_tls;
mod connect;
mod data;
mod descriptors;
pub mod development;
mod dump;
mod failure;
pub mod files;
mod guard;
mod hints;
mod load;
mod logging;
mod processor;
mod reload;
mod serve;
mod signals;
mod terminal;
mod threads;
mod tls_options;
mod units;
mod wrap;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

pub use failure::Failure;

/// A TLS server and a TLS-first load harness on one event loop.
#[derive(Debug, Parser)]
#[command(name = "latchkey", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    Call(call::CallArgs),
    Wrap(Box<wrap::WrapArgs>),
    Connect(connect::ConnectArgs),
    Load(Box<load::LoadArgs>),
    Certs(certs::CertsArgs),
    Dump(dump::DumpArgs),
    Restore(dump::RestoreArgs),
}

/// Runs the program: parses the arguments of this process and runs the subcommand.
///
/// Exit codes: 0 for success (a server: drained after SIGTERM or SIGINT), 2 for bad usage or configuration, 3 for a load
/// run with errors or other problems, 4 for one that missed an objective, 1 for any other failure.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => execute(&cli.command),
        // Help and version are not errors; clap prints them to stdout.
        Err(error) if !error.use_stderr() || error.kind() == HELP => help(&error),
        Err(error) => Err(Failure::of_arguments(&error, std::env::args().skip(1))),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            terminal::tell(format_args!("latchkey: {failure}"));
            failure.exit_code()
        }
    }
}

/// Without a subcommand, clap reports an error whose text is the help.
const HELP: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Prints help or the version: on stdout when requested, on stderr when a subcommand is missing.
fn help(text: &clap::Error) -> Result<ExitCode, Failure> {
    match text.print() {
        Err(error) if !text.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(terminal::cannot_write(&error))
        }
        _ => Ok(u8::try_from(text.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)),
    }
}

fn execute(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Call(args) => call::run(args),
        Command::Wrap(args) => wrap::run(args),
        Command::Connect(args) => connect::run(args),
        Command::Load(args) => load::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Dump(args) => dump::dump(args),
        Command::Restore(args) => dump::run_restore(args),
    }
}
