#![no_main]

use latchkey::internals::disk::properties::{dump, journal};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dump(input);
    journal(input);
});
