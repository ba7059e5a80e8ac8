#![no_main]

use latchkey::internals::protocol::http::properties::responses;
use latchkey_fuzz::cuts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| responses(input, &cuts(input)));
