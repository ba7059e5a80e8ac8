//! The cost of verifying a forged chain, in the worst shapes that the limits of `tls::trust` allow: CPU time of one
//! verification, the minimum of twenty. A peer needs none of our keys for any of them.
//!
//! ```sh
//! cargo bench --bench chain
//! ```
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

#[path = "world/mod.rs"]
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use latchkey::internals::tls::{PemSource, Refusal, ServerTrust};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use world::cpu_time;

/// The default of `--max-chain`.
const CHAIN: usize = 8;
/// Nearly the maximum size of a handshake message in rustls.
const BYTES: usize = 60 << 10;
const ROUNDS: usize = 20;

const ANCHOR: &str = "anchor";

/// What fills a certificate, to maximise its cost for its size.
#[derive(Clone, Copy, PartialEq)]
enum Filler {
    None,
    Extensions,
    Purposes,
    Names,
    Subject,
}

/// A trusted CA whose name the attacker knows.
struct Trusted {
    trust: Arc<ServerTrust>,
    algorithm: &'static SignatureAlgorithm,
}

fn main() {
    for (kind, algorithm) in
        [("P-256", &PKCS_ECDSA_P256_SHA256), ("P-384", &PKCS_ECDSA_P384_SHA384), ("RSA", &PKCS_RSA_SHA256)]
    {
        let trusted = trusted(algorithm);
        for (what, name, issuer) in [
            ("bear the CA's name", ANCHOR, ANCHOR),
            ("bear one name", "forged", "forged"),
            ("bear one name, all of the CA", "forged", ANCHOR),
        ] {
            for filler in [Filler::None, Filler::Extensions, Filler::Purposes] {
                let what = format!("{kind}: intermediates {what}, {}", filler.name());
                worst(&trusted, &what, [name, issuer], filler);
            }
        }
    }
    let trusted = trusted(&PKCS_ECDSA_P256_SHA256);
    for filler in [Filler::Extensions, Filler::Purposes, Filler::Names, Filler::Subject] {
        let leaf = forge(&trusted, "leaf", ANCHOR, filler, BYTES - 2000);
        show(&trusted, &format!("a leaf alone, {}", filler.name()), &[leaf.der().clone()]);
    }
}

impl Filler {
    fn name(self) -> &'static str {
        match self {
            Self::None => "small",
            Self::Extensions => "full of extensions",
            Self::Purposes => "full of key purposes",
            Self::Names => "full of alternative names",
            Self::Subject => "with a long subject",
        }
    }
}

/// Shows the longest chain of its shape that is not rejected for its cost.
fn worst(trusted: &Trusted, what: &str, [name, issuer]: [&str; 2], filler: Filler) {
    for count in (1..CHAIN).rev() {
        let bytes = if filler == Filler::None { 0 } else { BYTES / count - 1000 };
        let leaf = forge(trusted, "leaf", name, Filler::None, 0);
        let intermediates = (0..count).map(|_| forge(trusted, name, issuer, filler, bytes));
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).map(|made| made.der().clone()).collect();
        if !matches!(verify(trusted, &chain), Err(Refusal::TangledChain)) {
            return show(trusted, &format!("{what}, {count} of them"), &chain);
        }
    }
}

fn show(trusted: &Trusted, what: &str, chain: &[CertificateDer<'static>]) {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = cpu_time();
        let _ = black_box(verify(trusted, chain));
        least = least.min(cpu_time().saturating_sub(began));
    }
    let size: usize = chain.iter().map(|certificate| certificate.len()).sum();
    let verdict = match verify(trusted, chain) {
        Ok(()) => "accepted".to_owned(),
        Err(refusal) => format!("{refusal:.60}"),
    };
    println!("{:7.3} ms  {size:6} bytes  {what}: {verdict:.80}", least.as_secs_f64() * 1000.0);
}

fn verify(trusted: &Trusted, chain: &[CertificateDer<'static>]) -> Result<(), Refusal> {
    let (leaf, intermediates) = chain.split_first().expect("a leaf");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let name = ServerName::try_from("localhost").expect("a name");
    trusted.trust.check(leaf, intermediates, &name, UnixTime::since_unix_epoch(now))
}

fn trusted(algorithm: &'static SignatureAlgorithm) -> Trusted {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let mut parameters = parameters(ANCHOR);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).expect("a CA");
    let source = PemSource { name: "ca.pem".to_owned(), bytes: certificate.pem().into_bytes() };
    let trust = ServerTrust::new(&[source], &aws_lc_rs::default_provider()).expect("a CA");
    Trusted { trust, algorithm }
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// A certificate of `subject` with `bytes` of filler that claims to be issued by `issuer`: signed by a key of the same
/// type as the trusted one, so that only the signature is wrong.
fn forge(trusted: &Trusted, subject: &str, issuer: &str, filler: Filler, bytes: usize) -> Certificate {
    let mut parameters = parameters(subject);
    if subject != "leaf" {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let numbers = 0..u64::try_from(bytes).expect("few");
    match filler {
        Filler::None => {}
        // Each is a SEQUENCE of an identifier and an empty string.
        Filler::Extensions => {
            let extension = |_| CustomExtension::from_oid_content(&[2, 100], Vec::new());
            parameters.custom_extensions = numbers.step_by(8).map(extension).collect();
        }
        Filler::Purposes => {
            let purpose = |_| ExtendedKeyUsagePurpose::Other(vec![2, 40]);
            parameters.extended_key_usages = numbers.step_by(3).map(purpose).collect();
        }
        Filler::Names => {
            let name = |_| rcgen::SanType::DnsName("a".try_into().expect("a name"));
            parameters.subject_alt_names = numbers.step_by(3).map(name).collect();
        }
        Filler::Subject => {
            parameters.distinguished_name.push(DnType::OrganizationName, "o".repeat(bytes));
        }
    }
    let key = KeyPair::generate_for(trusted.algorithm).expect("a key");
    let forger = KeyPair::generate_for(trusted.algorithm).expect("a key");
    let issuer = self::parameters(issuer);
    parameters.signed_by(&key, &Issuer::from_params(&issuer, &forger)).expect("a certificate")
}
