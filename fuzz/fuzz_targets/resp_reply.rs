#![no_main]

use latchkey::internals::protocol::resp::properties::replies;
use latchkey_fuzz::cuts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replies(input, &cuts(input)));
