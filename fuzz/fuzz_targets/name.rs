//! Names of sockets, which peers choose: any bytes are some address.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::name(bytes));
