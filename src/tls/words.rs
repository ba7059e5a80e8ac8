//! Messages for errors of libraries.

use std::fmt::Debug;

use rustls::Error;

/// The name of an enum's variant in words: `UnsupportedSignatureAlgorithmContext { .. }` becomes "unsupported signature
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

/// The message for an error that broke a session, or prevented its setup.
#[must_use]
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidMessage(kind) => format!("the peer sent invalid TLS ({})", plain(kind)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the peer sent a TLS message out of order".to_owned()
        }
        Error::PeerIncompatible(kind) => format!("no TLS parameters in common with the peer ({})", plain(kind)),
        Error::PeerMisbehaved(kind) => format!("the peer violated the TLS protocol ({})", plain(kind)),
        Error::PeerSentOversizedRecord => "the peer sent a record longer than TLS allows".to_owned(),
        Error::NoApplicationProtocol => "the peer supports none of the offered protocols (ALPN)".to_owned(),
        Error::DecryptError => "a record from the peer cannot be decrypted".to_owned(),
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
    fn errors_are_printed_in_words() {
        let said = in_words(&Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(said, "the peer sent invalid TLS (invalid content type)");
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
