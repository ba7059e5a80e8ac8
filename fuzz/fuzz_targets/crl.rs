#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| latchkey::tls::properties::revocation_list(input));
