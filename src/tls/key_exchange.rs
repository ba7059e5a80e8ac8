//! The key-exchange groups of a listener, post-quantum first.
//!
//! rustls follows the client's order, so two peers that both support X25519MLKEM768 negotiate plain X25519 if the
//! client lists that first. A listener that prefers post-quantum therefore reads the ClientHello, and if the group is
//! offered anywhere in it, handshakes with a configuration that has no other group for TLS 1.3; a client that sent no
//! share for it gets a HelloRetryRequest (RFC 8446, 4.1.4).

use std::sync::Arc;

use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{Error, NamedGroup, ProtocolVersion};

/// A listener's requirement on the key exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostQuantum {
    /// X25519MLKEM768 with every client that supports it, classical groups with the others.
    #[default]
    Prefer,
    /// X25519MLKEM768 or no connection; this implies TLS 1.3.
    Require,
    /// Classical groups only.
    Off,
}

/// A provider with all groups that `wanted` allows, the post-quantum one first.
pub(crate) fn provider(wanted: PostQuantum) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    match wanted {
        PostQuantum::Prefer => {}
        PostQuantum::Require => provider.kx_groups.retain(|group| is_post_quantum(group.name())),
        PostQuantum::Off => provider.kx_groups.retain(|group| !is_post_quantum(group.name())),
    }
    Arc::new(provider)
}

/// A provider for clients that offered X25519MLKEM768: its only group for TLS 1.3.
///
/// TLS 1.2 does not have that group. A client may offer it and still negotiate TLS 1.2, so the classical groups stay
/// for TLS 1.2.
pub(crate) fn post_quantum_provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, &TLS12_X25519, &TLS12_P256, &TLS12_P384];
    Arc::new(provider)
}

/// Whether a negotiated group protects a recorded session against decryption by a later quantum computer.
#[must_use]
pub fn is_post_quantum(group: NamedGroup) -> bool {
    matches!(
        group,
        NamedGroup::X25519MLKEM768 | NamedGroup::secp256r1MLKEM768 | NamedGroup::MLKEM768 | NamedGroup::MLKEM1024
    )
}

/// A group that is used in TLS 1.2 only.
#[derive(Debug)]
struct Tls12Only(&'static &'static dyn SupportedKxGroup);

static TLS12_X25519: Tls12Only = Tls12Only(&aws_lc_rs::kx_group::X25519);
static TLS12_P256: Tls12Only = Tls12Only(&aws_lc_rs::kx_group::SECP256R1);
static TLS12_P384: Tls12Only = Tls12Only(&aws_lc_rs::kx_group::SECP384R1);

impl SupportedKxGroup for Tls12Only {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        self.0.start()
    }

    fn ffdhe_group(&self) -> Option<rustls::ffdhe_groups::FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2
    }
}
