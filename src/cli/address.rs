//! Addresses on the command line: `host:port`, and `plain://host:port` for a listener without TLS.

use std::net::{SocketAddr, ToSocketAddrs};

use super::Failure;

/// Where to listen, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress {
    pub(super) plain: bool,
    host_and_port: String,
}

impl ListenAddress {
    /// Parses `host:port` (TLS) or `plain://host:port`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (plain, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("plain", rest)) => (true, rest),
            Some(("tls", rest)) => (false, rest),
            Some((scheme, _)) => return Err(format!("'{scheme}://' is not known: use host:port or plain://host:port")),
        };
        let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self { plain, host_and_port: rest.to_string() }),
            _ => Err("an address is host:port, with a port from 0 to 65535 (0 picks a free one)".into()),
        }
    }

    /// TLS on a port of this machine only.
    pub(super) fn local(port: u16) -> Self {
        Self { plain: false, host_and_port: format!("127.0.0.1:{port}") }
    }

    /// The address to bind.
    pub(super) fn resolve(&self, flag: &str) -> Result<SocketAddr, Failure> {
        let written = &self.host_and_port;
        let mut addresses =
            written.to_socket_addrs().map_err(|error| Failure::usage(flag, format!("{written}: {error}")))?;
        addresses.next().ok_or_else(|| Failure::usage(flag, format!("{written}: the name has no address")))
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host_and_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_host_port_and_perhaps_plain() {
        let parse = ListenAddress::parse;
        assert_eq!(parse("127.0.0.1:20000"), Ok(ListenAddress::local(20_000)));
        assert!(parse("plain://localhost:1").is_ok_and(|address| address.plain));
        assert!(parse("[::1]:0").is_ok());
        for bad in ["localhost", "localhost:99999", "http://localhost:1", ":x", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
