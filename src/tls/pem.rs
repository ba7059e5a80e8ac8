//! PEM text (RFC 7468) to certificates, keys and revocation lists, with errors that name what was found instead.

use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::der;
use super::sections::{self, Flaw, Kind, Section};

/// The bytes of one file, and its name in messages.
///
/// The command line reads files; this module only parses them.
#[derive(Clone, PartialEq, Eq)]
pub struct PemSource {
    /// The file's name as the user wrote it.
    pub name: String,
    /// The whole content.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for PemSource {
    /// Omits the content, which may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is wrong with a PEM file, and how to correct it. The text names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The file is empty.
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
    /// The key is encrypted with a passphrase.
    #[error(
        "the private key in {file} is encrypted; write a copy without a passphrase with `openssl pkey -in {file} -out KEY.pem`"
    )]
    Encrypted {
        /// The file.
        file: String,
    },
    /// The file contains none of the wanted sections.
    #[error("{file} holds no {wanted}, only {found}{cure}")]
    Missing {
        /// The file.
        file: String,
        /// The wanted content.
        wanted: &'static str,
        /// The content found instead.
        found: String,
        /// The probable cause, or empty.
        cure: &'static str,
    },
    /// A PEM section or a mark is damaged, or may be the wanted content in an unsupported form.
    #[error("{file} is damaged PEM: {detail}")]
    Damaged {
        /// The file.
        file: String,
        /// The line and the problem. It never quotes the file, which may be a key.
        detail: String,
    },
    /// Certificates or lists are in a container format that is not supported.
    #[error(
        "{file}: line {line}: a {label} section is not supported; convert it with `openssl pkcs7 -print_certs -in {file} -out {file}.pem`"
    )]
    Container {
        /// The file.
        file: String,
        /// Where the section begins.
        line: usize,
        /// The section's label.
        label: &'static str,
    },
}

/// A certificate in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The certificate.
    pub(crate) der: CertificateDer<'static>,
    /// OpenSSL's trust settings after it (`X509_CERT_AUX`, in DER), as written by `openssl x509 -trustout`.
    pub(crate) settings: Option<Vec<u8>>,
    /// The line on which its section begins.
    pub(crate) line: usize,
}

impl PemSource {
    /// Every certificate in the file, in order: a chain starts with the end entity's.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        Ok(self.written_certificates()?.into_iter().map(|written| written.der).collect())
    }

    /// Every certificate in the file, in order, with its trust settings.
    pub(crate) fn written_certificates(&self) -> Result<Vec<Written>, PemError> {
        let kinds = |kind| matches!(kind, Kind::Certificate | Kind::TrustedCertificate);
        let found = self.every("certificate", kinds, |section, bytes| {
            let (bytes, settings) = match section.kind {
                Kind::TrustedCertificate => {
                    let flaw = Flaw {
                        line: section.line,
                        what: "the certificate of the section that begins there is cut off",
                    };
                    let (first, rest) = der::split_first(&bytes).ok_or(flaw)?;
                    (first.to_vec(), Some(rest.to_vec()))
                }
                _ => (bytes, None),
            };
            Ok(Written { der: bytes.into(), settings, line: section.line })
        })?;
        if found.is_empty() { Err(self.missing("certificate", "x509")) } else { Ok(found) }
    }

    /// Every revocation list in the file.
    pub fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
        let wanted = "certificate revocation list";
        let found = self.every(wanted, |kind| kind == Kind::RevocationList, |_, bytes| Ok(bytes.into()))?;
        if found.is_empty() { Err(self.missing(wanted, "crl")) } else { Ok(found) }
    }

    /// The first private key in the file: PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve).
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        let found = self.every(
            "private key",
            |kind| matches!(kind, Kind::Key(_)),
            |section, bytes| {
                let flaw = Flaw { line: section.line, what: "the section that begins there is no private key" };
                let Kind::Key(kind) = section.kind else { return Err(flaw) };
                PrivateKeyDer::from_pem(kind, bytes).ok_or(flaw)
            },
        )?;
        found.into_iter().next().ok_or_else(|| self.missing("private key", "pkey"))
    }

    /// Whether the file has a section for a private key, intact or damaged, or one whose label cannot be read.
    #[must_use]
    pub fn may_hold_private_key(&self) -> bool {
        sections::sections(&self.bytes).is_ok_and(|found| found.iter().any(Section::is_private_key))
            || String::from_utf8_lossy(&self.bytes).contains("PRIVATE KEY")
    }

    /// The contents of all sections of some kinds, each converted. Encrypted sections and those of other kinds are
    /// skipped.
    fn every<T>(
        &self,
        wanted: &'static str,
        kinds: impl Fn(Kind) -> bool,
        make: impl Fn(&Section<'_>, Vec<u8>) -> Result<T, Flaw>,
    ) -> Result<Vec<T>, PemError> {
        let damaged = |flaw: Flaw| PemError::Damaged { file: self.name.clone(), detail: flaw.to_string() };
        let mut found = Vec::new();
        for section in &sections::sections(&self.bytes).map_err(damaged)? {
            if section.kind == Kind::Container && wanted != "private key" {
                let Section { line, label, .. } = *section;
                return Err(PemError::Container { file: self.name.clone(), line, label });
            }
            if kinds(section.kind) && !section.is_encrypted {
                found.push(section.decode().and_then(|bytes| make(section, bytes)).map_err(damaged)?);
            }
        }
        Ok(found)
    }

    fn missing(&self, wanted: &'static str, tool: &'static str) -> PemError {
        let file = self.name.clone();
        let sections = sections::sections(&self.bytes).unwrap_or_default();
        let is_encrypted = sections.iter().any(|section| section.is_encrypted || section.kind == Kind::EncryptedKey);
        let labels: Vec<&str> = sections.iter().map(|section| section.label).collect();
        match self.bytes.first() {
            None => PemError::Empty { file, wanted },
            // A DER certificate, key or list is one SEQUENCE: 30 82 if it is longer than 255 bytes, else 30 81.
            Some(0x30) if labels.is_empty() => PemError::Der { file, tool },
            _ if wanted == "private key" && is_encrypted => PemError::Encrypted { file },
            _ => PemError::Missing { file, wanted, cure: cure(wanted, &labels), found: listed(&labels) },
        }
    }
}

fn listed(labels: &[&str]) -> String {
    if labels.is_empty() { "text without any PEM section".to_owned() } else { labels.join(", ") }
}

fn cure(wanted: &str, labels: &[&str]) -> &'static str {
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

    fn source(text: &str) -> PemSource {
        PemSource { name: "it.pem".to_owned(), bytes: text.as_bytes().to_vec() }
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
    fn every_kind_of_wrong_file_has_its_own_error() {
        let issued = issued();
        let der = PemSource {
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
    fn no_section_is_skipped_silently() {
        let one = issued().certificate;
        let count =
            |text: String| source(&text).certificates().map(|found| found.len()).map_err(|error| error.to_string());
        let labelled = |label: &str| one.replace("CERTIFICATE", label);
        let indented = format!("    {}\r\n", one.trim_end().replace('\n', "\r\n    "));
        for (text, why) in [
            (format!("\u{feff}{one}{one}"), "a byte order mark"),
            (format!("{one}\u{feff}{one}"), "a byte order mark between two"),
            (format!("{}{one}", one.trim_end()), "no line end between two"),
            (format!("{one}{}", one.replace('\n', "\r")), "carriage returns for line ends"),
            (format!("{indented}{one}"), "indented"),
            (format!("{one}{}", labelled("X509 CERTIFICATE")), "the label of long ago"),
            (format!("# begin certificates, the end - here\nsubject=CN = a-END\n{one}-----\n{one}"), "comments"),
            (format!("{one}-----BEGIN EC PARAMETERS-----\n?\n-----END EC PARAMETERS-----\n{one}"), "another kind"),
        ] {
            assert_eq!(count(text), Ok(2), "{why}");
        }
        let line = one.lines().count() + 1;
        for (second, why) in [
            (one.replacen("-----", "----", 1), "four hyphens before"),
            (one.replacen("CERTIFICATE-----", "CERTIFICATE----", 1), "four hyphens behind"),
            (one.replacen("-----", "\u{2014}-", 2), "dashes for hyphens"),
            (one.replacen("BEGIN", "begin", 1), "small letters"),
            (one.replacen("-----BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE", 1), "no hyphens"),
            (one.replacen("-----BEGIN", "# -----BEGIN", 1), "behind other text"),
            (one.replacen("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", 1), "an END for a BEGIN"),
            (one.replace('\n', ""), "no line ends"),
            (one.replace('\n', " "), "spaces for line ends"),
            (one.replace('\n', "\\n"), "line ends written out"),
            (one.replacen("-----END CERTIFICATE-----", "", 1), "no END"),
            (one.replacen("-----END", "-----BEGIN", 1), "a BEGIN for an END"),
            (labelled("CERTIFICAT"), "a label misspelt"),
            (labelled("PKCS7"), "a container"),
        ] {
            let error = count(format!("{one}{second}")).expect_err(why);
            assert!(error.contains(&format!("line {line}: ")), "{why}: {error}");
        }
        let error = count(format!("{one}{}", one.replacen("-----END CERTIFICATE", "-----END X509 CRL", 1)));
        assert!(error.clone().is_err_and(|error| error.contains("of another kind")), "{error:?}");
        let wide: Vec<u8> = "\u{feff}".chars().chain(one.chars()).flat_map(|c| (c as u16).to_le_bytes()).collect();
        let wide = PemSource { name: "it.pem".to_owned(), bytes: wide }.certificates().expect_err("UTF-16").to_string();
        assert!(wide.contains("UTF-16"), "{wide}");
    }

    #[test]
    fn a_traditional_encrypted_key_is_reported_and_certificates_beside_it_are_read() {
        let certificate = issued().certificate;
        let key = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
                   AAAA\n-----END EC PRIVATE KEY-----\n";
        for key in [key.to_owned(), key.replace('\n', "\r\n")] {
            assert!(matches!(source(&key).private_key(), Err(PemError::Encrypted { .. })));
            assert_eq!(source(&format!("{key}{certificate}")).certificates().map(|found| found.len()), Ok(1));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a hang guard")]
    fn a_long_line_of_mark_words_is_scanned_in_linear_time() {
        let begun = std::time::Instant::now();
        let line = format!("x {}", "END X509 CRL BEGIN CERTIFICATE ".repeat(1 << 17));
        assert!(matches!(source(&line).certificates(), Err(PemError::Missing { .. })));
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_cut_off_file_is_damaged_not_empty() {
        let text = issued().certificate;
        let cut = source(&text[..text.len() - 40]);
        assert!(matches!(cut.certificates(), Err(PemError::Damaged { .. })));
    }
}
