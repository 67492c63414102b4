//! The properties that fuzzers try, with bytes from a seed.

use wouldblock_check::fuzz::{address, draw, frames, input, name, offers};

/// Promises 2 and 3. Trap 70: every byte once and in order, whatever a handler does with its input.
#[test]
fn input_gives_each_byte_once_however_it_is_taken() {
    draw(70, 20_000, b"", 300, input);
}

/// Promises 1, 2 and 3: the same through the whole reactor, in simulated worlds.
#[test]
fn the_reactor_offers_each_byte_once_however_it_is_taken() {
    draw(70, 1_000, b"", 300, offers);
}

/// Trap 70: every codec, split at every byte, compared with one-shot and naive decoding.
#[test]
fn any_codec_decodes_any_bytes_the_same_however_they_are_split() {
    draw(70, 3_000, b"", 60, frames);
}

/// Promise 7: an address in a log can be typed.
#[test]
fn an_address_that_is_printed_is_read_as_the_same() {
    draw(70, 20_000, b"", 40, address);
}

/// Promise 6: no name that a peer can choose is a panic, and each is told as it is.
#[test]
fn any_bytes_are_some_name_of_a_socket() {
    draw(70, 20_000, b"", 130, name);
    // As Linux writes the family of a Unix socket, and of the others.
    for family in [1, 2, 10, 16] {
        draw(71, 10_000, &[family, 0], 112, name);
    }
}
