//! A key as the map has it: a short one within its entry, so that looking it up follows one pointer less.
//!
//! With more keys than the processor's caches hold, a look-up is as many waits for memory as it
//! follows pointers.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest key that is within its entry.
pub(super) const SHORT: usize = 22;

/// The bytes of a key.
#[derive(Clone)]
pub(super) enum Key {
    /// Its length, and as many of the bytes.
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= SHORT => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(bytes);
                Key::Short(len, short)
            }
            _ => Key::Long(bytes.into()),
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Key::Short(len, bytes) => &bytes[..usize::from(*len)],
            Key::Long(bytes) => bytes,
        }
    }
}

// It is looked for by bytes, and so has to be equal to them and to have their hash.
impl Borrow<[u8]> for Key {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, SHORT};

    #[test]
    fn a_key_is_its_bytes_whether_it_is_long_or_short() {
        assert_eq!(size_of::<Key>(), 24);
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 1000] {
            let bytes = vec![b'x'; len];
            let key = Key::from(&bytes[..]);
            assert_eq!(*key, *bytes);
            assert_eq!(matches!(key, Key::Short(..)), len <= SHORT);
            assert_eq!(key, key.clone());
        }
        assert_ne!(Key::from(&b"a"[..]), Key::from(&b"a\0"[..]));
    }
}
