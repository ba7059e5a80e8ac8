#![no_main]

use latchkey::internals::access::properties::rules;

libfuzzer_sys::fuzz_target!(|input: &[u8]| rules(input));
