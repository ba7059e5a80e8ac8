//! Decoding the requests behind the one that is served, so that the processor's caches hold their records when they are
//! served.
//!
//! In a table of many megabytes nearly every search waits for memory, and the searches of a pipeline wait one after the
//! other. Prefetched together they wait together. Nothing is decided here: a request is kept as it was decoded, until it is
//! served or the requests of another client are decoded.

use super::state::LEAST_BULK_BYTES;
use crate::connection::PeerId;
use crate::protocol::resp::{Arguments, Decoder, Request, RequestLimits, Span};
use crate::store::Store;

/// No further ahead than this: a longer request spends its time on its own bytes.
const SIGHT: usize = 8192;
// A request within sight stays within the limit, whatever `CONFIG SET` before it changes.
const _: () = assert!(SIGHT <= LEAST_BULK_BYTES);

/// The requests of one client that are decoded already.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    decoder: Decoder,
    arguments: Arguments,
    /// The client that sent them.
    peer: Option<PeerId>,
    requests: Vec<Foreseen>,
    /// Where the arguments of each stand, counted from its own first byte.
    spans: Vec<Span>,
    /// How many of `requests` have been served.
    served: usize,
}

#[derive(Clone, Copy, Debug)]
struct Foreseen {
    /// Where its arguments begin and end among the spans.
    spans: (usize, usize),
    bytes: usize,
}

impl Lookahead {
    /// The request at the front of `input`, and how many bytes it takes, if it has been decoded. `input` must go on
    /// behind what this client was last served.
    pub(super) fn next<'a>(&'a self, peer: PeerId, input: &'a [u8]) -> Option<(Request<'a>, usize)> {
        let foreseen = self.requests.get(self.served).filter(|_| self.peer == Some(peer));
        let Foreseen { spans: (first, end), bytes } = *foreseen?;
        Some((Request::new(input.get(..bytes)?, self.spans.get(first..end)?), bytes))
    }

    /// The request that [`next`](Self::next) returned has been served.
    pub(super) fn advance(&mut self) {
        self.served += 1;
    }

    /// Looks at what stands in `rest`, behind the request that was served.
    pub(super) fn look(&mut self, peer: PeerId, store: &Store, rest: &[u8], limits: &RequestLimits) {
        if rest.is_empty() || !store.outgrows_caches() {
            return;
        }
        self.peer = Some(peer);
        self.served = 0;
        self.requests.clear();
        self.spans.clear();
        let mut rest = rest.get(..SIGHT).unwrap_or(rest);
        let mut prefetch = store.prefetch();
        // The words of an inline command would have to be kept too.
        while rest.first() == Some(&b'*')
            && let Ok(Some((request, bytes))) = self.decoder.decode(rest, limits, &mut self.arguments)
        {
            let first = self.spans.len();
            self.spans.extend_from_slice(request.spans());
            self.requests.push(Foreseen { spans: (first, self.spans.len()), bytes });
            rest = rest.get(bytes..).unwrap_or_default();
            if !prefetch.add(request.get(1).unwrap_or_default()) {
                break;
            }
        }
        // It may have kept what it saw of a part.
        self.decoder = Decoder::default();
        prefetch.fetch();
    }
}

#[cfg(test)]
mod tests {
    use crate::services::StoreProtocol;
    use crate::services::resp::tests::Bench;
    use crate::services::resp::{RespOptions, RespSession};
    use crate::store::{Expiry, Kind};
    use crate::testing::TestPeer;

    fn commands() -> Vec<Vec<u8>> {
        let words = |number: usize| match number % 5 {
            0 => format!("SET k{number} new"),
            1 => format!("GET k{}", number - 1),
            2 => format!("DEL k{}", number - 2),
            3 => format!("GET k{}", number - 3),
            _ => format!("GET k{}", 9 * number),
        };
        (0..100).map(|number| array(&words(number))).collect()
    }

    /// A command as clients write it.
    fn array(line: &str) -> Vec<u8> {
        let words: Vec<&str> = line.split(' ').collect();
        let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), bulks.collect::<String>()).into_bytes()
    }

    /// A store too large for the caches, and its keys.
    fn bench(value: &[u8]) -> Bench {
        let mut bench = Bench::new(RespOptions::default());
        for number in 0..2000 {
            let key = format!("k{number}");
            bench.store.set(key.as_bytes(), Kind::Bytes, value, Expiry::Never, bench.now).expect("room");
        }
        bench
    }

    /// Serves the request at the front of `input`, and takes it away.
    fn serve(bench: &mut Bench, (peer, session): &mut (TestPeer, RespSession), input: &mut &[u8]) -> bool {
        let used = bench.protocol.serve(session, &mut bench.store, input, &mut peer.exchange(bench.now)).used();
        *input = &input[used..];
        used > 0
    }

    /// The replies to `commands` that arrive in pieces of so many, and the most requests that were decoded ahead.
    fn replies(commands: &[Vec<u8>], pieces: usize, value: &[u8]) -> (Vec<u8>, usize) {
        let mut bench = bench(value);
        let mut client = bench.connect(0, 0);
        let (mut replies, mut furthest) = (Vec::new(), 0);
        for piece in commands.chunks(pieces) {
            let whole = piece.concat();
            let mut input = whole.as_slice();
            while !input.is_empty() {
                assert!(serve(&mut bench, &mut client, &mut input), "{}", String::from_utf8_lossy(input));
                furthest = furthest.max(bench.protocol.lookahead.requests.len());
            }
            replies.extend(client.0.take_replies());
        }
        (replies, furthest)
    }

    const LARGE: [u8; 1000] = [b'v'; 1000];

    #[test]
    fn a_prefetched_pipeline_has_the_replies_of_single_commands() {
        let commands = commands();
        let (alone, none) = replies(&commands, 1, &LARGE);
        assert_eq!(none, 0, "there is nothing behind a lone request");
        for pieces in [2, 16, 17, 18, 50, 100] {
            let (together, ahead) = replies(&commands, pieces, &LARGE);
            assert_eq!(together, alone, "{pieces}");
            assert_eq!(ahead, (pieces - 1).min(16));
        }
    }

    #[test]
    fn inline_commands_and_empty_requests_stand_between_others() {
        let mut commands = commands();
        for (number, text) in [(3, "GET k3\r\n"), (4, "GET \"k4\"\r\n"), (9, "*0\r\n"), (20, "\r\n"), (21, "*-1\r\n")] {
            commands[number] = text.into();
        }
        assert_eq!(replies(&commands, 100, &LARGE).0, replies(&commands, 1, &LARGE).0);
    }

    #[test]
    fn interleaved_clients_are_each_answered_their_own() {
        let mut bench = bench(&LARGE);
        let (mut one, mut other) = (bench.connect(0, 0), bench.connect(0, 1));
        let of =
            |client: &str| (0..40).flat_map(|n| array(&format!("SET {client}:{n} {client}{n}"))).collect::<Vec<u8>>();
        let (ones, others) = (of("one"), of("other"));
        let (mut left, mut right) = (ones.as_slice(), others.as_slice());
        while !left.is_empty() || !right.is_empty() {
            let turns = 1 + left.len() % 5;
            for _ in 0..turns {
                serve(&mut bench, &mut one, &mut left);
            }
            serve(&mut bench, &mut other, &mut right);
        }
        for client in ["one", "other"] {
            for number in 0..40 {
                let key = format!("{client}:{number}");
                let entry = bench.store.get(key.as_bytes(), bench.now).expect("it was set");
                assert_eq!(entry.data, format!("{client}{number}").into_bytes());
            }
        }
    }

    #[test]
    fn incomplete_requests_are_decoded_when_complete() {
        let mut bench = bench(&LARGE);
        let mut client = bench.connect(0, 0);
        let whole = commands().concat();
        for cut in (0..whole.len()).step_by(7) {
            let mut input = &whole[..cut];
            while !input.is_empty() && serve(&mut bench, &mut client, &mut input) {}
            let mut input = &whole[cut - input.len()..];
            while !input.is_empty() {
                assert!(serve(&mut bench, &mut client, &mut input));
            }
        }
    }

    #[test]
    fn a_small_table_is_not_prefetched() {
        assert_eq!(replies(&commands(), 50, b"v").1, 0);
    }
}
