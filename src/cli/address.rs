//! Addresses on the command line: `host:port`, and `plain://host:port` for a listener without TLS.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::Failure;
use crate::net::first_that_answers;

/// A listener's address as given on the command line.
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
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("plain") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tls") => (false, rest),
            Some((scheme, _)) => {
                return Err(format!("unknown scheme '{scheme}://': use host:port or plain://host:port"));
            }
        };
        if rest.starts_with(':') && !rest.starts_with("::") {
            return Err(format!(
                "the host is missing: 127.0.0.1{rest} is this machine only, 0.0.0.0{rest} or [::]{rest} the network"
            ));
        }
        let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self { plain, host_and_port: rest.to_string() }),
            _ => Err("an address is host:port, with a port from 0 to 65535 (0 picks a free one)".into()),
        }
    }

    /// TLS on a loopback port.
    pub(super) fn local(port: u16) -> Self {
        Self { plain: false, host_and_port: format!("127.0.0.1:{port}") }
    }

    /// The address to bind.
    pub(super) fn resolve(&self, flag: &str) -> Result<SocketAddr, Failure> {
        let written = &self.host_and_port;
        let mut addresses = written
            .to_socket_addrs()
            .map_err(|error| Failure::usage(flag, format!("{written}: {}", lookup_in_words(&error))))?;
        addresses.next().ok_or_else(|| Failure::usage(flag, format!("{written}: the name has no address")))
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host_and_port)
    }
}

/// The text of a failed lookup or connection, without the name of the C function.
pub(super) fn lookup_in_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("failed to lookup address information: ") {
        Some(why) => format!("the name cannot be resolved: {why}"),
        None => text,
    }
}

/// Parses `HOST:PORT`. An IPv6 address needs brackets and keeps them: see [`bare`].
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Err(format!("a server is HOST:PORT, without {scheme}://: {rest}"));
    }
    if text.contains('@') {
        return Err("a server is HOST:PORT, without a user and a password".into());
    }
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a server is HOST:PORT".into());
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("an IPv6 address needs brackets: [{host}]:{port}"));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => Err(format!("a port is a number from 1 to 65535, not {port}")),
    }
}

/// A host without the brackets that separate an IPv6 address from its port (RFC 3986, 3.2.2).
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// All addresses of a host without duplicates, in the order the system prefers (RFC 6724).
pub(super) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = (bare(host), port)
        .to_socket_addrs()
        .map_err(|error| Failure::Usage(format!("{host}:{port}: {}", lookup_in_words(&error))))?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The first of `addresses` that accepts a connection within `timeout`, which covers all attempts. The last one is not
/// tried: the caller connects to it and reports why that fails.
pub(super) fn first_reachable(addresses: &[SocketAddr], timeout: Duration) -> Option<SocketAddr> {
    let (last, others) = addresses.split_last()?;
    let answering = first_that_answers(others, timeout).and_then(|stream| stream.peer_addr());
    Some(answering.unwrap_or(*last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_host_port_and_perhaps_plain() {
        let parse = ListenAddress::parse;
        assert_eq!(parse("127.0.0.1:20000"), Ok(ListenAddress::local(20_000)));
        assert_eq!(parse("TLS://127.0.0.1:20000"), Ok(ListenAddress::local(20_000)));
        assert!(parse(":7352").is_err_and(|told| told.contains("127.0.0.1:7352") && told.contains("[::]:7352")));
        assert!(parse("plain://localhost:1").is_ok_and(|address| address.plain));
        assert!(parse("[::1]:0").is_ok());
        for bad in ["localhost", "localhost:99999", "http://localhost:1", ":x", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_address_that_takes_a_connection_is_chosen() {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let (one, two) = (listen(), listen());
        let [first, second] = [&one, &two].map(|listener| listener.local_addr().expect("an address"));
        let gone = listen().local_addr().expect("an address");
        let choose = |all: &[SocketAddr]| first_reachable(all, Duration::from_secs(5));
        assert_eq!(choose(&[gone, first, second]), Some(first));
        assert_eq!(choose(&[first, second]), Some(first));
        assert_eq!(choose(&[gone]), Some(gone), "the run reports its error");
        assert_eq!(choose(&[]), None);
        assert_eq!(addresses("127.0.0.1", 7).expect("an address"), [SocketAddr::from(([127, 0, 0, 1], 7))]);
        assert_eq!(addresses("[::1]", 7).expect("an address").len(), 1);
    }

    #[test]
    fn servers_have_a_host_and_a_port() {
        assert_eq!(host_and_port("localhost:1"), Ok(("localhost".into(), 1)));
        assert_eq!(host_and_port("[::1]:65535"), Ok(("[::1]".into(), 65535)));
        for bad in ["", ":1", "localhost", "localhost:", "localhost:+1", "localhost:0", "localhost:65536", "::1:80"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
        for login in ["user:pw@host:1", "user@[::1]:1"] {
            assert!(host_and_port(login).is_err_and(|told| told.contains("password") && !told.contains("pw")));
        }
        let told = host_and_port("https://127.0.0.1:15000/").expect_err("a scheme");
        assert_eq!(told, "a server is HOST:PORT, without https://: 127.0.0.1:15000");
        assert_eq!(["[::1]", "::1", "[half"].map(bare), ["::1", "::1", "[half"]);
    }
}
