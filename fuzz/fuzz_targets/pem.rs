#![no_main]

use latchkey::internals::tls::properties::{certificate, pem};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    pem(input);
    certificate(input);
});
