//! Looking at the requests behind the next one, so that their records are in the processor's caches when they come.
//!
//! In a table of many megabytes nearly every search waits for memory, and the searches of a pipeline wait one after the
//! other. Looked at together they wait together. Nothing is decided here: whatever is seen is decoded again in its turn.

use super::session::RespSession;
use crate::protocol::resp::{Arguments, Decoder, RequestLimits};
use crate::store::Store;

/// No further ahead than this: a longer request spends its time on its own bytes.
const SIGHT: usize = 8192;

/// What looking ahead works with.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    decoder: Decoder,
    arguments: Arguments,
}

impl Lookahead {
    /// Looks at what stands in `rest`, behind the request that is about to be served.
    pub(super) fn look(&mut self, session: &mut RespSession, store: &Store, rest: &[u8], limits: &RequestLimits) {
        if session.foreseen > 0 {
            session.foreseen -= 1;
        } else if !rest.is_empty() && store.outgrows_caches() {
            session.foreseen = u8::try_from(self.prefetch(store, rest, limits)).unwrap_or(0);
        }
    }

    /// Prefetches the first key of each request in `rest`, for as many as are whole. How many.
    fn prefetch(&mut self, store: &Store, rest: &[u8], limits: &RequestLimits) -> usize {
        let mut rest = rest.get(..SIGHT).unwrap_or(rest);
        let mut prefetch = store.prefetch();
        while let Ok(Some((request, used))) = self.decoder.decode(rest, limits, &mut self.arguments) {
            rest = rest.get(used..).unwrap_or_default();
            if !prefetch.add(request.get(1).unwrap_or_default()) {
                break;
            }
        }
        // It may have kept what it saw of a part.
        self.decoder = Decoder::default();
        prefetch.fetch()
    }
}

#[cfg(test)]
mod tests {
    use crate::services::resp::RespOptions;
    use crate::services::resp::tests::Bench;
    use crate::store::{Expiry, Kind};

    fn commands() -> Vec<Vec<u8>> {
        let words = |number: usize| match number % 5 {
            0 => format!("SET k{number} new"),
            1 => format!("GET k{}", number - 1),
            2 => format!("DEL k{}", number - 2),
            3 => format!("GET k{}", number - 3),
            _ => format!("GET k{}", 9 * number),
        };
        (0..100).map(|number| (words(number) + "\r\n").into_bytes()).collect()
    }

    /// What comes back when `commands` arrive in pieces of so many, and how far was looked ahead at most.
    fn replies(pieces: usize, value: &[u8]) -> (Vec<u8>, u8) {
        let mut bench = Bench::new(RespOptions::default());
        for number in 0..2000 {
            let key = format!("k{number}");
            bench.store.set(key.as_bytes(), Kind::Bytes, value, Expiry::Never, bench.now).expect("room");
        }
        let mut client = bench.connect(0, 0);
        let (mut replies, mut furthest) = (Vec::new(), 0);
        for piece in commands().chunks(pieces) {
            let whole = piece.concat();
            let mut input = whole.as_slice();
            while !input.is_empty() {
                let (peer, session) = &mut client;
                let used = bench.resp.serve(session, &mut bench.store, input, &mut peer.exchange(bench.now));
                input = &input[used.expect("well-formed")..];
                furthest = furthest.max(session.foreseen);
            }
            replies.extend(client.0.take_replies());
        }
        (replies, furthest)
    }

    #[test]
    fn a_pipeline_over_a_large_table_is_answered_as_its_commands_are_alone() {
        let large = [b'v'; 1000];
        let (alone, none) = replies(1, &large);
        assert_eq!(none, 0, "there is nothing behind a lone request");
        for pieces in [2, 16, 17, 18, 50, 100] {
            let (together, ahead) = replies(pieces, &large);
            assert_eq!(together, alone, "{pieces}");
            assert_eq!(usize::from(ahead), (pieces - 1).min(16));
        }
    }

    #[test]
    fn a_small_table_is_not_worth_it() {
        assert_eq!(replies(50, b"v").1, 0);
    }
}
