//! Errors that end a command, each one sentence.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::tls::PemSource;

/// An error that ends a command. Its text is one sentence that names the flag or file and the remedy.
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

    /// An error about a file whose text names the file but not its flag. `named` are flags and their files; the flag of
    /// the file in the text is added.
    pub fn of_file<'a>(
        problem: &impl std::fmt::Display,
        named: impl IntoIterator<Item = (&'static str, &'a PemSource)>,
    ) -> Self {
        let text = problem.to_string();
        let meant = named.into_iter().filter(|(_, file)| text.contains(&file.name));
        // If the text contains two names, the shorter may be a part of the longer. If two flags name the same file, the
        // flag for the missing kind of content is reported.
        let lacks =
            [("no certificate revocation list", "--crl"), ("no certificate,", "--cert"), ("no private key", "--key")];
        let lacking = lacks.into_iter().find(|(lack, _)| text.contains(lack)).map(|(_, flag)| flag);
        let rank =
            |(flag, file): &(&str, &PemSource)| (file.name.len(), lacking.is_some_and(|lacking| *flag == lacking));
        let meant = meant.reduce(|best, other| if rank(&other) > rank(&best) { other } else { best });
        match meant {
            Some((flag, _)) if !text.contains(flag) => Self::usage(flag, text),
            _ => Self::Usage(text),
        }
    }

    /// Bad arguments: clap's message in one sentence. `arguments` are those of this process.
    pub fn of_arguments(error: &clap::Error, arguments: impl Iterator<Item = String>) -> Self {
        if let Some(negative) = negative_value(error, arguments) {
            return Self::Usage(negative);
        }
        let rendered = error.render().to_string();
        let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_unknown = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
        let mut paragraphs = rendered.split("\n\n");
        let mut sentence = range_in_words(joined(paragraphs.next().unwrap_or_default().trim_start_matches("error: ")));
        for paragraph in paragraphs {
            let paragraph = joined(paragraph);
            // The usage helps only where an argument is missing: it shows which belong together.
            let is_missing = error.kind() == ErrorKind::MissingRequiredArgument;
            // clap's message already lists the possible values.
            let is_listed = error.kind() == ErrorKind::InvalidValue;
            if let Some(tip) = paragraph.strip_prefix("tip: ").filter(|_| !is_listed) {
                sentence = format!("{sentence}: {tip}");
            } else if let Some(usage) = paragraph.strip_prefix("Usage: ").filter(|_| is_missing) {
                sentence = format!("{sentence}, as in {usage}");
            } else if let Some(usage) = paragraph.strip_prefix("Usage: ").filter(|_| is_unknown) {
                let is_word = |word: &&str| !word.starts_with(['[', '<', '-']);
                let command: Vec<_> = usage.split(' ').take_while(is_word).collect();
                sentence = format!("{sentence}; `{} --help` lists them", command.join(" "));
            }
        }
        Self::Usage(sentence)
    }

    /// The exit code of this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

/// Rewrites clap's "is not in A..B", which is Rust's notation for ranges.
fn range_in_words(sentence: String) -> String {
    let Some((begin, range)) = sentence.split_once(" is not in ") else { return sentence };
    let (Some((least, most)), Some((begin, _))) = (range.split_once(".."), begin.rsplit_once(": ")) else {
        return sentence;
    };
    match most.strip_prefix('=') {
        Some(most) => format!("{begin}: must be a number from {least} to {most}"),
        // No upper bound was set.
        None => format!("{begin}: must be a number from {least} up"),
    }
}

/// The message for a flag with a negative number, which clap takes for an unknown flag.
fn negative_value(error: &clap::Error, arguments: impl Iterator<Item = String>) -> Option<String> {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_number = unknown.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if error.kind() != ErrorKind::UnknownArgument || !is_number {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let mut pairs = arguments.iter().zip(arguments.iter().skip(1));
    let (flag, value) = pairs.find(|(flag, value)| flag.starts_with("--") && value.starts_with(unknown.as_str()))?;
    Some(format!("invalid value '{value}' for '{flag}': it must not be negative"))
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_file_names_its_flag() {
        let file = |name: &str| PemSource { name: name.to_owned(), bytes: Vec::new() };
        let (short, long) = (file("a.pem"), file("certs/a.pem"));
        let told =
            |text: &str| Failure::of_file(&text, [("--cert", &short), ("--key", &long), ("--crl", &short)]).to_string();
        assert_eq!(told("a.pem is empty"), "--cert: a.pem is empty");
        let lacks = "a.pem holds no certificate revocation list, only CERTIFICATE";
        assert_eq!(told(lacks), format!("--crl: {lacks}"));
        assert_eq!(told("certs/a.pem is empty"), "--key: certs/a.pem is empty");
        assert_eq!(told("a.pem is no --cert"), "a.pem is no --cert");
        assert_eq!(told("the clock is wrong"), "the clock is wrong");
    }
}
