//! The simulator's schedules, with the fuzzer in the place of the dice.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::schedule(bytes));
