//! The decoder of RESP of `examples/kv`, cut anywhere, against the plain way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_kv::resp::check::fuzz(bytes));
