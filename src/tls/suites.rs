//! Cipher suites by their standard names (RFC 8446, B.4; RFC 5289; RFC 7905).

use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{CipherSuite, SupportedCipherSuite};

/// A suite's standard name; rustls names those of TLS 1.3 differently.
#[must_use]
pub fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The suite of that name, if there is one.
#[must_use]
pub fn suite_named(name: &str) -> Option<SupportedCipherSuite> {
    ALL_CIPHER_SUITES.iter().copied().find(|suite| suite_name(suite.suite()).eq_ignore_ascii_case(name))
}

/// The names of all suites.
pub fn suite_names() -> impl Iterator<Item = &'static str> {
    ALL_CIPHER_SUITES.iter().map(|suite| suite_name(suite.suite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_found_by_its_standard_name() {
        for name in suite_names() {
            assert!(name.starts_with("TLS_"), "{name}");
            assert_eq!(suite_named(name).map(|suite| suite_name(suite.suite())), Some(name));
        }
        assert!(suite_named("TLS_RSA_WITH_NULL_MD5").is_none());
    }
}
