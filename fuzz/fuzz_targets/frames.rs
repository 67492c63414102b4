//! Every decoder and encoder of `frame`, split at every byte, against the plain way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_check::fuzz::frames(bytes));
