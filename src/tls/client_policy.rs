//! What a client demands of servers, and what it shows them.

use std::sync::Arc;

use rustls::{ClientConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::key_exchange::{self, PostQuantum};
use super::pem::{PemError, PemSource};
use super::trust::{Refusal, ServerTrust, TrustError};
use super::words::in_words;
use crate::limits::Limits;

/// What the command line, or a program, asks of a TLS client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Certificates to believe: CAs for what they issue, others as themselves.
    pub ca: Vec<PemSource>,
    /// Believe every server. Anyone can be in between.
    pub insecure: bool,
    /// Certificate chain and private key to show when the server asks.
    pub identity: Option<(PemSource, PemSource)>,
    /// Application protocols, most wanted first (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// What is asked of the key exchange.
    pub post_quantum: PostQuantum,
    /// Cipher suites to offer, most wanted first; none for all, in the library's order.
    pub suites: Vec<SupportedCipherSuite>,
    /// Certificates in a server's chain, its own included; more are not verified at all.
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

/// Why a client cannot be set up. Every text names the file.
#[derive(Debug, thiserror::Error)]
pub enum ClientPolicyError {
    /// A PEM file is not what it must be.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate to believe is not usable.
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
    /// The client's key is not that of its certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// rustls or its provider refused the combination.
    #[error("TLS cannot be set up: {}", in_words(.0))]
    Tls(#[from] rustls::Error),
}

/// A client's configuration, and who remembers why a server was refused.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    config: Arc<ClientConfig>,
    trust: Arc<ServerTrust>,
}

impl ClientPolicy {
    /// Reads what a client needs. Where both are offered, X25519MLKEM768 comes first, classical groups after it.
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

    /// Why a server was refused last, in full.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.trust.refusal()
    }
}
