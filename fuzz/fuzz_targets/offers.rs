//! The same through the whole reactor, in a simulated world.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::offers(bytes));
