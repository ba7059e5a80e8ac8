//! What holds for any bytes, in whatever pieces they arrive: run over drawn bytes by the tests and over searched ones by
//! the fuzz targets. Each function panics where its promise is broken.
#![allow(clippy::missing_panics_doc, reason = "a panic is how they tell that a promise is broken")]

use super::{Arguments, Decoder, Encoder, Reply, ReplyError, ReplyScanner, RespVersion};
use super::{RequestError, RequestLimits, encode_command};

/// Small bounds, so that short inputs reach them.
pub(super) const SMALL: RequestLimits =
    RequestLimits { request_bytes: 200, bulk_bytes: 100, arguments: 8, line_bytes: 40 };

/// Arguments of requests, and how the stream went wrong if it did.
pub(super) type Decoded = (Vec<Vec<Vec<u8>>>, Option<RequestError>);

/// Decodes `input` arriving in pieces that end at `cuts`, until it ends or an error is found.
pub(super) fn decode_in_pieces(input: &[u8], cuts: &[usize], limits: &RequestLimits) -> Decoded {
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    let (mut requests, mut front) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        loop {
            let arrived = input.get(front..end).unwrap_or_default();
            match decoder.decode(arrived, limits, &mut arguments) {
                Ok(None) => break,
                Ok(Some((request, used))) => {
                    assert!((1..=arrived.len()).contains(&used), "{used} bytes of {} were used", arrived.len());
                    assert!(used <= limits.request_bytes, "a request of {used} bytes");
                    let owned: Vec<Vec<u8>> = request.from(0).map(<[u8]>::to_vec).collect();
                    assert!(
                        owned.iter().map(Vec::len).sum::<usize>() <= used,
                        "arguments are longer than their request"
                    );
                    requests.push(owned);
                    front += used;
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// The server's half: any split gives the same requests; each, written anew, is read as itself; an error fits a line.
pub fn requests(input: &[u8], cuts: &[usize]) {
    let whole = decode_in_pieces(input, &[], &SMALL);
    assert_eq!(decode_in_pieces(input, cuts, &SMALL), whole);
    let every: Vec<usize> = (1..input.len()).collect();
    assert_eq!(decode_in_pieces(input, &every, &SMALL), whole);
    let (requests, error) = whole;
    for request in requests.into_iter().filter(|request| !request.is_empty()) {
        let mut written = Vec::new();
        encode_command(&mut written, &request);
        assert_eq!(decode_in_pieces(&written, &[], &RequestLimits::new(1 << 20)), (vec![request], None));
    }
    if let Some(error) = error {
        let text = error.to_string();
        assert!(!text.contains(['\r', '\n']), "an error would end its reply early: {text:?}");
    }
}

/// Where replies end, and how the stream went wrong if it did.
fn scan(input: &[u8], cuts: &[usize]) -> (Vec<usize>, Option<ReplyError>) {
    let mut scanner = ReplyScanner::default();
    let (mut ends, mut front) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        loop {
            let arrived = input.get(front..end).unwrap_or_default();
            match scanner.advance(arrived) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    assert!((1..=arrived.len()).contains(&length), "{length} bytes of {}", arrived.len());
                    front += length;
                    ends.push(front);
                }
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}

/// The client's half: any split gives the same replies; scanner and builder agree; a reply, written anew, is read as
/// itself.
pub fn replies(input: &[u8], cuts: &[usize]) {
    let whole = scan(input, &[]);
    assert_eq!(scan(input, cuts), whole);
    let mut front = 0;
    for end in whole.0 {
        let bytes = input.get(front..end).unwrap_or_default();
        match Reply::decode(bytes) {
            Ok(Some((reply, length))) => {
                assert_eq!(length, bytes.len(), "scanner and builder disagree");
                read_again(&reply);
            }
            Ok(None) => unreachable!("the scanner found an end that the builder does not"),
            // What a value holds only the builder looks at.
            Err(_) => {}
        }
        front = end;
    }
}

fn read_again(reply: &Reply) {
    let mut written = Vec::new();
    let writable = write(reply, &mut Encoder::new(&mut written, RespVersion::Resp3));
    if writable {
        let again = Reply::decode(&written).map(|decoded| decoded.map(|(reply, length)| (show(&reply), length)));
        assert_eq!(again, Ok(Some((show(reply), written.len()))));
    }
}

/// Not a number equals nothing, not even itself, but it looks the same.
fn show(reply: &Reply) -> String {
    format!("{reply:?}")
}

/// Whether the server can write such a reply as it is.
fn write(reply: &Reply, out: &mut Encoder<'_>) -> bool {
    let is_line = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    match reply {
        Reply::Simple(text) => match std::str::from_utf8(text) {
            Ok(words) if is_line(text) => out.simple(words),
            _ => return false,
        },
        Reply::Error(text) if is_line(text) => out.error(text),
        Reply::Verbatim([b't', b'x', b't'], text) => out.verbatim(text),
        Reply::Error(_) | Reply::BigNumber(_) | Reply::Verbatim(..) => return false,
        Reply::Integer(number) => out.integer(*number),
        Reply::Bulk(bytes) => out.bulk(bytes),
        Reply::Null => out.null(),
        Reply::Double(number) => out.double(*number),
        Reply::Boolean(truth) => out.boolean(*truth),
        Reply::Array(elements) => {
            out.array(elements.len());
            return elements.iter().all(|element| write(element, out));
        }
        Reply::Set(elements) => {
            out.set(elements.len());
            return elements.iter().all(|element| write(element, out));
        }
        Reply::Push(elements) => {
            out.push(elements.len());
            return elements.iter().all(|element| write(element, out));
        }
        Reply::Map(pairs) => {
            out.map(pairs.len());
            return pairs.iter().all(|(key, value)| write(key, out) && write(value, out));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::pieces::{any_cuts, sort};

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
            Just(b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n".to_vec()),
            Just(b"set k \"a\\x00b\" 'c' \"\"\r\n".to_vec()),
            Just(b"*0\r\n\r\n*-1\r\n".to_vec()),
            "[*$]?[0-9]{0,3}(\r\n)?".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..24),
        ]
    }

    fn reply_piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[-+:,#(=!$*%~>|_]".prop_map(String::into_bytes),
            "[-+]?[0-9]{0,3}(\r\n)?".prop_map(String::into_bytes),
            Just(b"*2\r\n+OK\r\n$-1\r\n".to_vec()),
            Just(b"%1\r\n+k\r\n,1.5e3\r\n".to_vec()),
            Just(b"|1\r\n+ttl\r\n:5\r\n=6\r\ntxt:hi\r\n".to_vec()),
            Just(b"~2\r\n#t\r\n_\r\n,nan\r\n>1\r\n!3\r\nE\r\n\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn requests_of_any_bytes(pieces in prop::collection::vec(piece(), 0..8), cuts in any_cuts()) {
            let input = pieces.concat();
            requests(&input, &sort(cuts, input.len()));
        }

        #[test]
        fn replies_of_any_bytes(pieces in prop::collection::vec(reply_piece(), 0..8), cuts in any_cuts()) {
            let input = pieces.concat();
            replies(&input, &sort(cuts, input.len()));
        }
    }
}
