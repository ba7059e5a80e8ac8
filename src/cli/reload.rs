//! TLS policies made from files, and reloaded when the files change.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::development::DevelopmentIdentities;
use super::tls_options::TlsArgs;
use super::{Failure, files, units};
use crate::access::Reach;
use crate::server::{Handle, Security};
use crate::tls::{Certificate, ClientTrust, OutdatedLists, date, hex, self_handshake};

/// How often the files and SIGHUP are polled: often enough for people, at next to no cost.
///
/// Comparing the content, by the path as given, detects a change by every tool and on every file system, network and
/// overlay file systems included: an edit in place, a rename, or the symbolic link to the parent folder that Kubernetes
/// swaps. inotify would need a watch for each folder and link on the path, renewed after each change.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often the warning about an expired certificate or revocation list is repeated.
const REMINDER: Duration = Duration::from_mins(1);

/// A certificate with less than this left, in seconds, is warned of at start.
const SOON: u64 = 14 * SECONDS_PER_DAY;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The inputs of the listeners' policies.
pub(super) struct Recipe {
    pub(super) tls: TlsArgs,
    /// The ALPN protocols of each listener (RFC 7301); `None` for one without TLS.
    pub(super) listeners: Vec<Option<&'static [&'static str]>>,
    /// Maps a request name that a rule may grant to what it affects.
    pub(super) reach: fn(&str) -> Option<Reach>,
}

/// Policies made from the present content of the files.
pub(super) struct Prepared {
    /// One for each listener.
    pub(super) security: Vec<Security>,
    pub(super) development: Option<DevelopmentIdentities>,
    contents: Contents,
}

/// Each file's permissions, which decide whether a key is accepted, and a digest of its content; `None` for a file that
/// cannot be read.
type Contents = Vec<Option<(u32, Vec<u8>)>>;

impl Recipe {
    /// Reads all files and makes all policies; an error in one of them fails all. `in_force` are the policies to be
    /// replaced: `None` at start, when an expired revocation list is an error too.
    pub(super) fn prepare(&self, in_force: Option<&[Security]>) -> Result<Prepared, Failure> {
        // Read before the files are used: a change in between is then found by the next poll.
        let contents = contents_of(&self.paths());
        let is_shown = self.listeners.iter().any(Option::is_some);
        if let Some(flag) = self.tls.given().filter(|_| !is_shown) {
            return Err(Failure::usage(flag, "every listener is plain://, so there is no TLS: remove this flag"));
        }
        let outdated = if in_force.is_some() { OutdatedLists::ShutOut } else { OutdatedLists::Refused };
        let policy = in_force.unwrap_or_default().iter().find_map(Security::policy).cloned();
        let mut setup = self.tls.load(unix_seconds(), is_shown, outdated, policy)?;
        let security = self.listeners.iter().map(|alpn| match alpn {
            Some(alpn) => setup.gate(alpn, self.reach).map(Security::Tls),
            None if self.tls.has_rules() => Err(Failure::usage(
                "--authorize",
                "a plain:// listener cannot identify its clients: remove it, or run it in another process",
            )),
            None => Ok(Security::Plain),
        });
        Ok(Prepared { security: security.collect::<Result<_, _>>()?, development: setup.development, contents })
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.tls.files().cloned().collect()
    }
}

/// Maintains the policies of a running server on its own thread: reloads them at SIGHUP and when the content of a file
/// changes, and warns of expired certificates and revocation lists.
pub(super) fn keep_current(recipe: Recipe, prepared: Prepared, handle: Handle) -> io::Result<()> {
    let Prepared { security, contents, development } = prepared;
    if development.is_none() {
        warn_of_ends(&security, unix_seconds());
    }
    let watch = Watch::new(recipe.paths(), contents)?;
    let mut data_files = Reloader { recipe, handle, watch, security, retired: Retired::default(), reminded: None };
    at_intervals(move || data_files.look());
    Ok(())
}

/// Maintains the TLS configuration for the backend: calls `renew`, which reads `paths`, at SIGHUP and when the content
/// of one of them changes.
pub(super) fn keep_renewed(
    paths: Vec<PathBuf>,
    handle: Handle,
    mut renew: impl FnMut() -> Result<(), Failure> + Send + 'static,
) -> io::Result<()> {
    let contents = contents_of(&paths);
    let mut watch = Watch::new(paths, contents)?;
    at_intervals(move || {
        if !watch.is_due() {
            return;
        }
        match watch.check_kinds().and_then(|()| renew()) {
            Ok(()) => {
                // The listener is unchanged; the call counts the reload.
                handle.reload(vec![Security::Plain]);
                tracing::info!("reloaded: TLS configuration for the backend, used from the next connection on");
            }
            Err(failure) => refuse(&handle, &failure),
        }
    });
    Ok(())
}

fn at_intervals(mut look: impl FnMut() + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "it reads files and sleeps; the loop must not")]
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(INTERVAL);
            look();
        }
    });
}

fn refuse(handle: &Handle, failure: &Failure) {
    handle.reload_refused();
    tracing::error!("reload failed, the configuration in force stays: {failure}");
}

/// Polled files.
struct Watch {
    paths: Vec<PathBuf>,
    hangups: Signals,
    /// The contents at the last poll.
    seen: Contents,
    /// The contents last reloaded, successfully or not.
    tried: Contents,
}

impl Watch {
    fn new(paths: Vec<PathBuf>, contents: Contents) -> io::Result<Self> {
        Ok(Self { paths, hangups: Signals::new([SIGHUP])?, seen: contents.clone(), tried: contents })
    }

    /// Whether the files must be reloaded, because they have changed or SIGHUP was received.
    fn is_due(&mut self) -> bool {
        let is_asked = self.hangups.pending().count() > 0;
        let contents = contents_of(&self.paths);
        // A change counts when it is unchanged at the next poll: a writer may still be at work.
        let has_settled = contents == self.seen;
        self.seen.clone_from(&contents);
        let is_due = is_asked || has_settled && contents != self.tried;
        if is_due {
            self.tried = contents;
        }
        is_due
    }

    /// Refuses files that are not regular: reading a pipe blocks until it has a writer, and what was read at start is
    /// gone.
    fn check_kinds(&self) -> Result<(), Failure> {
        let is_other = |path: &&PathBuf| fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        match self.paths.iter().find(is_other) {
            Some(path) => {
                Err(Failure::Other(format!("{} is not a regular file, so it is not read again", path.display())))
            }
            None => Ok(()),
        }
    }
}

struct Reloader {
    recipe: Recipe,
    handle: Handle,
    watch: Watch,
    /// The policies in force.
    security: Vec<Security>,
    retired: Retired<ClientTrust>,
    reminded: Option<Instant>,
}

impl Reloader {
    fn look(&mut self) {
        if self.watch.is_due() {
            self.reload();
        }
        self.retired.free();
        self.remind();
    }

    /// All or nothing: an error in one file leaves the whole configuration as it was.
    ///
    /// An expired revocation list is not an error: its CA is rejected whether it is reloaded or not, and another CA's
    /// new list must take effect. [`remind`](Self::remind) warns of it.
    fn reload(&mut self) {
        let prepared = self
            .watch
            .check_kinds()
            .and_then(|()| self.recipe.prepare(Some(&self.security)))
            .and_then(|prepared| Ok((prove(&prepared.security)?, prepared.security)));
        match prepared {
            Ok((proofs, security)) => {
                // Listeners share it.
                let trust = self.security.iter().filter_map(Security::policy).find_map(|policy| policy.shared_trust());
                self.retired.extend(trust);
                self.security.clone_from(&security);
                self.handle.reload(security);
                for proof in proofs {
                    tracing::info!("reloaded: {proof}");
                }
                warn_of_missing_names(&self.security);
                warn_of_kept_lists(&self.security);
                self.reminded = None;
            }
            Err(failure) => refuse(&self.handle, &failure),
        }
    }

    fn remind(&mut self) {
        if self.reminded.is_some_and(|at| at.elapsed() < REMINDER) {
            return;
        }
        let now = unix_seconds();
        let policies = || self.security.iter().filter_map(Security::policy);
        let outdated: BTreeSet<&str> = policies().flat_map(|policy| policy.outdated_lists(now)).collect();
        let leaves = policies().flat_map(|policy| policy.leaves());
        let spoiled: BTreeSet<String> =
            leaves.filter(|leaf| !leaf.is_current(now)).map(|leaf| validity(leaf, now)).collect();
        let expired = policies().flat_map(|policy| policy.expired_trust(now));
        let expired: BTreeSet<String> = expired.map(|listed| validity(listed, now)).collect();
        if outdated.is_empty() && spoiled.is_empty() && expired.is_empty() {
            return;
        }
        for validity in spoiled {
            tracing::warn!("clients will reject this server's certificate: {validity}");
        }
        for validity in expired {
            tracing::warn!("a certificate in --client-ca or --client-pin is no longer valid: {validity}");
        }
        for authority in outdated {
            tracing::warn!(
                authority,
                "revocation list expired: all clients of this CA are rejected until a new one is loaded"
            );
        }
        #[expect(clippy::disallowed_methods, reason = "on its own thread")]
        let now = Instant::now();
        self.reminded = Some(now);
    }
}

/// Values that the loop may still use. They are freed on this thread, because a revocation list may have millions of
/// entries: this must be their last owner, not the loop or a client in mid-handshake.
struct Retired<T>(Vec<Arc<T>>);

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Retired<T> {
    /// Frees those that nobody else owns any more.
    fn free(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

impl<T> Extend<Arc<T>> for Retired<T> {
    fn extend<I: IntoIterator<Item = Arc<T>>>(&mut self, values: I) {
        self.0.extend(values);
    }
}

/// Warns of server certificates that expire soon.
fn warn_of_ends(security: &[Security], now: u64) {
    warn_of_missing_names(security);
    let leaves = security.iter().filter_map(Security::policy).flat_map(|policy| policy.leaves());
    let ends_soon = |leaf: &&Certificate| leaf.is_current(now) && leaf.not_after < now + SOON;
    let ending: BTreeSet<(&str, u64)> =
        leaves.filter(ends_soon).map(|leaf| (leaf.subject.as_str(), leaf.not_after)).collect();
    for (subject, not_after) in ending {
        let days = units::count((not_after - now) / SECONDS_PER_DAY, "day");
        let cure = "`latchkey certs check FILE` names the command that renews it";
        tracing::warn!("the certificate of {subject} expires in {days}: {cure}");
    }
}

/// Warns of revocation lists that stay in force because the files hold older ones, or none.
fn warn_of_kept_lists(security: &[Security]) {
    let kept: BTreeSet<&str> =
        security.iter().filter_map(Security::policy).flat_map(|policy| policy.kept_lists()).collect();
    for authority in kept {
        tracing::warn!(
            authority,
            "--crl holds no revocation list of this CA that is as new as the one in force, which stays in force until a \
             newer one is loaded or the server restarts"
        );
    }
}

/// Warns of server certificates without a DNS name or address in subjectAltName.
fn warn_of_missing_names(security: &[Security]) {
    let leaves = security.iter().filter_map(Security::policy).flat_map(|policy| policy.leaves());
    let is_nameless = |leaf: &&Certificate| leaf.dns.is_empty() && leaf.addresses.is_empty();
    let nameless: BTreeSet<&str> = leaves.filter(is_nameless).map(|leaf| leaf.subject.as_str()).collect();
    for subject in nameless {
        tracing::warn!(
            "the certificate of {subject} has no DNS name or address in subjectAltName, so clients reject it unless they \
             list the certificate itself: make one with `latchkey certs server NAME`"
        );
    }
}

/// Why a certificate is not valid now.
fn validity(leaf: &Certificate, now: u64) -> String {
    if now < leaf.not_before {
        format!("{} is not valid before {}", leaf.subject, date(leaf.not_before))
    } else {
        format!("{} expired on {}", leaf.subject, date(leaf.not_after))
    }
}

/// Completes a handshake with each policy, in memory, and returns the log lines: the certificates served and what is
/// required of clients. Listeners with the same lines share them.
fn prove(security: &[Security]) -> Result<BTreeSet<String>, Failure> {
    let mut proofs = BTreeSet::new();
    for security in security {
        let Some(policy) = security.policy() else { continue };
        let served = self_handshake(policy)
            .map_err(|error| Failure::Other(format!("a test handshake with the new certificate failed: {error}")))?;
        for leaf in policy.leaves() {
            let fingerprint = leaf.fingerprint();
            let when = if fingerprint == served { "" } else { " by server name" };
            let (fingerprint, expiry) = (hex(&fingerprint), date(leaf.not_after));
            proofs.insert(format!("serving certificate{when} sha256 {fingerprint}, expires {expiry}"));
        }
        proofs.insert(security.describe());
    }
    Ok(proofs)
}

fn contents_of(paths: &[PathBuf]) -> Contents {
    paths.iter().map(|path| digest_of(path)).collect()
}

/// The digest of a regular file only: reading a pipe would consume its content.
fn digest_of(path: &Path) -> Option<(u32, Vec<u8>)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let digest = digest::digest(&digest::SHA256, &files::read(path).ok()?.bytes);
    Some((metadata.permissions().mode(), digest.as_ref().to_vec()))
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the wall clock; this is not the loop")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retired_values_are_freed_only_when_nobody_else_owns_them() {
        let mut retired = Retired::default();
        let (used, unused) = (Arc::new([0_u8]), Arc::new([1_u8]));
        let (used_by, watched) = (Arc::clone(&used), Arc::downgrade(&unused));
        retired.extend([used, unused]);
        retired.free();
        assert_eq!((retired.0.len(), watched.strong_count()), (1, 0));
        let watched = Arc::downgrade(&used_by);
        drop(used_by);
        assert_eq!(watched.strong_count(), 1, "its last user does not free it");
        retired.free();
        assert_eq!((retired.0.len(), watched.strong_count()), (0, 0));
    }
}
