//! `latchkey certs`: a private CA, its certificates, and checks of any certificate.

mod advice;
mod check;
mod doctor;
mod issue;
mod lists;
mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};

use super::files::FileError;
use super::{Failure, terminal};
use crate::tls::authority::{AuthorityError, KeyKind};
use crate::tls::{MalformedCertificate, PemError, TrustError};

/// Folder of the certificates unless `--dir` is given.
const DEFAULT_DIR: &str = "certs";

/// Make and examine certificates
///
/// A private CA, its certificates and revocations, and how verifiers judge any certificate or live server.
#[derive(Args, Clone, Debug)]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Create a private CA: ca.pem and ca-key.pem
    Init(Init),
    /// Issue a server certificate: NAME.pem and NAME-key.pem; NAME is one of its subject alternative names
    Server(Issue),
    /// Issue a client certificate: NAME.pem and NAME-key.pem
    Client(Issue),
    /// Revoke certificates, or without FILES renew the revocation list: crl.pem
    Revoke(Revoke),
    /// Summarize certificates, keys and revocation lists
    Show(Show),
    /// Report what verifiers reject, why, and the fix; or examine a live server
    Check(Check),
}

#[derive(Args, Clone, Debug)]
struct Init {
    /// Folder to write to
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Common name of the CA
    #[arg(long, default_value = "latchkey CA")]
    name: String,
    /// Key type
    #[arg(long, value_enum, default_value_t)]
    key_type: KeyType,
    /// Replace an existing CA; all certificates it issued become invalid
    #[arg(long)]
    force: bool,
}

#[derive(Args, Clone, Debug)]
struct Issue {
    /// Folder of the CA, to write to
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Subject: a host name or address for a server, any name for a client
    name: String,
    /// Another subject alternative name: DNS:.., IP:.., URI:.. or EMAIL:..
    #[arg(long = "san", value_name = "NAME")]
    alt_names: Vec<String>,
    /// Key type
    #[arg(long, value_enum, default_value_t)]
    key_type: KeyType,
    /// Replace existing files
    #[arg(long)]
    force: bool,
}

#[derive(Args, Clone, Debug)]
struct Revoke {
    /// Folder of the CA, to write to
    #[arg(long, default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Days until the list expires (nextUpdate); verifiers then reject every certificate of this CA
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Certificates to revoke
    files: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct Show {
    /// PEM files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct Check {
    /// PEM files, or one HOST:PORT
    #[arg(required = true, value_name = "FILE|HOST:PORT")]
    targets: Vec<String>,
    /// Private key that must match the first certificate
    #[arg(long)]
    key: Option<PathBuf>,
    /// CA that must have issued them
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Revocation lists of the CAs, which must not list them
    #[arg(long, requires = "ca")]
    crl: Option<PathBuf>,
}

/// The key type as given on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KeyType {
    /// Small, fast and supported everywhere
    #[default]
    Ecdsa,
    /// Not supported by every browser
    Ed25519,
    /// 3072 bits, for old peers
    Rsa,
}

impl From<KeyType> for KeyKind {
    fn from(key: KeyType) -> Self {
        match key {
            KeyType::Ecdsa => Self::EcdsaP256,
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Rsa => Self::Rsa3072,
        }
    }
}

/// An error that ends a command, one sentence that names the flag or the file.
#[derive(Debug, thiserror::Error)]
enum CertsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{}: {source}", file.display())]
    Certificate { file: PathBuf, source: MalformedCertificate },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Connection(String),
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
}

impl From<CertsError> for Failure {
    fn from(error: CertsError) -> Self {
        match error {
            CertsError::Connection(_) | CertsError::Output(_) => Self::Other(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Success.
    Fine,
    /// `check` found something that a verifier rejects, or could not decide.
    Faulty,
}

/// Runs the command, with results on stdout. Exit code 1 when `check` found something that a verifier rejects, or could
/// not decide.
#[expect(clippy::disallowed_methods, reason = "a command reads the clock once and passes it on")]
pub(super) fn run(args: &CertsArgs) -> Result<ExitCode, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut results = terminal::Words::new();
    let outcome = dispatch(&args.command, now, &mut results)?;
    results.flush().map_err(CertsError::Output)?;
    Ok(match outcome {
        Outcome::Fine => ExitCode::SUCCESS,
        Outcome::Faulty => ExitCode::FAILURE,
    })
}

fn dispatch(command: &Command, now: u64, out: &mut dyn Write) -> Result<Outcome, CertsError> {
    match command {
        Command::Init(init) => issue::init(init, now, out)?,
        Command::Server(leaf) => issue::server(leaf, now, out)?,
        Command::Client(leaf) => issue::client(leaf, now, out)?,
        Command::Revoke(revoke) => issue::revoke(revoke, now, out)?,
        Command::Show(show) => show::show(&show.files, now, out)?,
        Command::Check(check) => return check::check(check, now, out),
    }
    Ok(Outcome::Fine)
}

fn unreadable(file: &Path) -> impl Fn(MalformedCertificate) -> CertsError {
    let file = file.to_owned();
    move |source| CertsError::Certificate { file: file.clone(), source }
}

/// "in 12 days" or "3 days ago", for a moment seen from `now`.
fn days(moment: u64, now: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match (moment.saturating_sub(now) / DAY, now.saturating_sub(moment) / DAY) {
        (0, 0) => "today".to_owned(),
        (1, 0) => "in 1 day".to_owned(),
        (ahead, 0) => format!("in {ahead} days"),
        (_, 1) => "1 day ago".to_owned(),
        (_, behind) => format!("{behind} days ago"),
    }
}

#[cfg(test)]
mod tests;
