//! The remedy for a rejected certificate: a command, or who can fix it.

use std::path::{Path, PathBuf};

use super::DEFAULT_DIR;
use crate::cli::files;
use crate::tls::authority::Role;
use crate::tls::{Certificate, Purpose, printable};

/// A certificate to be issued again.
pub(super) struct Remake<'a> {
    pub(super) path: &'a Path,
    pub(super) purpose: Purpose,
    pub(super) certificate: &'a Certificate,
    /// The file of the CA that must issue it.
    pub(super) ca: Option<&'a Path>,
}

impl Remake<'_> {
    /// The command that issues an acceptable certificate, and the file it writes if that is another one.
    pub(super) fn command(&self) -> String {
        let role = match self.purpose {
            Purpose::Authority => return self.authority(),
            Purpose::EndEntity(Role::Server) => "server",
            Purpose::EndEntity(Role::Client) => "client",
        };
        let dir = self.issuing_folder();
        let option = dir_option(&dir);
        let name = self.name();
        let written = dir.join(format!("{}.pem", name.replace('*', "_")));
        let force = if written.exists() { " --force" } else { "" };
        let init = if dir.join("ca.pem").exists() { String::new() } else { format!("latchkey certs init{option} && ") };
        let elsewhere =
            if is_same(&written, self.path) { String::new() } else { format!(", which writes {}", written.display()) };
        format!("{init}latchkey certs {role}{option} {}{}{force}{elsewhere}", quoted(&name), self.further_names(&name))
    }

    fn authority(&self) -> String {
        let dir = files::folder(self.path);
        if is_same(&dir.join("ca.pem"), self.path) && dir.join("ca-key.pem").exists() {
            let option = dir_option(dir);
            return format!("latchkey certs init{option} --force, and then issue all its certificates again");
        }
        "the holder of this CA's key must make a new CA, and then issue all its certificates again".to_owned()
    }

    /// The folder of the issuing CA, or else the certificate's own folder.
    fn issuing_folder(&self) -> PathBuf {
        let own = files::folder(self.path);
        let of_ca = self.ca.filter(|ca| !is_same(&own.join("ca.pem"), ca)).map(files::folder);
        let of_ca = of_ca.filter(|dir| dir.join("ca-key.pem").exists());
        of_ca.unwrap_or(own).to_path_buf()
    }

    /// The subject: for a server one of its host names or addresses.
    fn name(&self) -> String {
        let certificate = self.certificate;
        let common = certificate.common_name.clone();
        let names = certificate.server_names();
        let is_host = |name: &String| names.contains(name);
        let chosen = match self.purpose {
            Purpose::EndEntity(Role::Server) => common.filter(is_host).or_else(|| names.first().cloned()),
            _ => common.or_else(|| names.first().cloned()),
        };
        chosen.unwrap_or_else(|| "NAME".to_owned())
    }

    fn further_names(&self, name: &str) -> String {
        let certificate = self.certificate;
        let further = |kind: &str, names: &[String]| -> String {
            let others = names.iter().filter(|other| *other != name);
            others.flat_map(|other| [" --san ".to_owned(), quoted(&format!("{kind}:{other}"))]).collect()
        };
        let addresses: Vec<String> = certificate.addresses.iter().map(ToString::to_string).collect();
        [
            further("DNS", &certificate.dns),
            further("IP", &addresses),
            further("URI", &certificate.uris),
            further("EMAIL", &certificate.emails),
        ]
        .concat()
    }
}

/// The remedy for a well-formed certificate that the CA in `--ca` has not issued.
pub(super) fn other_ca(path: &Path, certificate: &Certificate, passed: &[Certificate]) -> String {
    if let Some(ca) = passed.iter().find(|ca| certificate.is_issued_by(ca)) {
        return format!("the fault is not in this certificate but in that of its issuer {}", ca.subject);
    }
    let near = files::folder(path).join("ca.pem");
    let beside = files::read(&near).ok().and_then(|source| source.certificates().ok());
    let beside = beside.iter().flatten().filter_map(|der| Certificate::from_der(der).ok());
    let mut beside = beside.filter(|ca| certificate.is_issued_by(ca));
    let where_it_is = match beside.next() {
        Some(_) => format!(" --ca {}", quoted(&near.display().to_string())),
        None => " --ca FILE".to_owned(),
    };
    format!(
        "{} issued it: pass the certificate of that CA with{where_it_is}, and append the intermediate certificates to \
         the certificate's own file",
        certificate.issuer
    )
}

/// The remedy for a faulty certificate in the chain.
pub(super) fn chain(certificate: &Certificate) -> String {
    format!(
        "the fault is in the certificates of its chain: get new ones of {} from the operator of that CA",
        certificate.issuer
    )
}

fn dir_option(dir: &Path) -> String {
    if dir == Path::new(DEFAULT_DIR) { String::new() } else { format!(" --dir {}", quoted(&dir.to_string_lossy())) }
}

/// Whether two paths name the same file, which need not exist.
fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| Some(files::folder(path).canonicalize().ok()?.join(path.file_name()?));
    whole(one).is_some_and(|one| Some(one) == whole(other))
}

/// Quotes a word for the shell: names from a certificate may contain any characters.
pub(super) fn quoted(word: &str) -> String {
    let word = printable(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
