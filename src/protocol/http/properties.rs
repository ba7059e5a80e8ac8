//! What holds for any bytes, in whatever pieces they arrive: run over drawn bytes by the tests and over searched ones by
//! the fuzz targets. Each function panics where its promise is broken.
#![allow(clippy::missing_panics_doc, reason = "a panic is how they tell that a promise is broken")]

use super::{DecodeProgress, HttpError, HttpLimits, HttpReply, HttpRequest, KeepAlive, Method, RequestDecoder};
use super::{HttpStatus, ResponseDecoder, append_post};

/// Small bounds, so that short inputs reach them.
const SMALL: HttpLimits = HttpLimits { head: 300, message: 2_000, decoded: 3_000 };

/// Room for what is written here.
const AMPLE: HttpLimits = HttpLimits { head: 1 << 10, message: 1 << 20, decoded: 1 << 20 };

/// What matters of a request, owned.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    target: String,
    body: Vec<u8>,
    persistence: KeepAlive,
    accepts_gzip: bool,
}

impl Seen {
    fn of(request: HttpRequest<'_>) -> Self {
        let HttpRequest { method, target, body, persistence, accepts_gzip, .. } = request;
        Self { method, target: target.to_owned(), body: body.into_owned(), persistence, accepts_gzip }
    }
}

/// The requests in `input`, which arrives in pieces that end at `cuts`, and the error that ends them.
fn decode_in_pieces(input: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<HttpError>) {
    let mut decoder = RequestDecoder::default();
    let (mut seen, mut front, mut asked_to_go_on) = (Vec::new(), 0, false);
    for end in cuts.iter().copied().chain([input.len()]) {
        loop {
            let arrived = input.get(front..end).unwrap_or_default();
            match decoder.decode(arrived, &SMALL) {
                Ok(DecodeProgress::Incomplete) => break,
                Ok(DecodeProgress::Continue) => {
                    assert!(!asked_to_go_on, "a client is told to go on twice");
                    asked_to_go_on = true;
                }
                Ok(DecodeProgress::Complete(request)) => {
                    assert!((1..=arrived.len().min(SMALL.message)).contains(&request.used), "{request:?}");
                    assert!(request.body.len() <= SMALL.message.max(SMALL.decoded), "a body beyond its bounds");
                    assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", request.target);
                    front += request.used;
                    asked_to_go_on = false;
                    seen.push(Seen::of(request));
                }
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

/// The server's half: any split gives the same requests; what they hold survives the journey in a request and in a
/// reply of ours.
pub fn requests(input: &[u8], cuts: &[usize]) {
    let whole = decode_in_pieces(input, &[]);
    assert_eq!(decode_in_pieces(input, cuts), whole);
    let every: Vec<usize> = (1..input.len()).collect();
    assert_eq!(decode_in_pieces(input, &every), whole);
    for request in whole.0 {
        post_and_read(&request);
        reply_and_read(&request);
    }
}

fn post_and_read(request: &Seen) {
    let mut bytes = Vec::new();
    append_post(&mut bytes, "localhost", &request.target, &request.body);
    match RequestDecoder::default().decode(&bytes, &AMPLE) {
        Ok(DecodeProgress::Complete(read)) => {
            assert_eq!((read.used, read.method), (bytes.len(), Method::Post));
            assert_eq!(read.body, request.body);
        }
        other => assert!(matches!(other, Err(HttpError::HeadTooLarge)), "{other:?}"),
    }
}

fn reply_and_read(request: &Seen) {
    let reply = HttpReply {
        status: HttpStatus::OK,
        content_type: "text/xml",
        body: &request.body,
        fields: "",
        persistence: request.persistence,
        accepts_gzip: request.accepts_gzip,
        head_only: false,
        date: None,
    };
    let mut bytes = Vec::new();
    reply.append(&mut bytes);
    let read = ResponseDecoder::default().decode(&bytes, false, &AMPLE).ok().flatten().expect("our own reply is read");
    assert_eq!((read.status, read.used), (200, bytes.len()));
    assert_eq!(read.body, request.body);
    assert_eq!(read.keep_alive, request.persistence != KeepAlive::Close);
}

/// Status, body and whether the connection goes on, of each response, and the error that ends them.
type Responses = (Vec<(u16, Vec<u8>, bool)>, Option<HttpError>);

fn respond_in_pieces(input: &[u8], cuts: &[usize]) -> Responses {
    let mut decoder = ResponseDecoder::default();
    let (mut seen, mut front) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        loop {
            let arrived = input.get(front..end).unwrap_or_default();
            match decoder.decode(arrived, false, &SMALL) {
                Ok(None) => break,
                Ok(Some(response)) => {
                    assert!((1..=arrived.len().min(SMALL.message)).contains(&response.used), "{response:?}");
                    front += response.used;
                    seen.push((response.status, response.body.into_owned(), response.keep_alive));
                }
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    // The stream ends.
    match decoder.decode(input.get(front..).unwrap_or_default(), true, &SMALL) {
        Ok(Some(last)) => {
            seen.push((last.status, last.body.into_owned(), last.keep_alive));
            (seen, None)
        }
        Ok(None) => unreachable!("at the end there is a response or an error"),
        Err(error) => (seen, Some(error)),
    }
}

/// The client's half: any split gives the same responses.
pub fn responses(input: &[u8], cuts: &[usize]) {
    let whole = respond_in_pieces(input, &[]);
    assert_eq!(respond_in_pieces(input, cuts), whole);
    let every: Vec<usize> = (1..input.len()).collect();
    assert_eq!(respond_in_pieces(input, &every), whole);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::pieces::{any_cuts, sort};

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::sample::select(vec![
                "POST / HTTP/1.1\r\nHost: a\r\n",
                "GET /x HTTP/1.0\r\n",
                "HTTP/1.1 200 OK\r\n",
                "HTTP/1.1 100 Continue\r\n\r\n",
                "Content-Length: 3\r\n\r\nabc",
                "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
                "Expect: 100-continue\r\n",
                "Connection: close\r\n",
                "Content-Encoding: gzip\r\n",
                "Accept-Encoding: gzip;q=0.5, *;q=0\r\n",
                "\r\n",
                "4\r\nWiki\r\n",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    #[test]
    fn what_breaks_a_message_behind_its_bound_is_not_looked_at() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunks = "a\r\n0123456789\r\n".repeat(200);
        for (input, error) in [
            (format!("{head}{chunks}no size\r\n"), HttpError::BodyTooLarge),
            (format!("{head}1;{}\n", "x".repeat(256)), HttpError::Malformed("a line of chunked framing is too long")),
            (format!("GET /{}\n", "x".repeat(300)), HttpError::TargetTooLong),
            (format!("GET / HTTP/1.1\r\nA: {}\n", "x".repeat(300)), HttpError::HeadTooLarge),
            ("{}\n".to_owned(), HttpError::Malformed("a request begins with its method")),
        ] {
            requests(input.as_bytes(), &[]);
            assert_eq!(decode_in_pieces(input.as_bytes(), &[]).1, Some(error), "{input}");
        }
        // The longest line of chunked framing is taken, in pieces too; a longer one is not.
        for (length, is_taken) in [(256, true), (257, false)] {
            let input = format!("{head}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(length - 2));
            requests(input.as_bytes(), &[]);
            assert_eq!(decode_in_pieces(input.as_bytes(), &[]).0.len(), usize::from(is_taken), "{length}");
        }
    }

    proptest! {
        #[test]
        fn requests_of_any_bytes(pieces in prop::collection::vec(piece(), 0..8), cuts in any_cuts()) {
            let input = pieces.concat();
            requests(&input, &sort(cuts, input.len()));
        }

        #[test]
        fn responses_of_any_bytes(pieces in prop::collection::vec(piece(), 0..8), cuts in any_cuts()) {
            let input = pieces.concat();
            responses(&input, &sort(cuts, input.len()));
        }
    }
}
