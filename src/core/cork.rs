//! The sends of one callback, held together until it returns: one write for many small answers.
//!
//! There is one cork for all connections, since one callback runs at a time. What is sent straight
//! from the input is not even copied: as long as it is one piece, its place in the window is
//! enough. Nothing is written here. Read next: `send.rs`, which does.

use std::ops::Range;

/// From this size on, bytes are written at once rather than copied together.
pub(crate) const DIRECT: usize = 4 << 10;
/// The most that is held together.
const HOLD_MAX: usize = 64 << 10;

/// What is held. At most one of the three is not empty.
#[derive(Debug, Default)]
pub(crate) struct Cork {
    /// Copies.
    bytes: Vec<u8>,
    /// A place in the window of the callback's input.
    range: Range<usize>,
    /// The same, of a connection with a layer.
    apart: Range<usize>,
}

impl Cork {
    /// Holds `data`, which may lie inside `window`. Returns whether it did: if not, what is held
    /// and `data` are to go out now. Less than `rest_at` is held in all: what the kernel takes makes
    /// no connection rest.
    #[expect(clippy::inline_always, reason = "a part of each send, in whatever crate")]
    #[inline(always)]
    pub(crate) fn hold(&mut self, data: &[u8], window: &[u8], rest_at: usize) -> bool {
        // The common case: the first of its callback, a piece of the input.
        if self.bytes.is_empty()
            && self.range.is_empty()
            && data.len() < rest_at
            && let Some(start) = place_in(window, data)
        {
            self.range = start..start + data.len();
            return true;
        }
        self.hold_otherwise(data, window, rest_at)
    }

    /// Holds what is not the first piece of the input: what follows it, and copies.
    #[inline(never)]
    fn hold_otherwise(&mut self, data: &[u8], window: &[u8], rest_at: usize) -> bool {
        if self.len() + data.len() >= rest_at {
            return false;
        }
        if self.bytes.is_empty() {
            if let Some(start) = place_in(window, data)
                && self.range.end == start
            {
                self.range.end += data.len();
                return true;
            }
            if self.range.len() + data.len() >= DIRECT {
                return false;
            }
            self.copy_range(window);
        } else if data.len() >= DIRECT || self.bytes.len() + data.len() > HOLD_MAX {
            return false;
        }
        self.bytes.extend_from_slice(data);
        true
    }

    /// Holds `data` for a layer, which is to be given all that one callback sends at once: nothing is
    /// too large to be copied to what is held, if it is not too much in all.
    pub(crate) fn hold_apart(&mut self, data: &[u8], window: &[u8], rest_at: usize) -> bool {
        if self.len() + data.len() >= rest_at.min(HOLD_MAX) {
            return false;
        }
        if self.bytes.is_empty()
            && let Some(start) = place_in(window, data)
            && (self.apart.is_empty() || self.apart.end == start)
        {
            let begin = if self.apart.is_empty() { start } else { self.apart.start };
            self.apart = begin..start + data.len();
            return true;
        }
        self.copy_range(window);
        self.bytes.extend_from_slice(data);
        true
    }

    /// Makes what is held independent of the window.
    pub(crate) fn copy_range(&mut self, window: &[u8]) {
        self.bytes.extend_from_slice(&window[self.apart.clone()]);
        self.apart = 0..0;
        self.bytes.extend_from_slice(&window[self.range.clone()]);
        self.range = 0..0;
    }

    #[inline]
    pub(crate) fn held<'a>(&'a self, window: &'a [u8]) -> &'a [u8] {
        if !self.apart.is_empty() {
            return &window[self.apart.clone()];
        }
        if self.range.is_empty() { &self.bytes } else { &window[self.range.clone()] }
    }

    /// Takes what is held, if that is a place in the window and not a copy.
    #[inline]
    pub(crate) fn take_range(&mut self) -> Range<usize> {
        std::mem::take(&mut self.range)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.range.len() + self.apart.len()
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        // A large window was copied: that was for one callback.
        if self.bytes.capacity() > 2 * HOLD_MAX {
            self.bytes = Vec::new();
        }
        self.range = 0..0;
        self.apart = 0..0;
    }
}

/// Where `data` lies inside `window`, if it does: by address, since the bytes are the same memory.
#[inline]
fn place_in(window: &[u8], data: &[u8]) -> Option<usize> {
    let start = data.as_ptr().addr().checked_sub(window.as_ptr().addr())?;
    (start + data.len() <= window.len()).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 1 << 20;

    #[test]
    fn pieces_of_the_window_in_a_row_are_held_uncopied() {
        let window = [7; 10_000];
        let mut cork = Cork::default();
        assert!(cork.hold(&window[10..5000], &window, MANY));
        assert!(cork.hold(&window[5000..9000], &window, MANY));
        assert_eq!(cork.held(&window).as_ptr(), window[10..].as_ptr());
        assert_eq!(cork.len(), 8990);
        assert!(!cork.hold(b"else", &window, MANY), "a large piece is written, not copied");
    }

    #[test]
    fn small_pieces_are_copied_together_in_order() {
        let window = *b"abcdef";
        let mut cork = Cork::default();
        assert!(cork.hold(&window[3..], &window, MANY));
        assert!(cork.hold(&window[..1], &window, MANY));
        assert!(cork.hold(b"xyz", &window, MANY));
        assert!(cork.hold(&window[..1], &window, MANY));
        assert_eq!(cork.held(&window), b"defaxyza");
        cork.clear();
        assert_eq!(cork.len(), 0);
    }

    #[test]
    fn a_large_piece_or_too_much_is_not_held() {
        let mut cork = Cork::default();
        assert!(!cork.hold(&[0; DIRECT], &[], MANY));
        for _ in 0..HOLD_MAX / 1024 {
            assert!(cork.hold(&[0; 1024], &[], MANY));
        }
        assert!(!cork.hold(&[0; 1], &[], MANY));
        assert_eq!(cork.len(), HOLD_MAX);
    }

    /// Promise 5: what would make its connection rest is written first; then it is known whether.
    #[test]
    fn less_is_held_than_makes_a_connection_rest() {
        let window = [7; 100];
        let mut cork = Cork::default();
        assert!(!cork.hold(&window[..20], &window, 20));
        assert!(cork.hold(&window[..19], &window, 20));
        assert!(!cork.hold(&window[19..20], &window, 20));
        assert!(!cork.hold(b"x", &window, 20));
        assert!(cork.hold(b"x", &window, 21));
        assert!(!cork.hold(b"x", &window, 21));
        assert_eq!(cork.len(), 20);
    }

    #[test]
    fn only_the_same_memory_lies_in_the_window() {
        let memory = *b"abcdef";
        assert_eq!(place_in(&memory[1..4], &memory[2..4]), Some(1));
        assert_eq!(place_in(&memory[1..4], &memory[2..5]), None);
        assert_eq!(place_in(&memory[1..4], &memory[..2]), None);
        assert_eq!(place_in(&[], &memory[..2]), None);
    }
}
