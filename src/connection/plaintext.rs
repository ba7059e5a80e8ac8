//! The reply to a client that does not use TLS on a TLS port.

/// Whether the bytes begin like a TLS record (RFC 8446, 5.1).
///
/// A client's second flight may begin with any type, most often `change_cipher_spec` before its certificate. As text
/// these are control characters, and no request begins with one.
pub(super) fn is_tls(input: &[u8]) -> bool {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    const APPLICATION_DATA: u8 = 23;
    input.first().is_some_and(|first| (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(first))
}

/// Whether the bytes are not TLS and may be text. An SSL 2 hello is neither: its sender understands an alert. Its first
/// byte has the highest bit set, which no plain-text request has (RFC 5246, E.2).
pub(super) fn is_text(input: &[u8]) -> bool {
    !is_tls(input) && input.first().is_none_or(u8::is_ascii)
}

/// A sentence in the protocol that the client appears to use.
pub(super) fn hint(input: &[u8]) -> &'static [u8] {
    if is_http(input) {
        return b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 44\r\nConnection: close\r\n\r\n\
            This port speaks TLS: use an https:// URL.\r\n";
    }
    b"-ERR this port speaks TLS: connect with TLS enabled\r\n"
}

/// Whether the bytes begin like an HTTP request of any version. A method alone does not decide: `GET` is a command of
/// RESP too, so a path or the version must follow.
fn is_http(input: &[u8]) -> bool {
    let line = input.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let is_method = words.next().is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_uppercase));
    let has_path = words.next().is_some_and(|word| word.starts_with(b"/"));
    is_method && (has_path || words.any(|word| word.starts_with(b"HTTP/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_other_clients_get_an_error_in_their_protocol() {
        let http = std::str::from_utf8(hint(b"GET / HTTP/1.1\r\n")).expect("text");
        let (head, body) = http.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 400 "));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        for request in
            [&b"PRI * HTTP/2.0\r\n\r\n"[..], b"GET /\r\n", b"PATCH /a HTTP/1.1", b"GET http://h/ HTTP/1.1\r\n"]
        {
            assert!(hint(request).starts_with(b"HTTP/1.1 400 "), "{}", request.escape_ascii());
        }
        for request in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n", b"GET spam\r\n", b"\0\xff", b"Hello / HTTP/1.1\r\n"]
        {
            assert!(hint(request).starts_with(b"-ERR "), "{}", request.escape_ascii());
        }
        assert!(is_tls(&[22, 3, 1]) && is_tls(&[20, 3, 3]) && is_tls(&[23, 3, 3]));
        assert!(is_text(b"*1\r\n") && is_text(b"\0\xff") && !is_text(&[0x80, 46, 1, 0, 2]) && !is_text(&[22, 3, 1]));
        assert!(!is_tls(b"GET") && !is_tls(b"*1\r\n") && !is_tls(b""));
    }
}
