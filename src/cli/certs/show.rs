//! `certs show`: a summary of certificates, keys and revocation lists.

use std::io::Write;
use std::path::{Path, PathBuf};

use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension, X509Certificate};

use super::{CertsError, days, unreadable};
use crate::cli::files;
use crate::tls::{Certificate, MalformedCertificate, PemError, PemSource, date, hex, printable};

pub(super) fn show(paths: &[PathBuf], now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    for path in paths {
        let source = files::read(path)?;
        let certificates = absent_or(source.certificates())?;
        let lists = absent_or(source.revocation_lists())?;
        let (key, is_locked) = match absent_or(source.private_key().map(|key| vec![key])) {
            // An encrypted key does not prevent the rest of the file from being shown.
            Err(PemError::Encrypted { .. }) if !certificates.is_empty() || !lists.is_empty() => (Vec::new(), true),
            found => (found?, false),
        };
        if certificates.is_empty() && lists.is_empty() && key.is_empty() {
            // The error about certificates names what the file holds instead.
            return Err(source.certificates().err().map_or_else(|| nothing(&source), CertsError::from));
        }
        writeln!(out, "{}:", path.display())?;
        for der in &certificates {
            certificate(der, path, now, out)?;
        }
        for der in &lists {
            revocation_list(der, path, now, out)?;
        }
        if is_locked {
            writeln!(out, "  private key, encrypted, readable by {}", files::readers(path)?)?;
        }
        if !key.is_empty() {
            writeln!(out, "  private key, readable by {}", files::readers(path)?)?;
        }
    }
    Ok(())
}

fn nothing(source: &PemSource) -> CertsError {
    CertsError::Usage(format!("{} holds no certificate, key or revocation list", source.name))
}

/// A kind that is absent is not an error; a damaged one is.
fn absent_or<T>(found: Result<Vec<T>, PemError>) -> Result<Vec<T>, PemError> {
    match found {
        Err(error @ (PemError::Damaged { .. } | PemError::Encrypted { .. })) => Err(error),
        Err(_) => Ok(Vec::new()),
        Ok(found) => Ok(found),
    }
}

fn certificate(der: &[u8], path: &Path, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    let read = Certificate::from_der(der).map_err(unreadable(path))?;
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| unreadable(path)(MalformedCertificate(error.to_string())))?;
    writeln!(out, "  certificate of {}", read.subject)?;
    let issuer = if read.is_self_issued() { "itself" } else { &read.issuer };
    let end = days(read.not_after, now);
    writeln!(out, "    issued by    {issuer}")?;
    writeln!(out, "    valid        {} to {} ({end})", date(read.not_before), date(read.not_after))?;
    let names: Vec<String> = [("DNS", &read.dns), ("URI", &read.uris), ("EMAIL", &read.emails)]
        .iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{}", printable(name))))
        .chain(read.addresses.iter().map(|address| format!("IP:{address}")))
        .collect();
    let names = if names.is_empty() { "none in subjectAltName".to_owned() } else { names.join(", ") };
    writeln!(out, "    names        {names}")?;
    writeln!(out, "    key          {}", key_kind(&parsed))?;
    writeln!(out, "    for          {}", uses(&parsed))?;
    writeln!(out, "    serial       {}", hex(&read.serial))?;
    writeln!(out, "    sha256       {}", hex(&read.fingerprint()))?;
    Ok(())
}

fn key_kind(parsed: &X509Certificate<'_>) -> String {
    let key = parsed.public_key();
    let bits = key.parsed().map_or(0, |key| key.key_size());
    match key.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => format!("RSA, {bits} bits"),
        "1.2.840.10045.2.1" => format!("ECDSA, {bits} bits"),
        "1.3.101.112" => "Ed25519".to_owned(),
        other => format!("algorithm {other}"),
    }
}

fn uses(parsed: &X509Certificate<'_>) -> String {
    let mut uses = Vec::new();
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) if basic.ca => uses.push("CA".to_owned()),
            ParsedExtension::KeyUsage(usage) => uses.push(usage.to_string().to_lowercase()),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                uses.extend(usage.server_auth.then(|| "servers".to_owned()));
                uses.extend(usage.client_auth.then(|| "clients".to_owned()));
            }
            _ => {}
        }
    }
    if uses.is_empty() { "anything".to_owned() } else { uses.join(", ") }
}

fn revocation_list(der: &[u8], path: &Path, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    let broken = |error: &dyn std::fmt::Display| unreadable(path)(MalformedCertificate(error.to_string()));
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| broken(&error))?;
    let renewal = list.next_update().and_then(|time| u64::try_from(time.timestamp()).ok());
    writeln!(out, "  revocation list of {}", list.issuer())?;
    match renewal {
        Some(time) => writeln!(out, "    renewal      before {} ({})", date(time), days(time, now))?,
        None => writeln!(out, "    renewal      never: it has no nextUpdate, and is not accepted")?,
    }
    for entry in list.iter_revoked_certificates() {
        let at = u64::try_from(entry.revocation_date.timestamp()).unwrap_or(0);
        writeln!(out, "    revoked      {} on {}", hex(entry.raw_serial()), date(at))?;
    }
    Ok(())
}
