//! The PROXY protocol: what a balancer reports about a connection before the connection's own bytes.
//!
//! Version 2 is read and written, version 1 is read. The specification is HAProxy's `proxy-protocol.txt`: section 2.1
//! for version 1, 2.2 for version 2, 2.2.6 for TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of every version 2 header (2.2): no server of another protocol accepts them.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the fixed part: signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// The longest version 1 header, its CR LF included (2.1).
const V1_BYTES: usize = 107;

/// The longest version 2 header that is read. The specification lets a receiver set a limit; addresses and the usual
/// type-length-values have a few hundred bytes, and a certificate fits.
const V2_BYTES: usize = 8 << 10;

const VERSION_2: u8 = 0x20;
const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// `AF_UNIX`.
const LAST_FAMILY: u8 = 3;
/// `DGRAM`.
const LAST_TRANSPORT: u8 = 2;

const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CN: u8 = 0x22;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE_NOW: u8 = 0x02;
const CLIENT_CERTIFICATE_IN_SESSION: u8 = 0x04;

/// The two ends of a TCP connection, as its first server saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// The TLS properties of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// The version as OpenSSL writes it: `TLSv1.3`.
    pub version: &'a str,
    /// The client's certificate.
    pub certificate: ClientCertificate,
    /// The common name in it.
    pub common_name: Option<&'a str>,
}

/// How the client has authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without a certificate.
    None,
    /// By a verified certificate in this connection's own handshake.
    Shown,
    /// By a verified certificate in an earlier connection of the session that this one resumed.
    Resumed,
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None` if it has no TCP endpoints: the connection is the balancer's own (a health check), or its transport is
    /// unknown.
    pub endpoints: Option<Endpoints>,
    /// Bytes of the header.
    pub size: usize,
}

/// The bytes are not a valid PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

/// Reads a header of version 1 or 2 from the front of `input`; `None` when more bytes are needed.
pub fn decode(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let v1 = b"PROXY ";
    if begins_alike(input, v1) {
        return if input.len() < v1.len() { Ok(None) } else { decode_v1(input) };
    }
    if !begins_alike(input, &SIGNATURE) {
        return Err(Malformed("it begins with neither signature"));
    }
    decode_v2(input)
}

fn begins_alike(input: &[u8], expected: &[u8]) -> bool {
    input.iter().zip(expected).all(|(a, b)| a == b)
}

fn decode_v1(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let window = input.get(..V1_BYTES).unwrap_or(input);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < V1_BYTES { Ok(None) } else { Err(Malformed("the line does not end")) };
    };
    let line = window.get(..end).unwrap_or_default();
    let size = end + 2;
    // Everything after that word is ignored (2.1), and need not be text.
    if let Some(behind) = line.strip_prefix(b"PROXY UNKNOWN")
        && behind.first().is_none_or(|byte| *byte == b' ')
    {
        return Ok(Some(Header { endpoints: None, size }));
    }
    let line = str::from_utf8(line).map_err(|_| Malformed("not text"))?;
    let mut words = line.split(' ').skip(1);
    let is_ipv6 = match words.next() {
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Err(Malformed("unknown transport")),
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv6() == is_ipv6).then_some(address)
    };
    let (source, destination) = (address(), address());
    let mut port = || v1_port(words.next()?);
    let (source_port, destination_port) = (port(), port());
    match (source, destination, source_port, destination_port, words.next()) {
        (Some(source), Some(destination), Some(source_port), Some(destination_port), None) => {
            let endpoints = Endpoints {
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, destination_port),
            };
            Ok(Some(Header { endpoints: Some(endpoints), size }))
        }
        _ => Err(Malformed("invalid addresses or ports")),
    }
}

/// A port in decimal digits, without sign or leading zeros (2.1).
fn v1_port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    text.parse().ok().filter(|_| is_plain)
}

fn decode_v2(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((fixed, rest)) = input.split_first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let [.., version_and_command, transport, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command & 0xf0 != VERSION_2 {
        return Err(Malformed("unknown version"));
    }
    if FIXED_BYTES + length > V2_BYTES {
        return Err(Malformed("too long"));
    }
    let command = version_and_command & 0x0f;
    if command > COMMAND_PROXY {
        return Err(Malformed("an unknown command"));
    }
    // Four families and three transports are defined; others must be rejected. A LOCAL header's are ignored (2.2).
    if command == COMMAND_PROXY && (transport >> 4 > LAST_FAMILY || transport & 0x0f > LAST_TRANSPORT) {
        return Err(Malformed("an unknown family or transport"));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let endpoints = match transport {
        _ if command == COMMAND_LOCAL => None,
        TCP_OVER_IPV4 => Some(ipv4(body).ok_or(Malformed("too short for its addresses"))?),
        TCP_OVER_IPV6 => Some(ipv6(body).ok_or(Malformed("too short for its addresses"))?),
        _ => None,
    };
    Ok(Some(Header { endpoints, size: FIXED_BYTES + length }))
}

fn ipv4(body: &[u8]) -> Option<Endpoints> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (destination, ports) = rest.split_first_chunk::<4>()?;
    endpoints(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), ports)
}

fn ipv6(body: &[u8]) -> Option<Endpoints> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (destination, ports) = rest.split_first_chunk::<16>()?;
    endpoints(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), ports)
}

fn endpoints(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Endpoints> {
    let (source_port, rest) = ports.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Endpoints {
        source: SocketAddr::new(source, u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*destination_port)),
    })
}

/// Writes a version 2 header.
pub fn encode(endpoints: &Endpoints, tls: Option<&Tls<'_>>, output: &mut Vec<u8>) {
    let Endpoints { source, destination } = endpoints;
    let mut body = Vec::with_capacity(128);
    let transport = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            body.extend_from_slice(&source.octets());
            body.extend_from_slice(&destination.octets());
            TCP_OVER_IPV4
        }
        (source, destination) => {
            body.extend_from_slice(&to_ipv6(source).octets());
            body.extend_from_slice(&to_ipv6(destination).octets());
            TCP_OVER_IPV6
        }
    };
    body.extend_from_slice(&source.port().to_be_bytes());
    body.extend_from_slice(&destination.port().to_be_bytes());
    if let Some(tls) = tls {
        encode_tls(tls, &mut body);
    }
    output.extend_from_slice(&SIGNATURE);
    output.extend_from_slice(&[VERSION_2 | COMMAND_PROXY, transport]);
    append_with_length(&body, output);
}

fn to_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn encode_tls(tls: &Tls<'_>, output: &mut Vec<u8>) {
    let client = match tls.certificate {
        ClientCertificate::None => CLIENT_SSL,
        ClientCertificate::Shown => CLIENT_SSL | CLIENT_CERTIFICATE_NOW | CLIENT_CERTIFICATE_IN_SESSION,
        ClientCertificate::Resumed => CLIENT_SSL | CLIENT_CERTIFICATE_IN_SESSION,
    };
    // Zero means "presented and verified".
    let verify = u32::from(tls.certificate == ClientCertificate::None);
    let mut value = vec![client];
    value.extend_from_slice(&verify.to_be_bytes());
    append_value(SUBTYPE_SSL_VERSION, tls.version.as_bytes(), &mut value);
    if let Some(name) = tls.common_name {
        append_value(SUBTYPE_SSL_CN, name.as_bytes(), &mut value);
    }
    append_value(TYPE_SSL, &value, output);
}

fn append_value(kind: u8, value: &[u8], output: &mut Vec<u8>) {
    output.push(kind);
    append_with_length(value, output);
}

/// Appends the length in 16 bits and then the bytes. Bytes beyond that length are cut; nothing written here is that
/// long.
fn append_with_length(bytes: &[u8], output: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

/// A property of any bytes, for the tests and the fuzz target: no prefix of a header is read as another header, and a
/// header that is read and written again has the same endpoints. Panics if that does not hold.
#[allow(clippy::missing_panics_doc, reason = "a panic reports that the property does not hold")]
#[cfg(any(test, fuzzing))]
pub fn property(input: &[u8]) {
    let whole = decode(input);
    for end in 0..input.len() {
        let part = decode(input.get(..end).unwrap_or_default());
        assert!(part == Ok(None) || part == whole, "{part:?} became {whole:?}");
    }
    let Ok(Some(header)) = whole else { return };
    assert!((1..=input.len().min(V2_BYTES)).contains(&header.size), "{header:?}");
    let Some(said) = header.endpoints else { return };
    let mut bytes = Vec::new();
    encode(&said, None, &mut bytes);
    let again = decode(&bytes).ok().flatten().and_then(|header| header.endpoints).expect("our own header is read");
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    assert_eq!(canonical(again.source), canonical(said.source));
    assert_eq!(canonical(again.destination), canonical(said.destination));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ends(source: &str, destination: &str) -> Endpoints {
        Endpoints { source: address(source), destination: address(destination) }
    }

    #[test]
    fn version_2_is_written_byte_by_byte_as_specified() {
        let mut header = Vec::new();
        let tls = Tls { version: "TLSv1.3", certificate: ClientCertificate::Shown, common_name: Some("alice") };
        encode(&ends("192.0.2.1:4660", "198.51.100.2:443"), Some(&tls), &mut header);
        let expected = [
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x26".as_slice(),
            &[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x01, 0xbb],
            b"\x20\0\x17\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05alice",
        ]
        .concat();
        assert_eq!(header, expected);

        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        assert_eq!(decode(local), Ok(Some(Header { endpoints: None, size: 16 })));
    }

    #[test]
    fn without_a_certificate_nothing_is_verified() {
        let mut header = Vec::new();
        let tls = Tls { version: "TLSv1.2", certificate: ClientCertificate::None, common_name: None };
        encode(&ends("[::1]:1", "[::1]:2"), Some(&tls), &mut header);
        assert!(header.ends_with(b"\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.2"));
    }

    #[test]
    fn version_1_is_read() {
        let tcp4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\nrest";
        let header = Header { endpoints: Some(ends("192.0.2.1:4660", "198.51.100.2:443")), size: 44 };
        assert_eq!(decode(tcp4), Ok(Some(header)));
        let tcp6 = decode(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n").expect("it reads").expect("complete");
        assert_eq!(tcp6.endpoints, Some(ends("[2001:db8::1]:1", "[::1]:2")));
        for behind in [&b" \xff\xfe\0"[..], b" ::1 ::1 0 0", b"  ", b""] {
            let line = [b"PROXY UNKNOWN", behind, b"\r\n"].concat();
            let header = Header { endpoints: None, size: line.len() };
            assert_eq!(decode(&line), Ok(Some(header)), "{}", line.escape_ascii());
        }
        let unknown = decode(b"PROXY UNKNOWN whatever\r\n");
        assert_eq!(unknown, Ok(Some(Header { endpoints: None, size: 24 })));
    }

    #[test]
    fn invalid_headers_are_refused() {
        let long_line = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let mut wrong_version = [SIGNATURE.as_slice(), &[0x31, 0x11, 0, 12], &[0; 12]].concat();
        let bad: [&[u8]; 9] = [
            b"GET / HTTP/1.1\r\n",
            &[22, 3, 1],
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            &long_line,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ];
        for port in ["01", "+1", "-0", "00", "", "1x"] {
            let line = format!("PROXY TCP4 1.2.3.4 1.2.3.4 {port} 2\r\n");
            assert!(decode(line.as_bytes()).is_err(), "{line}");
        }
        for transport in [0x41, 0xf1, 0x13, 0x1f, 0x03, 0x40] {
            let header = |command| [SIGNATURE.as_slice(), &[command, transport, 0, 12], &[0; 12]].concat();
            assert!(decode(&header(0x21)).is_err(), "{transport:x}");
            assert_eq!(decode(&header(0x20)), Ok(Some(Header { endpoints: None, size: 28 })), "{transport:x}");
        }
        let zero = decode(b"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n").expect("it reads").expect("complete");
        assert_eq!(zero.endpoints, Some(ends("1.2.3.4:0", "1.2.3.4:0")));
        assert!(decode(b"PROXY UNKNOWNS\r\n").is_err());
        for input in bad {
            assert!(decode(input).is_err(), "{}", input.escape_ascii());
        }
        assert!(decode(&wrong_version).is_err());
        if let Some(byte) = wrong_version.get_mut(12) {
            *byte = 0x22;
        }
        assert!(decode(&wrong_version).is_err(), "an unknown command");
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
            (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
        ]
    }

    proptest! {
        #[test]
        fn a_written_header_is_read_and_no_prefix_of_it_is(
            source in any_address(),
            destination in any_address(),
            common_name in proptest::option::of("[a-z]{0,40}"),
        ) {
            let tls = Tls {
                version: "TLSv1.3",
                certificate: ClientCertificate::Resumed,
                common_name: common_name.as_deref(),
            };
            let mut bytes = Vec::new();
            encode(&Endpoints { source, destination }, Some(&tls), &mut bytes);
            let size = bytes.len();
            for end in 0..size {
                prop_assert_eq!(decode(&bytes[..end]), Ok(None));
            }
            bytes.extend_from_slice(b"what follows");
            let header = decode(&bytes).expect("it reads").expect("complete");
            prop_assert_eq!(header.size, size);
            let read = header.endpoints.expect("endpoints");
            prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
            prop_assert_eq!(read.destination.ip().to_canonical(), destination.ip().to_canonical());
            prop_assert_eq!((read.source.port(), read.destination.port()), (source.port(), destination.port()));
        }

        #[test]
        fn any_bytes_in_any_pieces(
            start in prop_oneof![Just(&b"PROXY "[..]), Just(&SIGNATURE[..]), Just(&b""[..])],
            tail in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            property(&[start, &tail].concat());
        }
    }
}
