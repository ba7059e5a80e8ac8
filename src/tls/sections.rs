//! The sections of a PEM file (RFC 7468), found so that none is skipped silently.
//!
//! Every mark is accounted for: a section is parsed, known to be of another kind, or the file is rejected with a line
//! number. No error quotes the file, which may be a private key: labels come from a table.

use rustls_pki_types::pem::{PemObject, SectionKind};

/// The content of a section, by its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// An X.509 certificate.
    Certificate,
    /// An X.509 certificate followed by OpenSSL's trust settings.
    TrustedCertificate,
    /// A certificate revocation list.
    RevocationList,
    /// A private key in a supported form.
    Key(SectionKind),
    /// An encrypted private key (PKCS#8).
    EncryptedKey,
    /// A container format that is not supported.
    Container,
    /// A kind that is never wanted.
    Other,
}

/// Labels and their kinds.
const LABELS: &[(&str, Kind)] = &[
    ("CERTIFICATE", Kind::Certificate),
    ("X509 CERTIFICATE", Kind::Certificate),
    ("TRUSTED CERTIFICATE", Kind::TrustedCertificate),
    ("X509 CRL", Kind::RevocationList),
    ("PRIVATE KEY", Kind::Key(SectionKind::PrivateKey)),
    ("RSA PRIVATE KEY", Kind::Key(SectionKind::RsaPrivateKey)),
    ("EC PRIVATE KEY", Kind::Key(SectionKind::EcPrivateKey)),
    ("ENCRYPTED PRIVATE KEY", Kind::EncryptedKey),
    ("PKCS7", Kind::Container),
    ("PKCS #7 SIGNED DATA", Kind::Container),
    ("CMS", Kind::Container),
    ("CERTIFICATE REQUEST", Kind::Other),
    ("NEW CERTIFICATE REQUEST", Kind::Other),
    ("ATTRIBUTE CERTIFICATE", Kind::Other),
    ("PUBLIC KEY", Kind::Other),
    ("RSA PUBLIC KEY", Kind::Other),
    ("EC PARAMETERS", Kind::Other),
    ("DH PARAMETERS", Kind::Other),
    ("X9.42 DH PARAMETERS", Kind::Other),
    ("DSA PARAMETERS", Kind::Other),
    ("DSA PRIVATE KEY", Kind::Other),
    ("ANY PRIVATE KEY", Kind::Other),
    ("OPENSSH PRIVATE KEY", Kind::Other),
    ("SSH2 PUBLIC KEY", Kind::Other),
    ("PGP PUBLIC KEY BLOCK", Kind::Other),
    ("PGP PRIVATE KEY BLOCK", Kind::Other),
    ("SSL SESSION PARAMETERS", Kind::Other),
    ("ECHCONFIG", Kind::Other),
];

/// One section of a file.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    /// Its label.
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    /// The line of its BEGIN mark, counted from 1.
    pub(super) line: usize,
    /// Whether its headers declare it encrypted (RFC 1421, 4.6.1.1), as in OpenSSL's traditional keys.
    pub(super) is_encrypted: bool,
    /// The bytes between the marks.
    body: &'a [u8],
}

/// A defect in a file, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct Flaw {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const HYPHENS: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Every section of a file, in order.
///
/// This is more lenient than OpenSSL: white space and byte order marks may precede a mark, and a line end may be
/// missing between END and BEGIN. A mark after other text, one without its partner, and text that resembles a mark are
/// errors.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, Flaw> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || find(bytes, b"-\0-\0-\0-").is_some() {
        return Err(Flaw { line: 1, what: "the file is UTF-16 text: save it as UTF-8" });
    }
    let mut found = Vec::new();
    let mut scanner = Scanner { bytes, at: 0, counted: 0, lines: 0 };
    while let Some(text) = scanner.outside() {
        if text.starts_with(BEGIN) {
            found.push(scanner.section()?);
        } else if is_almost_a_mark(text) {
            let what = "this resembles a BEGIN or END mark but is not one: a mark begins its line, has five hyphens on each \
                        side, and END follows BEGIN";
            return Err(Flaw { line: scanner.line(), what });
        } else {
            scanner.skip_line();
        }
    }
    Ok(found)
}

/// A position in a file.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The position up to which line ends have been counted, and their number.
    counted: usize,
    lines: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The current line's number, counted from 1. Only bytes after the last call's position are scanned.
    fn line(&mut self) -> usize {
        let passed = self.bytes.get(self.counted..self.at).unwrap_or_default();
        let next = self.rest().first();
        // Old Macintosh files have carriage returns alone.
        let ends = |(index, byte): (usize, &u8)| match byte {
            b'\n' => true,
            b'\r' => passed.get(index + 1).or(next) != Some(&b'\n'),
            _ => false,
        };
        self.lines += passed.iter().enumerate().filter(|each| ends(*each)).count();
        self.counted = self.at;
        self.lines + 1
    }

    /// The rest of the line from the next byte that is not white space; `None` at the end of the file.
    fn outside(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest();
            if rest.starts_with(BYTE_ORDER_MARK) {
                self.at += BYTE_ORDER_MARK.len();
            } else if rest.first()?.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return rest.split(|byte| matches!(byte, b'\n' | b'\r')).next();
            }
        }
    }

    fn skip_line(&mut self) {
        self.at += self.rest().iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')).count();
    }

    /// Reads the section whose BEGIN mark is here, and advances past its END mark.
    fn section(&mut self) -> Result<Section<'a>, Flaw> {
        let line = self.line();
        let flaw = |what| Flaw { line, what };
        let (label, kind) = self.mark(BEGIN).ok_or_else(|| {
            flaw("the BEGIN mark is incomplete or of an unknown kind: its label must end with five hyphens")
        })?;
        let body = self.rest();
        let behind = body.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        if !matches!(behind, Some(b'\n' | b'\r')) {
            return Err(flaw("no line end follows the BEGIN mark: the line ends are lost, or written as \\n"));
        }
        let length = find(body, HYPHENS).ok_or_else(|| flaw("the section that begins there has no END mark"))?;
        let body = body.get(..length).unwrap_or_default();
        self.at += length;
        if self.rest().starts_with(BEGIN) {
            return Err(flaw("the section that begins there has no END mark before the next begins"));
        }
        let end_line = self.line();
        if self.mark(END).is_none_or(|(end, _)| end != label) {
            return Err(Flaw { line: end_line, what: "the END mark is incomplete, or of another kind than its BEGIN" });
        }
        Ok(Section { label, kind, line, is_encrypted: says_encrypted(body), body })
    }

    /// The label of the mark that starts here; advances past it.
    fn mark(&mut self, start: &[u8]) -> Option<(&'static str, Kind)> {
        let rest = self.rest().strip_prefix(start)?;
        let length = find(rest, HYPHENS)?;
        let written = rest.get(..length)?.trim_ascii();
        let label = LABELS.iter().find(|(label, _)| label.as_bytes() == written)?;
        self.at += start.len() + length + HYPHENS.len();
        Some(*label)
    }
}

impl Section<'_> {
    /// Whether it is a private key of any form.
    pub(super) fn is_private_key(&self) -> bool {
        matches!(self.kind, Kind::Key(_) | Kind::EncryptedKey) || self.label.ends_with("PRIVATE KEY")
    }

    /// The decoded bytes of the section. Keys are decoded in constant time.
    pub(super) fn decode(&self) -> Result<Vec<u8>, Flaw> {
        let flaw = |what| Flaw { line: self.line, what };
        let label = match self.kind {
            Kind::Certificate | Kind::TrustedCertificate => "CERTIFICATE",
            _ => self.label,
        };
        let data = without_headers(self.body);
        if data.contains(&b'\\') {
            return Err(flaw("the section's line ends are written as \\n: put real line ends there"));
        }
        let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
        let body = text.len();
        text.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
        if text.len() == body {
            return Err(flaw("the section is empty"));
        }
        text.extend_from_slice(format!("\n-----END {label}-----\n").as_bytes());
        // The decoder's own error may quote its input.
        let decoded = <(SectionKind, Vec<u8>)>::from_pem_slice(&text);
        decoded.map(|(_, der)| der).map_err(|_| flaw("the base64 text of the section that begins there is damaged"))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

/// Whether a section has headers (RFC 1421) that declare it encrypted.
fn says_encrypted(body: &[u8]) -> bool {
    let headers = lines(body.trim_ascii_start()).take_while(|line| line.contains(&b':'));
    let mut headers = headers.filter_map(|line| line.strip_prefix(b"Proc-Type:"));
    headers.any(|value| find(value, b"ENCRYPTED").is_some())
}

/// A section's data after its headers, which an empty line ends.
fn without_headers(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii_start();
    if !lines(body).next().is_some_and(|line| line.contains(&b':')) {
        return body;
    }
    let blank = [&b"\n\n"[..], b"\n\r\n"].into_iter().filter_map(|blank| Some(find(body, blank)? + blank.len())).min();
    blank.and_then(|end| body.get(end..)).unwrap_or(body)
}

/// Whether a line that begins no section resembles a mark: BEGIN or END in any case before a known label, after a
/// hyphen or dash, or alone on its line.
fn is_almost_a_mark(text: &[u8]) -> bool {
    if find(text, BEGIN.trim_ascii_end()).is_some() || find(text, END.trim_ascii_end()).is_some() {
        return true;
    }
    let text = text.to_ascii_uppercase();
    [&b"BEGIN"[..], b"END"].into_iter().any(|word| {
        (0..text.len()).any(|at| {
            let (Some(before), Some(rest)) = (text.get(..at), text.get(at..)) else { return false };
            let Some(rest) = rest.strip_prefix(word) else { return false };
            let (before, rest) = (before.trim_ascii_end(), rest.trim_ascii_start());
            let label = LABELS.iter().find(|(label, _)| rest.starts_with(label.as_bytes()));
            label.is_some_and(|(label, _)| {
                let after = rest.get(label.len()..).unwrap_or_default().trim_ascii();
                ends_with_dash(before) || before.is_empty() && (after.is_empty() || starts_with_dash(after))
            })
        })
    })
}

/// A hyphen, or one of the dashes that editors substitute: U+2010 to U+2015, and the minus sign.
fn is_dash(character: char) -> bool {
    matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Bytes of the longest dash in UTF-8.
const DASH_BYTES: usize = 3;

fn ends_with_dash(text: &[u8]) -> bool {
    let end = text.get(text.len().saturating_sub(DASH_BYTES)..).unwrap_or_default();
    String::from_utf8_lossy(end).ends_with(is_dash)
}

fn starts_with_dash(text: &[u8]) -> bool {
    let start = text.get(..text.len().min(DASH_BYTES)).unwrap_or_default();
    String::from_utf8_lossy(start).starts_with(is_dash)
}
