//! `certs check`: what each kind of verifier would reject, and what to do.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{CertsError, Check, DEFAULT_DIR, Outcome, days, doctor, unreadable};
use crate::cli::files::{self, ReadableBy};
use crate::tls::authority::Role;
use crate::tls::{
    Certificate, ClientTrust, Objection, Purpose, Refusal, ServerTrust, Source, Verifier, date, examine, printable,
    revoked_serials,
};

/// A certificate with less than this left is mentioned.
const SOON: u64 = 30 * 24 * 60 * 60;

pub(super) fn check(args: &Check, now: u64, out: &mut dyn Write) -> Result<Outcome, CertsError> {
    let server = |target: &String| if Path::new(target).exists() { None } else { doctor::Address::parse(target) };
    if let [target] = args.targets.as_slice()
        && let Some(address) = server(target)
    {
        if args.crl.is_some() {
            return Err(CertsError::Usage("--crl is for files: whom a server lets in, its own lists decide".into()));
        }
        return doctor::examine(&address, args.ca.as_deref(), now, out);
    }
    if let Some(server) = args.targets.iter().find(|target| server(target).is_some()) {
        let text = format!("{server} is no file: a live server is checked alone, by `latchkey certs check {server}`");
        return Err(CertsError::Usage(text));
    }
    let ca = args.ca.as_deref().map(files::read).transpose()?;
    let revoked = match (&ca, &args.crl) {
        (Some(ca), Some(list)) => Some(serials(ca, list)?),
        _ => None,
    };
    let voucher = Voucher { ca, revoked };
    let mut outcome = Outcome::Fine;
    let mut key = args.key.as_deref();
    for target in &args.targets {
        let path = Path::new(target);
        if file(path, key.take(), &voucher, now, out)? == Outcome::Faulty {
            outcome = Outcome::Faulty;
        }
    }
    Ok(outcome)
}

/// Examines one file of certificates: the first as what it is, those after it as its chain.
fn file(
    path: &Path,
    key: Option<&Path>,
    voucher: &Voucher,
    now: u64,
    out: &mut dyn Write,
) -> Result<Outcome, CertsError> {
    let chain = files::read(path)?.certificates()?;
    let (first, intermediates) = chain.split_first().ok_or_else(|| CertsError::Usage("no certificate".to_owned()))?;
    let certificate = Certificate::from_der(first).map_err(unreadable(path))?;
    let (purpose, mut objections) = examine(first, now).map_err(unreadable(path))?;
    if let Some(ca) = &voucher.ca {
        objections.extend(untrusted(ca, first, intermediates, purpose, &certificate, now)?);
    }
    let revoked = voucher.revoked.as_ref();
    let entry = revoked.and_then(|revoked| revoked.iter().find(|(serial, _)| *serial == certificate.serial));
    if let Some((_, at)) = entry {
        objections
            .push(Objection { by: &Verifier::ALL, why: format!("with this --crl, it was revoked on {}", date(*at)) });
    }
    let expiry = format!("{} ({})", date(certificate.not_after), days(certificate.not_after, now));
    writeln!(out, "{}: {}, as {purpose}'s, until {expiry}", path.display(), certificate.subject)?;
    for verifier in Verifier::ALL {
        let mut reasons = objections.iter().filter(|objection| objection.by.contains(&verifier)).peekable();
        if reasons.peek().is_none() {
            writeln!(out, "  {verifier:<22}accepts it")?;
        }
        for reason in reasons {
            writeln!(out, "  {verifier:<22}REJECTS it: {}", reason.why)?;
        }
    }
    let fix = (!objections.is_empty()).then(|| remake(path, purpose, &certificate));
    let key_fault = key.map(|key| key_fault(key, &certificate)).transpose()?.flatten();
    for (fault, fix) in key_fault.iter().map(|(fault, fix)| (fault.as_str(), fix.as_str())) {
        writeln!(out, "  the key: {fault}\n  fix: {fix}")?;
    }
    // Being listed excuses how a certificate was made, but not what nobody accepts.
    let is_hopeless = |objection: &Objection| Verifier::ALL.iter().all(|verifier| objection.by.contains(verifier));
    let is_excused = !objections.is_empty() && !objections.iter().any(is_hopeless);
    if certificate.is_self_issued() && purpose != Purpose::Authority && is_excused {
        let flag = if purpose == Purpose::EndEntity(Role::Server) { "--ca" } else { "--client-ca or --client-pin" };
        writeln!(out, "  latchkey itself accepts this very certificate when it is listed with {flag}")?;
    }
    let list = files::folder(path).join("crl.pem");
    if revoked.is_none() && purpose != Purpose::Authority && list.exists() {
        writeln!(out, "  nobody has looked whether it was revoked: name the list by --crl {}", list.display())?;
    }
    if let Some(fix) = &fix {
        writeln!(out, "  fix: {fix}")?;
    } else if certificate.not_after < now.saturating_add(SOON) {
        writeln!(out, "  it ends soon; renew it with: {}", remake(path, purpose, &certificate))?;
    }
    Ok(if fix.is_some() || key_fault.is_some() { Outcome::Faulty } else { Outcome::Fine })
}

/// Who must vouch for a certificate.
struct Voucher {
    ca: Option<Source>,
    /// What it has revoked, serial numbers and when, if there is a list.
    revoked: Option<Vec<(Vec<u8>, u64)>>,
}

/// What the list at `path` has revoked.
fn serials(ca: &Source, path: &Path) -> Result<Vec<(Vec<u8>, u64)>, CertsError> {
    let authority = ca.certificates()?.swap_remove(0);
    let authority = Certificate::from_der(&authority).map_err(unreadable(Path::new(&ca.name)))?;
    Ok(revoked_serials(&files::read(path)?, &authority)?)
}

/// The one command that makes a certificate nobody objects to, in the folder where the one at `path` is.
fn remake(path: &Path, purpose: Purpose, certificate: &Certificate) -> String {
    let elsewhere = Some(files::folder(path)).filter(|folder| *folder != Path::new(DEFAULT_DIR));
    let dir = elsewhere.map_or(String::new(), |dir| format!(" --dir {}", quoted(&dir.to_string_lossy())));
    let role = match purpose {
        Purpose::Authority => return format!("latchkey certs init{dir} --force"),
        Purpose::EndEntity(Role::Server) => "server",
        Purpose::EndEntity(Role::Client) => "client",
    };
    let mut names = certificate.server_names().into_iter();
    let name = certificate.common_name.clone().or_else(|| names.next()).unwrap_or_else(|| "NAME".to_owned());
    let further = |kind: &str, names: &[String]| -> String {
        let others = names.iter().filter(|other| **other != name);
        others.flat_map(|other| [" --san ".to_owned(), quoted(&format!("{kind}:{other}"))]).collect()
    };
    let addresses: Vec<String> = certificate.addresses.iter().map(ToString::to_string).collect();
    format!(
        "latchkey certs {role}{dir} {}{}{}{}{} --force",
        quoted(&name),
        further("DNS", &certificate.dns),
        further("IP", &addresses),
        further("URI", &certificate.uris),
        further("EMAIL", &certificate.emails),
    )
}

/// A word for the shell. The names come from a certificate, so nothing in them may be taken for anything else.
fn quoted(word: &str) -> String {
    let word = printable(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What our own verifiers, which are webpki, say with this CA.
fn untrusted(
    ca: &Source,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    purpose: Purpose,
    certificate: &Certificate,
    now: u64,
) -> Result<Option<Objection>, CertsError> {
    let provider = aws_lc_rs::default_provider();
    let ca = std::slice::from_ref(ca);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let result = match purpose {
        Purpose::Authority => return Ok(None),
        Purpose::EndEntity(Role::Client) => {
            let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
            ClientTrust::new(ca, &[], &[], &provider, now)?.admit(&chain, at).map(|_| ())
        }
        Purpose::EndEntity(Role::Server) => {
            let names = certificate.server_names();
            let name = names.iter().find_map(|name| ServerName::try_from(name.trim_start_matches("*.")).ok());
            let Some(name) = name else { return Ok(None) };
            ServerTrust::new(ca, &provider)?.check(leaf, intermediates, &name, at)
        }
    };
    // The other refusals have been found by looking at the certificate alone.
    Ok(match result {
        Err(refusal @ (Refusal::UnknownIssuer { .. } | Refusal::SelfSigned { .. } | Refusal::Signature)) => {
            Some(Objection { by: &Verifier::ALL, why: format!("with this --ca, {refusal}") })
        }
        _ => None,
    })
}

/// What is wrong with the private key, and what fixes it.
fn key_fault(path: &Path, certificate: &Certificate) -> Result<Option<(String, String)>, CertsError> {
    let shown = path.display();
    let key = files::read(path)?.private_key()?;
    let signing = aws_lc_rs::default_provider().key_provider.load_private_key(key);
    let signing = match signing {
        Ok(signing) => signing,
        Err(error) => {
            return Ok(Some((format!("{shown} cannot be used: {error}"), remade_key())));
        }
    };
    if signing.public_key().is_some_and(|public_key| public_key != certificate.public_key) {
        return Ok(Some((format!("{shown} does not belong to this certificate"), remade_key())));
    }
    Ok(match files::readers(path)? {
        ReadableBy::Owner => None,
        readers => {
            Some((format!("{shown} is readable by {readers}"), format!("chmod 600 {}", quoted(&shown.to_string()))))
        }
    })
}

fn remade_key() -> String {
    "pass the key that the certificate was made with, or make both anew with `latchkey certs server` or `client`"
        .to_owned()
}
