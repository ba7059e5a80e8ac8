//! `certs check`: what each kind of verifier rejects, and the fix.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::advice::{self, Remake, quoted};
use super::lists::{Found, Lists};
use super::{CertsError, Check, Outcome, days, doctor, unreadable};
use crate::cli::files::{self, ReadableBy};
use crate::tls::authority::Role;
use crate::tls::{
    Answer, Certificate, ClientTrust, Judgement, Objection, PemSource, Purpose, Question, Refusal, ServerTrust,
    TrustError, Verifier, date, judge,
};

/// A certificate with less than this left, in seconds, is reported as expiring.
const SOON: u64 = 30 * 24 * 60 * 60;

pub(super) fn check(args: &Check, now: u64, out: &mut dyn Write) -> Result<Outcome, CertsError> {
    let server = |target: &String| if Path::new(target).exists() { None } else { doctor::CheckTarget::parse(target) };
    if let [target] = args.targets.as_slice()
        && let Some(address) = server(target)
    {
        if args.crl.is_some() {
            return Err(CertsError::Usage("--crl applies to files only: a server uses its own lists".into()));
        }
        return doctor::examine(&address, args.ca.as_deref(), now, out);
    }
    if let Some(server) = args.targets.iter().find(|target| server(target).is_some()) {
        let text = format!("{server} is not a file: check a live server on its own, `latchkey certs check {server}`");
        return Err(CertsError::Usage(text));
    }
    let voucher = args.ca.as_deref().map(Voucher::read).transpose()?;
    let mut outcome = Outcome::Fine;
    let mut key = args.key.as_deref();
    for target in &args.targets {
        let target = Target::read(Path::new(target), voucher.as_ref(), args.crl.as_deref(), now)?;
        if target.report(key.take(), out)? == Outcome::Faulty {
            outcome = Outcome::Faulty;
        }
    }
    Ok(outcome)
}

/// The CA that must have issued a certificate.
struct Voucher<'a> {
    path: &'a Path,
    source: PemSource,
    ders: Vec<CertificateDer<'static>>,
    certificates: Vec<Certificate>,
}

impl<'a> Voucher<'a> {
    fn read(path: &'a Path) -> Result<Self, CertsError> {
        let source = files::read(path)?;
        let ders = source.certificates()?;
        let certificates = read_all(&ders, path)?;
        Ok(Self { path, source, ders, certificates })
    }
}

fn read_all(ders: &[CertificateDer<'_>], path: &Path) -> Result<Vec<Certificate>, CertsError> {
    ders.iter().map(|der| Certificate::from_der(der).map_err(unreadable(path))).collect()
}

/// A file of certificates: the leaf, then its chain.
struct Target<'a> {
    path: &'a Path,
    ders: Vec<CertificateDer<'static>>,
    chain: Vec<Certificate>,
    certificate: Certificate,
    voucher: Option<&'a Voucher<'a>>,
    judgement: Judgement,
    revocation: Option<Found>,
    now: u64,
}

impl<'a> Target<'a> {
    fn read(
        path: &'a Path,
        voucher: Option<&'a Voucher<'a>>,
        crl: Option<&Path>,
        now: u64,
    ) -> Result<Self, CertsError> {
        let ders = files::read(path)?.certificates()?;
        let chain = read_all(&ders, path)?;
        let certificate = chain.first().cloned().ok_or_else(|| CertsError::Usage("no certificate".to_owned()))?;
        let trusted = voucher.map(|voucher| voucher.ders.as_slice());
        let question = Question { chain: &ders, trusted, purpose: None, now };
        let mut judgement = judge(&question).map_err(unreadable(path))?;
        let mut revocation = None;
        if let (Some(voucher), Some(crl)) = (voucher, crl) {
            let authorities = [voucher.certificates.as_slice(), chain.get(1..).unwrap_or_default()].concat();
            let found = Lists::read(crl, &authorities)?.of(&chain, now);
            let why = found.reason.clone();
            judgement.objections.extend(why.map(|why| Objection { by: Verifier::ALL.to_vec(), why }));
            revocation = Some(found);
        }
        Ok(Self { path, ders, chain, certificate, voucher, judgement, revocation, now })
    }

    fn report(mut self, key: Option<&Path>, out: &mut dyn Write) -> Result<Outcome, CertsError> {
        let purpose = self.judgement.purpose;
        let expiry = format!("{} ({})", date(self.certificate.not_after), days(self.certificate.not_after, self.now));
        writeln!(out, "{}: {}, as {purpose}'s, until {expiry}", self.path.display(), self.certificate.subject)?;
        let key_fault = key.map(|key| key_fault(key, &self.certificate)).transpose()?.flatten();
        if let Some((fault, fix)) = &key_fault {
            writeln!(out, "  the key: {fault}\n  fix: {fix}")?;
        }
        let excuse = self.ask_latchkey();
        self.verdicts(out)?;
        if let Some(excuse) = excuse {
            writeln!(out, "  {excuse}")?;
        }
        self.remarks(out)?;
        let is_rejected = !self.judgement.objections.is_empty();
        if is_rejected {
            writeln!(out, "  fix: {}", self.fix()?)?;
        } else if self.certificate.not_after < self.now.saturating_add(SOON) {
            writeln!(out, "  it expires soon; renew it with: {}", self.remake().command())?;
        }
        let is_fine = !is_rejected && self.judgement.doubts.is_empty() && key_fault.is_none();
        Ok(if is_fine { Outcome::Fine } else { Outcome::Faulty })
    }

    fn verdicts(&self, out: &mut dyn Write) -> Result<(), CertsError> {
        for verifier in Verifier::ALL {
            let (found, word) = match self.judgement.answer(verifier) {
                Answer::Accepts => {
                    writeln!(out, "  {verifier:<22}accepts it")?;
                    continue;
                }
                Answer::Rejects => (&self.judgement.objections, "REJECTS it"),
                Answer::Unknown => (&self.judgement.doubts, "NOT KNOWN"),
            };
            for reason in found.iter().filter(|objection| objection.by.contains(&verifier)) {
                writeln!(out, "  {verifier:<22}{word}: {}", reason.why)?;
            }
        }
        Ok(())
    }

    /// What was not checked.
    fn remarks(&self, out: &mut dyn Write) -> Result<(), CertsError> {
        if self.voucher.is_none() && self.chain.iter().all(|certificate| !certificate.is_self_issued()) {
            let last = self.chain.last().map_or("", |last| last.issuer.as_str());
            writeln!(out, "  not checked: that {last} is trusted and issued it; pass --ca FILE")?;
        }
        if self.judgement.purpose == Purpose::Authority {
            return Ok(());
        }
        let list = files::folder(self.path).join("crl.pem");
        match &self.revocation {
            Some(found) if !found.is_covered => {
                let issuer = &self.certificate.issuer;
                writeln!(out, "  revocation not checked: no list in --crl is that of {issuer}")?;
            }
            None if list.exists() => {
                writeln!(out, "  revocation not checked; pass --crl {}", list.display())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks latchkey's own verifiers, which accept more than webpki: certificates that are listed themselves. Returns a
    /// remark if they accept what webpki rejects; the opposite becomes an objection.
    fn ask_latchkey(&mut self) -> Option<String> {
        let purpose = self.judgement.purpose;
        let flag = match (self.voucher, purpose) {
            (None, Purpose::EndEntity(Role::Client)) => "--client-ca or --client-pin",
            _ => "--ca",
        };
        let listed = match self.voucher {
            Some(voucher) => voucher.source.clone(),
            None if self.certificate.is_self_issued() => files::read(self.path).ok()?,
            None => return None,
        };
        let is_hopeless = |objection: &Objection| Verifier::ALL.iter().all(|verifier| objection.by.contains(verifier));
        let accepted = admitted(&listed, &self.ders, purpose, &self.certificate, self.now)?;
        let is_accepted = self.judgement.answer(Verifier::Webpki) == Answer::Accepts;
        match accepted {
            Ok(()) if !is_accepted && !self.judgement.objections.iter().any(is_hopeless) => {
                Some(format!("latchkey itself accepts this certificate when it is listed with {flag}"))
            }
            Err(why) if is_accepted && self.voucher.is_some() => {
                let why = format!("latchkey rejects it with this --ca: {why}");
                self.judgement.objections.push(Objection { by: vec![Verifier::Webpki], why });
                None
            }
            _ => None,
        }
    }

    fn remake(&self) -> Remake<'_> {
        let purpose = self.judgement.purpose;
        let ca = self.voucher.map(|voucher| voucher.path);
        Remake { path: self.path, purpose, certificate: &self.certificate, ca }
    }

    /// The fix depends on what is at fault: the certificate, its chain, or `--ca`.
    fn fix(&self) -> Result<String, CertsError> {
        if let Some(found) = self.revocation.as_ref().filter(|found| found.reason.is_some()) {
            return Ok(if found.is_revoked {
                "none: its CA has revoked it; the operator of the CA decides whether to issue another".to_owned()
            } else {
                "fetch a new list, or renew it with `latchkey certs revoke`".to_owned()
            });
        }
        let is_faulty = |chain: &[CertificateDer<'_>]| {
            let question = Question { chain, trusted: None, purpose: Some(self.judgement.purpose), now: self.now };
            judge(&question).map(|judgement| !judgement.objections.is_empty()).map_err(unreadable(self.path))
        };
        if is_faulty(self.ders.get(..1).unwrap_or_default())? {
            return Ok(self.remake().command());
        }
        if is_faulty(&self.ders)? {
            return Ok(advice::chain(&self.certificate));
        }
        let passed = self.voucher.map_or(&[][..], |voucher| voucher.certificates.as_slice());
        Ok(advice::other_ca(self.path, self.chain.last().unwrap_or(&self.certificate), passed))
    }
}

/// The verdict of latchkey's own verifiers when `listed` is trusted; `None` for a CA or a server without a name, which
/// they never verify.
fn admitted(
    listed: &PemSource,
    chain: &[CertificateDer<'_>],
    purpose: Purpose,
    certificate: &Certificate,
    now: u64,
) -> Option<Result<(), String>> {
    let provider = aws_lc_rs::default_provider();
    let listed = std::slice::from_ref(listed);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let (leaf, intermediates) = chain.split_first()?;
    let verdict = |made: Result<Result<(), Refusal>, TrustError>| match made {
        Ok(verdict) => verdict.map_err(|refusal| refusal.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match purpose {
        Purpose::Authority => None,
        Purpose::EndEntity(Role::Client) => {
            let trust = ClientTrust::new(listed, &[], &[], &provider, now);
            Some(verdict(trust.map(|trust| trust.admit(chain, at).map(|_| ()))))
        }
        Purpose::EndEntity(Role::Server) => {
            let names = certificate.server_names().into_iter().map(|name| match name.strip_prefix("*.") {
                Some(domain) => format!("any.{domain}"),
                None => name,
            });
            let name = names.into_iter().find_map(|name| ServerName::try_from(name).ok())?;
            let trust = ServerTrust::new(listed, &provider);
            Some(verdict(trust.map(|trust| trust.check(leaf, intermediates, &name, at))))
        }
    }
}

/// What is wrong with the private key, and the fix.
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
    "pass the key that belongs to the certificate, or issue both again with `latchkey certs server` or `client`"
        .to_owned()
}
