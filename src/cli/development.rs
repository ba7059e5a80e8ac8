//! The development CA, server and client certificate that `serve` creates when `--cert` is not given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{ServerName, UnixTime};

use super::files::{self, FileError, Readers, Writers};
use crate::tls::authority::{Authority, AuthorityError, Issued, KeyKind, Role, Subject};
use crate::tls::{Certificate, ClientTrust, PemSource, ServerTrust};

/// Common name of the development CA, by which it is recognised.
const CA_NAME: &str = "latchkey development CA";

/// A leaf with less than this left, in seconds, is renewed, so that a server started now can run for a day.
const MARGIN: u64 = 24 * 60 * 60;

/// The development certificates, all of them valid.
#[derive(Clone, Debug)]
pub struct DevelopmentIdentities {
    /// The folder.
    pub dir: PathBuf,
    /// The CA's certificate.
    pub ca: PemSource,
    /// The server's certificate and key, for `localhost`, `127.0.0.1` and `::1`.
    pub server: (PemSource, PemSource),
    /// A client's certificate and key.
    pub client: (PemSource, PemSource),
    /// Whether any of them was created by this call.
    pub made: bool,
}

impl DevelopmentIdentities {
    /// The private key files.
    pub fn keys(&self) -> [PathBuf; 3] {
        ["ca-key.pem", "server-key.pem", "client-key.pem"].map(|name| self.dir.join(name))
    }
}

/// Errors of [`development_identities`].
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// The folder could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that would be overwritten was not created as a development certificate.
    #[error("{} is in the way: it is not a usable development certificate; move it, or pass your own files with --cert and --key", .0.display())]
    Foreign(PathBuf),
    /// Another user could have put the folder's files there, or could replace them.
    #[error("{} {}, who could impersonate the server; remove it, start in another folder, or pass your own files with --cert and --key", .0.display(), .1)]
    NotOurs(PathBuf, &'static str),
    /// A certificate could not be issued, or the existing CA cannot be used.
    #[error("{0} (delete the folder's .pem files to start over)")]
    Authority(#[from] AuthorityError),
}

/// Finds or creates the development certificates in `dir`. `now` is in seconds since the Unix epoch.
///
/// The CA is created once. Leaves that are missing, about to expire or from another CA are issued again. Servers
/// started at the same time wait for each other and use the same files.
pub fn development_identities(dir: &Path, now: u64) -> Result<DevelopmentIdentities, DevelopmentError> {
    check_owner(dir)?;
    let _guard = files::lock(dir)?;
    // Another user may have created the folder before the lock did.
    check_owner(dir)?;
    let (ca_path, ca_key_path) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    let mut made = false;
    let authority = if let Some(certificate) = read_if_there(&ca_path)? {
        // A CA created by another tool must not issue certificates that its servers would trust.
        let key = read_if_there(&ca_key_path)?.filter(|_| is_of(&certificate, CA_NAME));
        let key = key.ok_or_else(|| DevelopmentError::Foreign(ca_path.clone()))?;
        Authority::load(&certificate, &key, now)?
    } else {
        made = true;
        let authority = Authority::create(KeyKind::default(), CA_NAME, now)?;
        save(&authority.files(), &ca_path, &ca_key_path)?;
        authority
    };
    let ca = files::read(&ca_path)?;
    let mut leaf = |role, name: &str, subject: Subject| {
        let paths = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        if let Some(certificate) = read_if_there(&paths.0)? {
            if let Some(key) = read_if_there(&paths.1)?
                && is_usable(role, &ca, &certificate, &key, now + MARGIN)
            {
                return Ok((certificate, key));
            }
            if !is_of(&certificate, subject.common_name()) {
                return Err(DevelopmentError::Foreign(paths.0));
            }
        }
        made = true;
        save(&authority.issue(role, &subject, KeyKind::default(), now)?, &paths.0, &paths.1)?;
        Ok((files::read(&paths.0)?, files::read(&paths.1)?))
    };
    let local = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"].map(str::to_owned);
    let server = leaf(Role::Server, "server", Subject::named("localhost", &local)?)?;
    let client = leaf(Role::Client, "client", Subject::named("client", &[])?)?;
    Ok(DevelopmentIdentities { dir: dir.to_owned(), ca, server, client, made })
}

/// Refuses a folder that belongs to another user or that others may write into: in a folder for everyone, such as
/// `/tmp`, another user may have created it first, with known keys.
fn check_owner(dir: &Path) -> Result<(), DevelopmentError> {
    match files::writers(dir) {
        Ok(Writers::Owner) => Ok(()),
        Ok(Writers::AnotherUser) => Err(DevelopmentError::NotOurs(dir.to_owned(), "belongs to another user")),
        Ok(Writers::Others) => Err(DevelopmentError::NotOurs(dir.to_owned(), "is writable by other users")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The key first: a certificate without its key is issued again, a key without its certificate would be overwritten.
fn save(issued: &Issued, certificate: &Path, key: &Path) -> Result<(), FileError> {
    files::write(key, &issued.key, Readers::Owner)?;
    files::write(certificate, &issued.certificate, Readers::Everyone)
}

fn read_if_there(path: &Path) -> Result<Option<PemSource>, FileError> {
    match files::read(path) {
        Ok(source) => Ok(Some(source)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the certificate in a file has the common name `name`, as development certificates do.
fn is_of(certificate: &PemSource, name: &str) -> bool {
    let chain = certificate.certificates().unwrap_or_default();
    let leaf = chain.first().and_then(|leaf| Certificate::from_der(leaf).ok());
    leaf.is_some_and(|leaf| leaf.common_name.as_deref() == Some(name))
}

/// Whether a leaf matches its key and the CA verifies it until `then`.
fn is_usable(role: Role, ca: &PemSource, certificate: &PemSource, key: &PemSource, then: u64) -> bool {
    let provider = aws_lc_rs::default_provider();
    let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
    let Ok(chain) = certificate.certificates() else { return false };
    let Some(leaf) = chain.first() else { return false };
    let Ok(key) = key.private_key() else { return false };
    let matches = provider
        .key_provider
        .load_private_key(key)
        .is_ok_and(|key| CertifiedKey::new(chain.clone(), key).keys_match().is_ok());
    let trusted = match role {
        Role::Server => ServerName::try_from("localhost").is_ok_and(|name| {
            ServerTrust::new(std::slice::from_ref(ca), &provider)
                .is_ok_and(|trust| trust.check(leaf, &[], &name, then).is_ok())
        }),
        Role::Client => ClientTrust::new(std::slice::from_ref(ca), &[], &[], &provider, then.as_secs())
            .is_ok_and(|trust| trust.admit(&chain, then).is_ok()),
    };
    matches && trusted
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const YEAR: u64 = 365 * 24 * 60 * 60;

    #[test]
    fn development_certificates_are_created_once_and_reused() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("certs");
        let first = development_identities(&dir, NOW).expect("made");
        assert!(first.made);
        for name in ["ca-key.pem", "server-key.pem", "client-key.pem"] {
            let mode = std::fs::metadata(dir.join(name)).expect("a key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let second = development_identities(&dir, NOW + 1).expect("found");
        assert!(!second.made);
        assert_eq!((first.ca, first.server, first.client), (second.ca, second.server, second.client));
    }

    #[test]
    fn expired_leaves_and_leaves_without_a_key_are_issued_again_by_the_same_ca() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = development_identities(dir.path(), NOW).expect("made");
        let later = development_identities(dir.path(), NOW + 2 * YEAR).expect("renewed");
        assert!(later.made);
        assert_eq!(first.ca, later.ca);
        assert_ne!(first.server, later.server);

        std::fs::copy(dir.path().join("client-key.pem"), dir.path().join("server-key.pem")).expect("a copy");
        let mended = development_identities(dir.path(), NOW + 2 * YEAR).expect("mended");
        assert_ne!(later.server.0, mended.server.0);
        assert_eq!(later.client, mended.client);
    }

    #[test]
    fn foreign_files_are_not_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        development_identities(dir.path(), NOW).expect("made");
        std::fs::copy(dir.path().join("client.pem"), dir.path().join("server.pem")).expect("a copy");
        let error = development_identities(dir.path(), NOW).expect_err("it must be refused").to_string();
        assert!(error.contains("server.pem is in the way"), "{error}");
        std::fs::remove_file(dir.path().join("ca-key.pem")).expect("removed");
        let error = development_identities(dir.path(), NOW).expect_err("it must be refused").to_string();
        assert!(error.contains("ca.pem is in the way"), "{error}");
    }

    #[test]
    fn a_foreign_ca_issues_no_development_certificates() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::create(KeyKind::default(), "production CA", NOW).expect("a CA");
        save(&authority.files(), &dir.path().join("ca.pem"), &dir.path().join("ca-key.pem")).expect("saved");
        let error = development_identities(dir.path(), NOW).expect_err("it must be refused").to_string();
        assert!(error.contains("ca.pem is in the way"), "{error}");
        assert!(!dir.path().join("client.pem").exists());
    }

    #[test]
    fn a_folder_writable_by_others_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = parent.path().join("certs");
        development_identities(&dir, NOW).expect("made");
        for mode in [0o777, 0o770, 0o702] {
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).expect("changed");
            let error = development_identities(&dir, NOW).expect_err("it must be refused").to_string();
            assert!(error.contains("is writable by other users") && error.contains("--cert"), "{mode:o}: {error}");
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("changed");
        assert!(!development_identities(&dir, NOW).expect("found").made);
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&dir, Some(65_534), None).expect("given away");
        }
        let others = if is_root { dir.as_path() } else { Path::new("/") };
        let error = development_identities(others, NOW).expect_err("it must be refused").to_string();
        assert!(error.contains("belongs to another user"), "{error}");
    }

    #[test]
    fn servers_started_together_use_the_same_certificates() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = std::thread::scope(|scope| {
            let run = || development_identities(dir.path(), NOW).expect("made or found").server;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
