//! The header fields that framing and content coding depend on; all others are ignored.

use super::HttpError;

/// More fields than any client of an XML-RPC endpoint sends; Python refuses at 100.
const FIELDS_MAX: usize = 64;

/// What the header fields of one message contain.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent header field")]
pub(super) struct Fields {
    pub(super) length: Option<usize>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) gzip: bool,
    pub(super) accepts_gzip: bool,
    pub(super) expects_continue: bool,
    pub(super) hosts: u8,
    /// A Host field has no valid host.
    pub(super) is_host_malformed: bool,
    /// A browser sends the message for a web page (RFC 6454, section 7).
    pub(super) has_origin: bool,
}

impl Fields {
    /// Reads the lines of a response, where a value may continue in the next line: each line end with the white space
    /// after it stands for a space (RFC 9112 section 5.2). In a request this is rejected, because parsers disagree
    /// about it.
    pub(super) fn parse_response(lines: &[u8]) -> Result<Self, HttpError> {
        let is_fold = |window: &[u8]| matches!(window, [b'\r', b'\n', b' ' | b'\t']);
        if !lines.windows(3).any(is_fold) {
            return Self::parse(lines);
        }
        let mut unfolded = lines.to_vec();
        for at in 0..lines.len() {
            if lines.get(at..at + 3).is_some_and(is_fold)
                && let Some(end) = unfolded.get_mut(at..at + 2)
            {
                end.fill(b' ');
            }
        }
        Self::parse(&unfolded)
    }

    /// Reads the lines between the start line and the empty line, including the latter.
    pub(super) fn parse(lines: &[u8]) -> Result<Self, HttpError> {
        let mut parsed = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let parsed = match httparse::parse_headers(lines, &mut parsed) {
            Ok(httparse::Status::Complete((_, parsed))) => parsed,
            Ok(httparse::Status::Partial) => return Err(HttpError::Malformed("a header field is cut off")),
            Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLarge),
            // Folded lines and spaces before the colon end up here too (RFC 9112 sections 5.1 and 5.2).
            Err(_) => return Err(HttpError::Malformed("a header field is not `name: value`")),
        };
        let mut fields = Self::default();
        for field in parsed {
            fields.take(field.name, field.value)?;
        }
        if fields.chunked && fields.length.is_some() {
            return Err(HttpError::Malformed("both Content-Length and Transfer-Encoding"));
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), HttpError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("content-length") {
            // A repeated Content-Length may be refused even when both agree (RFC 9110 section 8.6).
            if self.length.replace(content_length(value)?).is_some() {
                return Err(HttpError::Malformed("more than one Content-Length"));
            }
        } else if is("transfer-encoding") {
            if std::mem::replace(&mut self.chunked, true) {
                return Err(HttpError::Malformed("more than one Transfer-Encoding"));
            }
            transfer_encoding(value)?;
        } else if is("connection") {
            self.close |= elements(value).any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep_alive |= elements(value).any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        } else if is("content-encoding") {
            for coding in elements(value) {
                self.take_content_coding(coding)?;
            }
        } else if is("accept-encoding") {
            self.accepts_gzip |= elements(value).any(names_gzip);
        } else if is("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(HttpError::Expectation);
            }
            self.expects_continue = true;
        } else if is("host") {
            self.hosts = self.hosts.saturating_add(1);
            self.is_host_malformed |= !value.is_empty() && !is_authority(value);
        } else if is("origin") {
            self.has_origin = true;
        }
        Ok(())
    }

    fn take_content_coding(&mut self, coding: &[u8]) -> Result<(), HttpError> {
        let is = |known: &[u8]| coding.eq_ignore_ascii_case(known);
        if is(b"identity") {
            return Ok(());
        }
        // Only an attacker has a use for a body that is compressed twice.
        if std::mem::replace(&mut self.gzip, true) || !(is(b"gzip") || is(b"x-gzip")) {
            return Err(HttpError::ContentCoding);
        }
        Ok(())
    }
}

/// Whether `text` is `host [ ":" port ]` (RFC 3986 section 3.2, RFC 9110 section 7.2) with a host.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let is_port = |port: &[u8]| port.iter().all(u8::is_ascii_digit);
    if let Some(literal) = text.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        let (address, behind) = literal.split_at_checked(end).unwrap_or_default();
        let is_address = address.iter().all(|byte| byte.is_ascii_alphanumeric() || b":.-_~!$&'()*+,;=%".contains(byte));
        return is_address
            && !address.is_empty()
            && matches!(behind, [b']'] | [b']', b':', ..])
            && is_port(behind.get(2..).unwrap_or_default());
    }
    let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    let (host, port) = text.split_at_checked(colon).unwrap_or_default();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    !host.is_empty() && host.iter().all(is_name) && is_port(port.get(1..).unwrap_or_default())
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), trimmed, the empty ones left out.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Digits only: no sign, no list, no hexadecimal. A value too large for `usize` saturates and is then rejected by the
/// limit on the body.
fn content_length(value: &[u8]) -> Result<usize, HttpError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::Malformed("Content-Length is not a number"));
    }
    let digits = value.iter().map(|digit| usize::from(digit - b'0'));
    Ok(digits.fold(0_usize, |number, digit| number.saturating_mul(10).saturating_add(digit)))
}

/// RFC 9112 section 6.1: if chunked is not the last coding the length cannot be known; codings before it are not
/// implemented.
fn transfer_encoding(value: &[u8]) -> Result<(), HttpError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    match elements(value).last() {
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => Err(HttpError::TransferCoding),
        _ => Err(HttpError::Malformed("the last transfer coding is not chunked")),
    }
}

/// Whether one element of Accept-Encoding accepts gzip, with any weight but zero (RFC 9110 section 12.4.2).
///
/// A `*` does not count: a client that wants gzip can name it, and identity is always allowed.
fn names_gzip(element: &[u8]) -> bool {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let coding = parts.next().unwrap_or_default();
    let refused = parts.any(|parameter| {
        let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
        weight.is_some_and(|weight| !weight.iter().any(|byte| matches!(byte, b'1'..=b'9')))
    });
    (coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip")) && !refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fields, HttpError> {
        Fields::parse(format!("{text}\r\n\r\n").as_bytes())
    }

    #[test]
    fn accept_encoding_respects_weights() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip; Q=1", true),
            ("br, deflate", false),
            ("", false),
            ("*", false),
        ] {
            let fields = parse(&format!("Accept-Encoding: {value}")).expect("valid");
            assert_eq!(fields.accepts_gzip, expected, "{value}");
        }
    }

    #[test]
    fn content_length_is_digits_and_occurs_once() {
        assert_eq!(parse("Content-Length: 42").expect("valid").length, Some(42));
        assert_eq!(parse("content-length: 99999999999999999999999").expect("valid").length, Some(usize::MAX));
        for value in ["-1", "+1", "0x10", "1 2", "", "5, 5", "1e3"] {
            assert!(parse(&format!("Content-Length: {value}")).is_err(), "{value:?}");
        }
        assert!(parse("Content-Length: 5\r\nContent-Length: 5").is_err());
        assert!(parse("Content-Length: 5\r\nTransfer-Encoding: chunked").is_err());
    }

    #[test]
    fn only_chunked_is_a_transfer_coding() {
        assert!(parse("Transfer-Encoding: Chunked").expect("valid").chunked);
        assert_eq!(parse("Transfer-Encoding: gzip, chunked").unwrap_err(), HttpError::TransferCoding);
        for value in ["chunked, gzip", "identity", "xchunked", "", "chunked\r\nTransfer-Encoding: chunked"] {
            let error = parse(&format!("Transfer-Encoding: {value}")).unwrap_err();
            assert!(matches!(error, HttpError::Malformed(_)), "{value:?}: {error}");
        }
    }

    #[test]
    fn fields_that_invite_smuggling_are_malformed() {
        for text in ["Host : x", " folded: x", "Host: a\r\n b", "Host", ": x", "Na me: x", "Host: a\0b"] {
            assert!(matches!(parse(text), Err(HttpError::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn a_host_field_has_a_valid_host() {
        for value in
            ["a", "a:1", "a:", "127.0.0.1:80", "[::1]", "[::1]:443", "a_b.example", "x%20y", "", "[fe80::1%25eth0]"]
        {
            assert!(!parse(&format!("Host: {value}")).expect("fields").is_host_malformed, "{value}");
        }
        for value in [
            "a b", "a:b", "a:1:2", "u@h", "a/b", "a?b", "a#b", "[::1", "[::1]x", "[]", ":1", "a,\"b\"", "\u{e9}",
            "a\\b",
        ] {
            assert!(parse(&format!("Host: {value}")).expect("fields").is_host_malformed, "{value}");
        }
    }

    #[test]
    fn a_response_may_fold_lines() {
        let read = |text: &str| Fields::parse_response(format!("{text}\r\n\r\n").as_bytes());
        assert!(read("Content-Type: text/xml;\r\n charset=utf-8\r\nContent-Encoding:\r\n\tgzip").expect("folded").gzip);
        assert_eq!(read("Content-Length: \r\n  42\r\nA: b").expect("folded").length, Some(42));
        assert_eq!(read("A: b\r\n Content-Length: 42").expect("folded").length, None);
        // The first field has no field before it that it could continue (RFC 9112 section 2.2).
        assert!(read(" A: b").is_err());
        assert!(read("Content-Length: 4\r\n 2").is_err());
    }

    #[test]
    fn too_many_fields_are_too_large() {
        let many = vec!["A: b"; FIELDS_MAX + 1].join("\r\n");
        assert_eq!(parse(&many).unwrap_err(), HttpError::HeadTooLarge);
    }
}
