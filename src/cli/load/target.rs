//! The server that load is sent to, as the command line names it.

use super::tls::LoadTlsArgs;
use crate::cli::Failure;
use crate::cli::address::host_and_port;
use crate::load::plan::LoadProtocol;

/// What may stand before HOST:PORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheme {
    name: &'static str,
    is_plain: bool,
    /// The protocol that the scheme implies, if any, and the command for it.
    speaks: Option<(LoadProtocol, &'static str)>,
}

const REDIS: Option<(LoadProtocol, &str)> = Some((LoadProtocol::Resp, "resp"));
const HTTP: Option<(LoadProtocol, &str)> = Some((LoadProtocol::XmlRpc, "xmlrpc"));
const SCHEMES: [Scheme; 7] = [
    Scheme { name: "tls", is_plain: false, speaks: None },
    Scheme { name: "rediss", is_plain: false, speaks: REDIS },
    Scheme { name: "https", is_plain: false, speaks: HTTP },
    Scheme { name: "plain", is_plain: true, speaks: None },
    Scheme { name: "tcp", is_plain: true, speaks: None },
    Scheme { name: "redis", is_plain: true, speaks: REDIS },
    Scheme { name: "http", is_plain: true, speaks: HTTP },
];

/// A server, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadTarget {
    pub(super) host: String,
    pub(super) port: u16,
    scheme: Option<Scheme>,
}

impl LoadTarget {
    /// Parses `HOST:PORT`, with or without a scheme.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((name, rest)) => {
                let known = SCHEMES.into_iter().find(|scheme| scheme.name.eq_ignore_ascii_case(name));
                let refused = || {
                    format!(
                        "'{name}://' is not known: a server is HOST:PORT, or that behind tls://, rediss:// or https:// \
                         (all TLS) or plain://, tcp://, redis:// or http:// (all without)"
                    )
                };
                (Some(known.ok_or_else(refused)?), rest)
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("a login is not supported: a server is HOST:PORT".into());
        }
        if rest.contains(['/', '?', '#']) {
            return Err("a server is HOST:PORT, with nothing behind the port; `load xmlrpc` takes a --path".into());
        }
        let (host, port) = host_and_port(rest)?;
        Ok(Self { host, port, scheme })
    }

    /// Whether connections to it are without TLS. Scheme, flags and protocol must agree.
    pub(super) fn is_plain(&self, spoken: LoadProtocol, tls: &LoadTlsArgs) -> Result<bool, Failure> {
        let Some(scheme) = self.scheme else { return Ok(tls.plain) };
        let name = scheme.name;
        // Any TLS server makes handshakes, whatever its protocol.
        let shakes_hands = spoken == LoadProtocol::HandshakeOnly && !scheme.is_plain;
        if let Some((_, command)) = scheme.speaks.filter(|(protocol, _)| *protocol != spoken && !shakes_hands) {
            return Err(Failure::Usage(format!(
                "{name}:// is for `load {command}`, or `load idle --speak {command}`; tls:// and plain:// fit everything"
            )));
        }
        match (scheme.is_plain, tls.plain, tls.given()) {
            (false, true, _) => Err(Failure::usage("--plain", format!("{name}:// means TLS"))),
            (true, _, Some(flag)) => Err(Failure::usage(flag, format!("{name}:// means no TLS"))),
            (is_plain, ..) => Ok(is_plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_with_or_without_a_scheme() {
        let parse = |text: &str| {
            LoadTarget::parse(text).map(|target| (target.host, target.port, target.scheme.map(|s| s.is_plain)))
        };
        let host = |scheme| Ok(("localhost".to_owned(), 6379, scheme));
        assert_eq!(parse("localhost:6379"), host(None));
        for scheme in ["tls", "rediss", "https", "TLS"] {
            assert_eq!(parse(&format!("{scheme}://localhost:6379")), host(Some(false)), "{scheme}");
        }
        for scheme in ["plain", "tcp", "redis", "http"] {
            assert_eq!(parse(&format!("{scheme}://localhost:6379/")), host(Some(true)), "{scheme}");
        }
        assert_eq!(parse("tls://[::1]:6379"), Ok(("[::1]".to_owned(), 6379, Some(false))));
    }

    #[test]
    fn a_target_that_is_no_server_is_refused_with_the_reason() {
        let cases = [
            ("localhost", "HOST:PORT"),
            (":1", "HOST:PORT"),
            ("localhost:http", "HOST:PORT"),
            ("localhost:65536", "from 1 to 65535"),
            ("localhost:0", "from 1 to 65535"),
            ("::1:6379", "[::1]:6379"),
            ("ftp://localhost:1", "tls://"),
            ("redis://:secret@localhost:6379", "a login"),
            ("redis://localhost:6379/3", "nothing behind the port"),
            ("https://localhost:1/RPC2", "--path"),
        ];
        for (text, part) in cases {
            let said = LoadTarget::parse(text).expect_err(text);
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
