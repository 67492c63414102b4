//! `Input` and a leftover against a model: each byte once, whatever a handler does with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::input(bytes));
