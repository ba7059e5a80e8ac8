#![no_main]

use latchkey::internals::protocol::xmlrpc::properties::{call, response};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    call(input);
    response(input);
});
