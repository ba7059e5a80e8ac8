//! A server's handshake with itself, in memory, to check what a policy serves.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, Error, ServerConnection, SideData};
use rustls_pki_types::ServerName;

use super::certificate::fingerprint;
use super::policy::{Choice, ServerPolicy};
use super::trust::ServerTrust;

/// More round trips than a handshake takes, so that a defect causes an error and not a loop.
const ROUNDS: usize = 8;

/// Performs a handshake with `policy` and returns the SHA-256 of the leaf certificate that a client without a known
/// server name gets. The handshake checks that the server can sign with its key.
///
/// The certificate is not verified: that is the clients' task. If client certificates are required, the server rejects
/// this client at the very end, after everything checked here.
pub fn self_handshake(policy: &ServerPolicy) -> Result<[u8; 32], Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(ServerTrust::insecure(&provider))
        .with_no_client_auth();
    // An address is not sent as a server name, so the policy uses its first certificate.
    let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let mut client = ClientConnection::new(Arc::new(config), nobody)?;
    let mut bytes = written(&mut client)?;
    let Choice::Start(handshake) = policy.choose(&bytes) else {
        return Err(Error::General("the policy does not start with a whole ClientHello".to_owned()));
    };
    let mut server = ServerConnection::new(handshake.config)?;
    for _ in 0..ROUNDS {
        deliver(&mut server, &bytes)?;
        deliver(&mut client, &written(&mut server)?)?;
        if !client.is_handshaking() {
            let leaf = client.peer_certificates().and_then(<[_]>::first);
            return leaf.map(|leaf| fingerprint(leaf)).ok_or(Error::NoCertificatesPresented);
        }
        bytes = written(&mut client)?;
    }
    Err(Error::General("the handshake did not end".to_owned()))
}

fn written<S: SideData>(from: &mut ConnectionCommon<S>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes as &mut dyn Write).map_err(in_memory)?;
    }
    Ok(bytes)
}

fn deliver<S: SideData>(to: &mut ConnectionCommon<S>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        to.read_tls(&mut bytes as &mut dyn Read).map_err(in_memory)?;
        to.process_new_packets()?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn in_memory(error: std::io::Error) -> Error {
    Error::General(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Clock, NOW, TestPki, files_of, leaf};
    use crate::tls::authority::{KeyKind, Role, Subject};
    use crate::tls::{PolicyOptions, PostQuantum};

    #[test]
    fn the_served_leaf_is_the_reported_one() {
        let (pki, clock) = (TestPki::new(), Clock::at(NOW));
        let subject = Subject::named("localhost", &[]).and_then(Subject::reachable).expect("a name");
        let renewed = pki.authority.issue(Role::Server, &subject, KeyKind::Ed25519, NOW).expect("a leaf");
        for issued in [&pki.server, &renewed] {
            for (post_quantum, base) in [
                (PostQuantum::Prefer, pki.options(&clock)),
                (PostQuantum::Off, pki.mutual(&clock)),
                (PostQuantum::Require, pki.mutual(&clock)),
            ] {
                let options = PolicyOptions { identities: vec![files_of(issued)], post_quantum, ..base };
                let policy = ServerPolicy::new(options).expect("a policy");
                assert_eq!(self_handshake(&policy), Ok(fingerprint(&leaf(issued))));
            }
        }
    }
}
