//! Addresses: what is printed is read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock::fuzz::address(bytes));
