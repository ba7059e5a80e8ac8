//! Who a verified certificate says its holder is.

/// The names in a verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Subject alternative names of type dNSName (RFC 5280, 4.2.1.6).
    pub dns: Vec<String>,
    /// Subject alternative names of type uniformResourceIdentifier, such as a SPIFFE ID.
    pub uris: Vec<String>,
    /// Subject alternative names of type rfc822Name.
    pub emails: Vec<String>,
    /// SHA-256 of the whole certificate in DER.
    pub fingerprint: [u8; 32],
}

/// Why a certificate's names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct UnreadableCertificate(String);

impl Identity {
    /// Reads the names in a certificate in DER.
    pub fn from_der(_der: &[u8]) -> Result<Self, UnreadableCertificate> {
        Err(UnreadableCertificate("placeholder until trust is merged".into()))
    }
}
