#![no_main]

use latchkey::internals::tls::properties::hello;
use latchkey_fuzz::cuts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hello(input, &cuts(input)));
