//! Addresses: what is printed is read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::address(bytes));
