#![no_main]

use latchkey::internals::protocol::http::properties::requests;
use latchkey_fuzz::cuts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| requests(input, &cuts(input)));
