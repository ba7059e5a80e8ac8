//! Policies made from files, and made again when the files change.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::development::DevelopmentIdentities;
use super::tls_options::TlsArgs;
use super::{Failure, files, units};
use crate::access::Reach;
use crate::server::{Handle, Security};
use crate::tls::{Certificate, OutdatedLists, date, hex, self_handshake};

/// How often the files and SIGHUP are looked at. Half a second is soon enough for people and next to no work.
///
/// Looking at the content, by whatever path leads there, finds a change by every tool and on every file system, networks
/// and overlays included: an edit in place, a rename, or the symbolic link to the parent folder that Kubernetes swaps.
/// Events of the kernel would have to be set up for each folder and link on the way, and again after each change.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often it is said that a certificate or a revocation list is out of date.
const REMINDER: Duration = Duration::from_mins(1);

/// At start, whoever has less than this left is told so.
const SOON: u64 = 14 * SECONDS_PER_DAY;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// What the policies of a server's listeners are made of.
pub(super) struct Recipe {
    pub(super) tls: TlsArgs,
    /// What each listener speaks (RFC 7301); `None` for one without TLS.
    pub(super) listeners: Vec<Option<&'static [&'static str]>>,
    /// What the requests are about that a rule may grant by name.
    pub(super) reach: fn(&str) -> Option<Reach>,
}

/// Policies made from the files as they are now.
pub(super) struct Prepared {
    /// One for each listener.
    pub(super) security: Vec<Security>,
    pub(super) development: Option<DevelopmentIdentities>,
    contents: Contents,
}

/// Each file's permissions, on which it may depend whether a key is used, and a digest of its content; `None` for what
/// cannot be read.
type Contents = Vec<Option<(u32, Vec<u8>)>>;

impl Recipe {
    /// Reads all files and makes all policies; one that is no good spoils them all. `in_force` are those whose place they
    /// take: nothing at start, when a revocation list that is out of date is no good either.
    pub(super) fn prepare(&self, in_force: Option<&[Security]>) -> Result<Prepared, Failure> {
        // Before the files are read for use: a change in between is then found later, and not missed.
        let contents = contents_of(&self.paths());
        let is_shown = self.listeners.iter().any(Option::is_some);
        if let Some(flag) = self.tls.given().filter(|_| !is_shown) {
            return Err(Failure::usage(
                flag,
                "every listener is plain://, so nobody is spoken to over TLS: leave it out",
            ));
        }
        let outdated = if in_force.is_some() { OutdatedLists::ShutOut } else { OutdatedLists::Refused };
        let policy = in_force.unwrap_or_default().iter().find_map(Security::policy).cloned();
        let setup = self.tls.load(unix_seconds(), is_shown, outdated, policy)?;
        let security = self.listeners.iter().map(|alpn| match alpn {
            Some(alpn) => setup.gate(alpn, self.reach).map(Security::Tls),
            None if self.tls.has_rules() => Err(Failure::usage(
                "--authorize",
                "a plain:// listener cannot know who its clients are: leave it out, or run it in a process of its own",
            )),
            None => Ok(Security::Plain),
        });
        Ok(Prepared { security: security.collect::<Result<_, _>>()?, development: setup.development, contents })
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.tls.files().cloned().collect()
    }
}

/// Looks after the policies of a running server, on a thread of its own: makes them again at SIGHUP and when the content
/// of a file changes, and reminds of revocation lists that are out of date.
pub(super) fn keep_current(recipe: Recipe, prepared: Prepared, handle: Handle) -> io::Result<()> {
    let Prepared { security, contents, development } = prepared;
    if development.is_none() {
        warn_of_ends(&security, unix_seconds());
    }
    let watch = Watch::new(recipe.paths(), contents)?;
    let mut data_files = Reloader { recipe, handle, watch, security, reminded: None };
    at_intervals(move || data_files.look());
    Ok(())
}

/// Looks after how other servers are spoken to: calls `renew`, which reads `paths`, at SIGHUP and when the content of one
/// of them changes.
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
                // The listener stays as it is; that something was replaced is counted.
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
    tracing::error!("not reloaded: everything stays as it was: {failure}");
}

/// Files that are looked at.
struct Watch {
    paths: Vec<PathBuf>,
    hangups: Signals,
    /// The contents at the last look.
    seen: Contents,
    /// The contents that were last taken into use, or could not be.
    tried: Contents,
}

impl Watch {
    fn new(paths: Vec<PathBuf>, contents: Contents) -> io::Result<Self> {
        Ok(Self { paths, hangups: Signals::new([SIGHUP])?, seen: contents.clone(), tried: contents })
    }

    /// Looks once more: whether the files are to be read again, for they have changed or SIGHUP asks for it.
    fn is_due(&mut self) -> bool {
        let is_asked = self.hangups.pending().count() > 0;
        let contents = contents_of(&self.paths);
        // Whoever is still writing is given time: a change counts once it has lasted from one look to the next.
        let has_settled = contents == self.seen;
        self.seen.clone_from(&contents);
        let is_due = is_asked || has_settled && contents != self.tried;
        if is_due {
            self.tried = contents;
        }
        is_due
    }

    /// Refuses what is not a regular file and could hold up those that are: nobody may ever write into a pipe. One that
    /// was read at start cannot be read again either.
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
    /// What is in force.
    security: Vec<Security>,
    reminded: Option<Instant>,
}

impl Reloader {
    fn look(&mut self) {
        if self.watch.is_due() {
            self.reload();
        }
        self.remind();
    }

    /// All or nothing: whatever is wrong with one file, everything stays as it was.
    ///
    /// A revocation list that is out of date is no such thing: it shuts out its CA, whether it is read again or not, and
    /// must not keep another CA's new list from being obeyed. [`remind`](Self::remind) says so.
    fn reload(&mut self) {
        let prepared = self
            .watch
            .check_kinds()
            .and_then(|()| self.recipe.prepare(Some(&self.security)))
            .and_then(|prepared| Ok((prove(&prepared.security)?, prepared.security)));
        match prepared {
            Ok((proofs, security)) => {
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
            tracing::warn!("clients will refuse this server's certificate: {validity}");
        }
        for validity in expired {
            tracing::warn!("--client-ca or --client-pin lists a certificate that is not valid any more: {validity}");
        }
        for authority in outdated {
            tracing::warn!(
                authority,
                "its revocation list is out of date: nobody it issued to is let in until a new one is loaded"
            );
        }
        #[expect(clippy::disallowed_methods, reason = "on its own thread")]
        let now = Instant::now();
        self.reminded = Some(now);
    }
}

/// Says which of the certificates that clients are shown end soon.
fn warn_of_ends(security: &[Security], now: u64) {
    warn_of_missing_names(security);
    let leaves = security.iter().filter_map(Security::policy).flat_map(|policy| policy.leaves());
    let ends_soon = |leaf: &&Certificate| leaf.is_current(now) && leaf.not_after < now + SOON;
    let ending: BTreeSet<(&str, u64)> =
        leaves.filter(ends_soon).map(|leaf| (leaf.subject.as_str(), leaf.not_after)).collect();
    for (subject, not_after) in ending {
        let days = units::count((not_after - now) / SECONDS_PER_DAY, "day");
        let cure = "`latchkey certs check FILE` names the command that renews it";
        tracing::warn!("the certificate of {subject} ends in {days}: {cure}");
    }
}

/// Says which revocation lists are obeyed although the files hold older ones, or none.
fn warn_of_kept_lists(security: &[Security]) {
    let kept: BTreeSet<&str> =
        security.iter().filter_map(Security::policy).flat_map(|policy| policy.kept_lists()).collect();
    for authority in kept {
        tracing::warn!(
            authority,
            "--crl holds no revocation list of it that is as new as the one in force, which is obeyed until a newer one is \
             loaded, or the server starts anew"
        );
    }
}

/// Says which of the certificates that clients are shown name no host where clients look for one.
fn warn_of_missing_names(security: &[Security]) {
    let leaves = security.iter().filter_map(Security::policy).flat_map(|policy| policy.leaves());
    let is_nameless = |leaf: &&Certificate| leaf.dns.is_empty() && leaf.addresses.is_empty();
    let nameless: BTreeSet<&str> = leaves.filter(is_nameless).map(|leaf| leaf.subject.as_str()).collect();
    for subject in nameless {
        tracing::warn!(
            "the certificate of {subject} has no DNS name or address in subjectAltName, so that clients refuse it, but for \
             those that list the certificate itself: make one with `latchkey certs server NAME`"
        );
    }
}

/// Why a certificate is not to be used now.
fn validity(leaf: &Certificate, now: u64) -> String {
    if now < leaf.not_before {
        format!("{} is not valid before {}", leaf.subject, date(leaf.not_before))
    } else {
        format!("{} expired on {}", leaf.subject, date(leaf.not_after))
    }
}

/// Handshakes with each policy, in memory, and returns what there is to say about it: what clients are shown and what is
/// demanded of them. Listeners that are protected alike share a line.
fn prove(security: &[Security]) -> Result<BTreeSet<String>, Failure> {
    let mut proofs = BTreeSet::new();
    for security in security {
        let Some(policy) = security.policy() else { continue };
        let served = self_handshake(policy)
            .map_err(|error| Failure::Other(format!("no handshake with the new certificate succeeds: {error}")))?;
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

/// Only of regular files: reading anything else (a pipe, say) could use up what it holds.
fn digest_of(path: &Path) -> Option<(u32, Vec<u8>)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let digest = digest::digest(&digest::SHA256, &files::read(path).ok()?.bytes);
    Some((metadata.permissions().mode(), digest.as_ref().to_vec()))
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the wall clock; this is not the loop")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
