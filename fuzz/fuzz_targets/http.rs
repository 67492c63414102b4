//! The reader of HTTP requests, cut anywhere, against a plain reading of the RFC.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wouldblock_http::fuzz(bytes));
