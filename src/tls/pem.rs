//! PEM text (RFC 7468) to certificates, keys and revocation lists, with errors that say what was found instead.

use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// The bytes of one file, and the name it goes by in messages.
///
/// Reading files is the command line's work; this module only interprets what was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name as the user wrote it.
    pub name: String,
    /// The whole content.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Source {
    /// Leaves the content out: it may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is wrong with a PEM file, and what to do about it. The text names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The file has no byte at all.
    #[error("{file} is empty; it must hold a {wanted} in PEM form")]
    Empty {
        /// The file.
        file: String,
        /// What the file is for.
        wanted: &'static str,
    },
    /// The file is binary DER.
    #[error("{file} is binary DER, not PEM; convert it with `openssl {tool} -inform der -in {file} -out {file}.pem`")]
    Der {
        /// The file.
        file: String,
        /// The openssl subcommand that converts it.
        tool: &'static str,
    },
    /// The key is locked with a passphrase.
    #[error(
        "the private key in {file} is encrypted; write a copy without a passphrase with `openssl pkey -in {file} -out KEY.pem`"
    )]
    Encrypted {
        /// The file.
        file: String,
    },
    /// The file holds other things than the one wanted.
    #[error("{file} holds no {wanted}, only {found}{cure}")]
    Missing {
        /// The file.
        file: String,
        /// What was looked for.
        wanted: &'static str,
        /// What is there instead.
        found: String,
        /// A guess at the cause, or nothing.
        cure: &'static str,
    },
    /// There is a PEM section, but it is damaged.
    #[error("{file} is damaged PEM: {detail}")]
    Damaged {
        /// The file.
        file: String,
        /// The reader's complaint.
        detail: String,
    },
}

impl Source {
    /// Every certificate in the file, in order: a chain starts with the end entity's.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        self.every("certificate", "x509")
    }

    /// Every revocation list in the file.
    pub fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
        self.every("certificate revocation list", "crl")
    }

    /// The first private key in the file: PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve).
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        let keys: Vec<PrivateKeyDer<'static>> = self.every("private key", "pkey")?;
        keys.into_iter().next().ok_or_else(|| self.missing("private key", "pkey"))
    }

    fn every<T: PemObject>(&self, wanted: &'static str, tool: &'static str) -> Result<Vec<T>, PemError> {
        let found = T::pem_slice_iter(&self.bytes)
            .collect::<Result<Vec<T>, _>>()
            .map_err(|error| PemError::Damaged { file: self.name.clone(), detail: error.to_string() })?;
        if found.is_empty() { Err(self.missing(wanted, tool)) } else { Ok(found) }
    }

    fn missing(&self, wanted: &'static str, tool: &'static str) -> PemError {
        let file = self.name.clone();
        let labels = self.labels();
        match self.bytes.first() {
            None => PemError::Empty { file, wanted },
            // A DER certificate, key or list is one SEQUENCE longer than 255 bytes: 30 82, or 30 81 below that.
            Some(0x30) if labels.is_empty() => PemError::Der { file, tool },
            _ if wanted == "private key" && labels.iter().any(|label| label.contains("ENCRYPTED")) => {
                PemError::Encrypted { file }
            }
            _ => PemError::Missing { file, wanted, cure: cure(wanted, &labels), found: listed(&labels) },
        }
    }

    /// The labels of the PEM sections, known or not.
    fn labels(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.bytes)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----").map(str::to_owned))
            .collect()
    }
}

fn listed(labels: &[String]) -> String {
    if labels.is_empty() { "text without any PEM section".to_owned() } else { labels.join(", ") }
}

fn cure(wanted: &str, labels: &[String]) -> &'static str {
    let holds = |part: &str| labels.iter().any(|label| label.contains(part));
    if wanted == "certificate" && holds("REQUEST") {
        "; a signing request must first be signed by a CA"
    } else if (wanted == "certificate" && holds("PRIVATE KEY")) || (wanted == "private key" && holds("CERTIFICATE")) {
        "; were the certificate and the key file exchanged?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::{Authority, Issued, KeyKind, Role, Subject};

    fn source(text: &str) -> Source {
        Source { name: "it.pem".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    fn issued() -> Issued {
        let subject = Subject::named("pem test", &[]).expect("a plain name");
        let authority = Authority::create(KeyKind::Ed25519, "test CA", 1_000_000_000).expect("a CA");
        authority.issue(Role::Client, &subject, KeyKind::Ed25519, 1_000_000_000).expect("a leaf")
    }

    #[test]
    fn a_file_may_hold_a_chain_and_a_key_together() {
        let issued = issued();
        let both = source(&format!("{}{}{}", issued.certificate, issued.key, issued.certificate));
        assert_eq!(both.certificates().expect("two certificates").len(), 2);
        assert!(matches!(both.private_key(), Ok(PrivateKeyDer::Pkcs8(_))));
    }

    #[test]
    fn every_kind_of_wrong_file_is_told_apart() {
        let issued = issued();
        let der = Source {
            name: "it.der".to_owned(),
            bytes: source(&issued.certificate).certificates().expect("one").swap_remove(0).to_vec(),
        };
        assert!(matches!(der.certificates(), Err(PemError::Der { tool: "x509", .. })));
        assert!(matches!(source("").certificates(), Err(PemError::Empty { .. })));
        assert!(matches!(source("hello\n").private_key(), Err(PemError::Missing { .. })));

        let swapped = source(&issued.key).certificates().expect_err("a key is no certificate").to_string();
        assert!(swapped.contains("it.pem") && swapped.contains("exchanged"), "{swapped}");

        let request = source("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
        let request = request.certificates().expect_err("a request is no certificate").to_string();
        assert!(request.contains("signed by a CA"), "{request}");

        let locked = source("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        assert!(matches!(locked.private_key(), Err(PemError::Encrypted { .. })));
    }

    #[test]
    fn a_cut_off_file_is_damaged_not_empty() {
        let text = issued().certificate;
        let cut = source(&text[..text.len() - 40]);
        assert!(matches!(cut.certificates(), Err(PemError::Damaged { .. })));
    }
}
