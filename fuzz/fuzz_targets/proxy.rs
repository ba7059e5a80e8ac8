#![no_main]

use latchkey::internals::protocol::proxy::property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property(input));
