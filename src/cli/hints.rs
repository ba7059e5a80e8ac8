//! What to try next: commands that work when pasted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::development::DevelopmentIdentities;
use crate::services::Protocol;

/// One listener that can be tried.
pub(super) struct Reachable {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

/// How to connect to servers that use the development certificates, one command a line.
pub(super) fn how_to_connect(development: &DevelopmentIdentities, listeners: &[Reachable]) -> String {
    let dir = development.dir.display().to_string();
    let made = if development.made { "made" } else { "found" };
    let mut lines = vec![
        String::new(),
        format!("{made} development certificates in {dir}/ (CA, server, client). Try in another terminal:"),
        String::new(),
    ];
    lines.extend(listeners.iter().flat_map(|listener| commands(listener, &dir)));
    lines.push(String::new());
    lines.push(format!("To demand client certificates, start with --client-ca {dir}/ca.pem; clients then add"));
    lines.push(format!("  --cert {dir}/client.pem --key {dir}/client-key.pem"));
    lines.push("\n".into());
    lines.join("\n")
}

fn commands(listener: &Reachable, dir: &str) -> Vec<String> {
    let (program, address) = (program(), from_here(listener.address));
    match listener.protocol {
        Protocol::Echo => vec![
            format!("  {program} connect {address} --ca {dir}/ca.pem"),
            format!("  openssl s_client -quiet -connect {address} -CAfile {dir}/ca.pem"),
        ],
        Protocol::Resp => {
            vec![format!("  redis-cli --tls --cacert {dir}/ca.pem -h {} -p {} get spam", address.ip(), address.port())]
        }
        Protocol::Admin => vec![format!("  curl --cacert {dir}/ca.pem https://{address}/metrics")],
        Protocol::XmlRpc => vec![
            format!("  {program} call https://{address} set spam '[1, 2, 3]' --ca {dir}/ca.pem"),
            format!("  {program} call https://{address} get spam --ca {dir}/ca.pem"),
            format!(
                "  python3 -c \"import ssl, xmlrpc.client as x; print(x.ServerProxy('https://{address}', \
                 context=ssl.create_default_context(cafile='{dir}/ca.pem')).keys())\""
            ),
        ],
    }
}

/// How this program was called.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "latchkey".into())
}

/// An address that a client on this machine can connect to.
fn from_here(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
