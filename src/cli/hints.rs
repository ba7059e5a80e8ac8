//! Commands to try next, printed at start; each works when pasted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::development::DevelopmentIdentities;
use crate::access::{Access, Class, Gate};
use crate::services::Protocol;
use crate::tls::Identity;

/// A listener that the hints name.
pub(super) struct Reachable {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

/// How the listeners treat the development client.
pub(super) enum Standing {
    /// No client certificate is required.
    Unasked {
        /// One that is sent is verified.
        is_optional: bool,
    },
    /// Its certificate is accepted.
    Known(Access),
    /// Its certificate is rejected.
    Stranger,
}

impl Standing {
    /// How `gate` treats the development client.
    pub(super) fn before(gate: &Gate, development: &DevelopmentIdentities) -> Self {
        if gate.admit(&[], None, &mut None).is_ok() {
            return Self::Unasked { is_optional: gate.policy().client_trust().is_some() };
        }
        let chain = development.client.0.certificates().unwrap_or_default();
        let mut identity = chain.first().and_then(|leaf| Identity::from_der(leaf).ok()).map(Arc::new);
        gate.admit(&chain, None, &mut identity).map_or(Self::Stranger, Self::Known)
    }

    /// Whether the client may send this request.
    fn allows(&self, class: Class, name: &str, key: Option<&[u8]>) -> bool {
        match self {
            Self::Unasked { .. } => true,
            Self::Known(access) => access.allows(class, name, key),
            Self::Stranger => false,
        }
    }
}

/// How to connect to servers that use the development certificates, one command per line. Commands that would fail are
/// left out.
pub(super) fn how_to_connect(
    development: &DevelopmentIdentities,
    listeners: &[Reachable],
    standing: &Standing,
) -> String {
    let dir = development.dir.display().to_string();
    let made = if development.made { "made" } else { "found" };
    let found = format!("{made} development certificates in {dir}/ (CA, server, client).");
    let commands: Vec<_> = listeners.iter().flat_map(|listener| commands(listener, &dir, standing)).collect();
    if commands.is_empty() {
        let only = "Only clients that --client-ca, --client-pin and --authorize accept are served; the development \
        client is rejected everywhere, or may do nothing.";
        return format!("\n{found} {only}\n\n");
    }
    let mut lines = vec![String::new(), format!("{found} Try in another terminal:"), String::new()];
    lines.extend(commands);
    lines.push(String::new());
    if matches!(standing, Standing::Unasked { is_optional: false }) {
        lines.push(format!("To require client certificates, start with --client-ca {dir}/ca.pem; clients then add"));
        lines.push(format!("  --cert {dir}/client.pem --key {dir}/client-key.pem"));
        lines.push(String::new());
    }
    lines.push(String::new());
    lines.join("\n")
}

fn commands(listener: &Reachable, dir: &str, standing: &Standing) -> Vec<String> {
    const KEY: Option<&[u8]> = Some(b"spam");
    let (program, address) = (program(), from_here(listener.address));
    let (certificate, key) = (format!("{dir}/client.pem"), format!("{dir}/client-key.pem"));
    let is_shown = matches!(standing, Standing::Known(_));
    let shown = |certificate_flag: &str, key_flag: &str| {
        if is_shown { format!(" {certificate_flag} {certificate} {key_flag} {key}") } else { String::new() }
    };
    let identity = shown("--cert", "--key");
    let all = match listener.protocol {
        Protocol::Echo => vec![
            (Class::Open, "", None, format!("{program} connect {address} --ca {dir}/ca.pem{identity}")),
            (
                Class::Open,
                "",
                None,
                format!("openssl s_client -quiet -connect {address} -CAfile {dir}/ca.pem{}", shown("-cert", "-key")),
            ),
        ],
        Protocol::Resp => {
            let (host, port) = (address.ip(), address.port());
            let line = format!("redis-cli --tls --cacert {dir}/ca.pem{identity} -h {host} -p {port} get spam");
            vec![(Class::Read, "get", KEY, line)]
        }
        Protocol::Admin => {
            let line = format!("curl --cacert {dir}/ca.pem{identity} https://{address}/metrics");
            vec![(Class::Server, "metrics", None, line)]
        }
        Protocol::XmlRpc => {
            let call = format!("{program} call https://{address}");
            let show = if is_shown { format!("c.load_cert_chain('{certificate}', '{key}'); ") } else { String::new() };
            let python = format!(
                "python3 -c \"import ssl, xmlrpc.client as x; c = ssl.create_default_context(cafile='{dir}/ca.pem'); \
                 {show}print(x.ServerProxy('https://{address}', context=c).keys())\""
            );
            vec![
                (Class::Write, "set", KEY, format!("{call} set spam '[1, 2, 3]' --ca {dir}/ca.pem{identity}")),
                (Class::Read, "get", KEY, format!("{call} get spam --ca {dir}/ca.pem{identity}")),
                (Class::Read, "keys", None, python),
            ]
        }
    };
    let may = |(class, name, key, _): &(Class, &str, Option<&[u8]>, String)| standing.allows(*class, name, *key);
    all.into_iter().filter(may).map(|(.., line)| format!("  {line}")).collect()
}

/// The name by which this program was started.
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
