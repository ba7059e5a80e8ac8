//! Why a command could not do its work, in one sentence.

use std::process::ExitCode;

/// What ends a command early. Its text is one sentence that names the flag or file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Bad usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Bad usage of `flag`.
    pub fn usage(flag: &str, problem: impl std::fmt::Display) -> Self {
        Self::Usage(format!("{flag}: {problem}"))
    }

    /// The exit code that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}
