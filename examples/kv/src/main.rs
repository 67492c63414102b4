//! A key-value server that speaks RESP, on several reactors.

fn main() {}
