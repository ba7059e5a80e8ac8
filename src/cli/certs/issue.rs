//! `certs init`, `server`, `client` and `revoke`: what the private CA issues.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{CertsError, Init, Issue, Revoke, days, unreadable};
use crate::cli::files::{self, Readers};
use crate::tls::authority::{Authority, Issued, Role, Subject, undotted};
use crate::tls::{Certificate, Revocations, date};

pub(super) fn init(args: &Init, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    let _guard = files::lock(&args.dir)?;
    let (certificate, key) = paths(&args.dir, "ca");
    refuse_existing(&[&certificate, &key], args.force, "; every certificate it issued then becomes invalid")?;
    let authority = Authority::create(args.key_type.into(), &args.name, now)?;
    save(&authority.files(), &certificate, &key, out)?;
    // A list of the previous CA with the same name would be taken for one of the new CA, and its signature would not
    // verify.
    let list = args.dir.join("crl.pem");
    if args.force && list.exists() {
        files::remove(&list)?;
    }
    Ok(())
}

pub(super) fn server(args: &Issue, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    let subject = Subject::server(&args.name, &args.alt_names)?;
    leaf(args, undotted(&args.name), Role::Server, &subject, now, out)
}

pub(super) fn client(args: &Issue, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    leaf(args, &args.name, Role::Client, &Subject::named(&args.name, &args.alt_names)?, now, out)
}

fn leaf(
    args: &Issue,
    name: &str,
    role: Role,
    subject: &Subject,
    now: u64,
    out: &mut dyn Write,
) -> Result<(), CertsError> {
    let name = file_name(name)?;
    let _guard = lock(&args.dir)?;
    let (certificate, key) = paths(&args.dir, &name);
    refuse_existing(&[&certificate, &key], args.force, "")?;
    let authority = authority(&args.dir, now)?;
    let issued = authority.issue(role, subject, args.key_type.into(), now)?;
    save(&issued, &certificate, &key, out)?;
    if let Some(end) = authority.cuts_short(now) {
        let (end, left) = (date(end), days(end, now));
        writeln!(
            out,
            "it expires on {end}, {left}, because the CA does: make a new CA before that, `latchkey certs init --force`"
        )?;
    }
    Ok(())
}

/// File systems limit names to 255 bytes; `-key.pem` and the suffix of the temporary file need some of them.
const FILE_NAME_MAX: usize = 220;

/// The base name of a leaf's files: a plain file name, and not one of the CA's files.
fn file_name(name: &str) -> Result<String, CertsError> {
    let file = name.replace('*', "_");
    let reserved = matches!(file.as_str(), "ca" | "crl") || file.ends_with("-key");
    if reserved || file.len() > FILE_NAME_MAX || file.starts_with('.') || file.contains(['/', '\\']) {
        let text = format!("NAME {name:?} cannot be used in file names; choose another, and pass this one with --san");
        return Err(CertsError::Usage(text));
    }
    Ok(file)
}

fn paths(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")))
}

fn refuse_existing(paths: &[&PathBuf], force: bool, consequence: &str) -> Result<(), CertsError> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) if !force => {
            let text = format!("{} exists; --force replaces it{consequence}", path.display());
            Err(CertsError::Usage(text))
        }
        _ => Ok(()),
    }
}

/// Locks a folder that has a CA. Without one, nothing is created.
fn lock(dir: &Path) -> Result<File, CertsError> {
    if !paths(dir, "ca").0.exists() {
        let text =
            format!("there is no CA in {dir}; make one with `latchkey certs init --dir {dir}`", dir = dir.display());
        return Err(CertsError::Usage(text));
    }
    Ok(files::lock(dir)?)
}

fn authority(dir: &Path, now: u64) -> Result<Authority, CertsError> {
    let (certificate, key) = paths(dir, "ca");
    Ok(Authority::load(&files::read(&certificate)?, &files::read(&key)?, now)?)
}

fn save(issued: &Issued, certificate: &Path, key: &Path, out: &mut dyn Write) -> Result<(), CertsError> {
    files::write(key, &issued.key, Readers::Owner)?;
    files::write(certificate, &issued.certificate, Readers::Everyone)?;
    writeln!(out, "{}", certificate.display())?;
    writeln!(out, "{}", key.display())?;
    Ok(())
}

pub(super) fn revoke(args: &Revoke, now: u64, out: &mut dyn Write) -> Result<(), CertsError> {
    let _guard = lock(&args.dir)?;
    let authority = authority(&args.dir, now)?;
    let path = args.dir.join("crl.pem");
    let mut revoked = if path.exists() {
        Revocations::read(&files::read(&path)?, authority.certificate())?
    } else {
        Revocations::default()
    };
    for file in &args.files {
        let der = files::read(file)?.certificates()?.swap_remove(0);
        let certificate = Certificate::from_der(&der).map_err(unreadable(file))?;
        if certificate.der == authority.certificate().der {
            let text = format!(
                "{} is the CA itself, which cannot revoke itself: remove it from every --ca and --client-ca instead, and \
                 make another with `latchkey certs init --force`",
                file.display()
            );
            return Err(CertsError::Usage(text));
        }
        if !certificate.is_issued_by(authority.certificate()) {
            let text = format!("{} was not issued by the CA in {}", file.display(), args.dir.display());
            return Err(CertsError::Usage(text));
        }
        revoked.add(&certificate.serial, now);
    }
    files::write(&path, &authority.renewed_list(&revoked, args.days, now)?, Readers::Everyone)?;
    let until = now + args.days * 24 * 60 * 60;
    let (count, end) = (revoked.len(), date(until));
    writeln!(out, "{}: {count} revoked, expires on {end}, {}", path.display(), days(until, now))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_name_never_leads_elsewhere_or_onto_the_ca() {
        for bad in ["ca", "crl", "alice-key", "../x", "/etc/x", "a/b", ".", "..", ".hidden"] {
            assert!(file_name(bad).is_err(), "{bad}");
        }
        assert_eq!(file_name("*.example.org").expect("a wildcard"), "_.example.org");
        assert_eq!(file_name("::1").expect("an address"), "::1");
    }
}
