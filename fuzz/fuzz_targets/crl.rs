#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| latchkey::internals::tls::properties::revocation_list(input));
