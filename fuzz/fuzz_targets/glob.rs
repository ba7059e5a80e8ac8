#![no_main]

use latchkey::internals::store::glob_property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // The first byte is the length of the pattern; the text follows it.
    let Some((&length, rest)) = input.split_first() else { return };
    let (pattern, text) = rest.split_at(usize::from(length).min(rest.len()));
    glob_property(pattern, text);
});
