#![no_main]

#[path = "../../tests/library/conversation/property.rs"]
mod property;

use latchkey_fuzz::cuts;
use property::{Line, conversation};

libfuzzer_sys::fuzz_target!(|input: &[u8]| conversation(Line::Raw, input, &cuts(input)));
