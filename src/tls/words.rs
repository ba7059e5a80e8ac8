//! What libraries call things in their own language, in words.

use std::fmt::Debug;

use rustls::Error;

/// The name of an enum's variant as words: `UnsupportedSignatureAlgorithmContext { .. }` is "unsupported signature
/// algorithm".
#[must_use]
pub fn plain(problem: &impl Debug) -> String {
    let debug = format!("{problem:?}");
    let end = debug.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(debug.len());
    let name = debug.get(..end).unwrap_or_default();
    let mut words = String::with_capacity(name.len() + 8);
    for c in name.strip_suffix("Context").unwrap_or(name).chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// What broke a session with a peer, or keeps one from being set up.
#[must_use]
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidMessage(kind) => format!("the other end sent what is no valid TLS ({})", plain(kind)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the other end sent a message of TLS out of its turn".to_owned()
        }
        Error::PeerIncompatible(kind) => format!("the two ends have no way of speaking in common ({})", plain(kind)),
        Error::PeerMisbehaved(kind) => format!("the other end broke a rule of TLS ({})", plain(kind)),
        Error::PeerSentOversizedRecord => "the other end sent a record longer than TLS allows".to_owned(),
        Error::NoApplicationProtocol => "the other end speaks none of the offered protocols (ALPN)".to_owned(),
        Error::DecryptError => "what the other end sent cannot be decrypted".to_owned(),
        Error::InconsistentKeys(_) => "the private key does not belong to the certificate".to_owned(),
        Error::InvalidCertificate(kind) => format!("the certificate is not acceptable ({})", plain(kind)),
        Error::InvalidCertRevocationList(kind) => format!("the revocation list is not usable ({})", plain(kind)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, InconsistentKeys, InvalidMessage};

    use super::*;

    #[test]
    fn no_error_is_shown_as_it_is_spelled_in_rust() {
        let said = in_words(&Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(said, "the other end sent what is no valid TLS (invalid content type)");
        let said = in_words(&Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
        assert_eq!(said, "the private key does not belong to the certificate");
        let said = in_words(&Error::InvalidCertificate(CertificateError::BadEncoding));
        assert_eq!(said, "the certificate is not acceptable (bad encoding)");
        let context =
            webpki::Error::UnsupportedSignatureAlgorithmContext(webpki::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6],
                supported_algorithms: Vec::new(),
            });
        assert_eq!(plain(&context), "unsupported signature algorithm");
    }
}
