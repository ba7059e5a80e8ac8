//! What a TLS client requires of servers, and the certificate it presents.

use std::sync::Arc;

use rustls::{ClientConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::key_exchange::{self, PostQuantum};
use super::pem::{PemError, PemSource};
use super::trust::{Refusal, ServerTrust, TrustError};
use super::words::in_words;
use crate::limits::Limits;

/// Options of a TLS client, from the command line or a program.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Trusted certificates: CAs for what they issue, others as themselves.
    pub ca: Vec<PemSource>,
    /// Accept every server. Anyone can then intercept the connection.
    pub insecure: bool,
    /// Certificate chain and private key to present when the server asks for one.
    pub identity: Option<(PemSource, PemSource)>,
    /// Application protocols in order of preference (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// Requirements on the key exchange.
    pub post_quantum: PostQuantum,
    /// Cipher suites to offer, in order of preference; empty for all, in the library's order.
    pub suites: Vec<SupportedCipherSuite>,
    /// Certificates in a server's chain, its own included; a longer chain is not verified at all.
    pub max_chain: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            insecure: false,
            identity: None,
            alpn: Vec::new(),
            post_quantum: PostQuantum::default(),
            suites: Vec::new(),
            max_chain: Limits::default().chain_certificates,
        }
    }
}

/// Why a client policy is invalid. Every text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientPolicyError {
    /// A PEM file does not contain what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A trusted certificate is not usable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The client's own certificate and key are not usable together.
    #[error("{certificate} with {key} is not usable as a client identity: {}", in_words(detail))]
    Identity {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        detail: rustls::Error,
    },
    /// The private key is not that of the client's certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// rustls or its provider rejected the combination.
    #[error("TLS cannot be set up: {}", in_words(.0))]
    Tls(#[from] rustls::Error),
}

/// A client's configuration, and the record of why its last server was rejected.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    config: Arc<ClientConfig>,
    trust: Arc<ServerTrust>,
}

impl ClientPolicy {
    /// Parses the client's files. If both are offered, X25519MLKEM768 comes first, classical groups after it.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientPolicyError> {
        Self::with_versions(options, rustls::ALL_VERSIONS)
    }

    /// As [`new`](Self::new), for these protocol versions only.
    pub fn with_versions(
        options: &ClientOptions,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, ClientPolicyError> {
        let mut provider = key_exchange::provider(options.post_quantum);
        if !options.suites.is_empty() {
            Arc::make_mut(&mut provider).cipher_suites.clone_from(&options.suites);
        }
        let trust = if options.insecure {
            ServerTrust::insecure(&provider)
        } else {
            ServerTrust::with_max_chain(&options.ca, &provider, options.max_chain)?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(trust.clone());
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(certificate.certificates()?, key.private_key()?).map_err(|detail| {
                    let (certificate, key) = (certificate.name.clone(), key.name.clone());
                    match detail {
                        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
                            ClientPolicyError::KeyMismatch { certificate, key }
                        }
                        detail => ClientPolicyError::Identity { certificate, key, detail },
                    }
                })?
            }
        };
        config.alpn_protocols.clone_from(&options.alpn);
        Ok(Self { config: Arc::new(config), trust })
    }

    /// The configuration for connections.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Why the last server was rejected, in full.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.trust.refusal()
    }
}
