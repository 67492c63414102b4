//! What a key can hold. Every container knows its bytes at any time, so that counting memory costs nothing.
//!
//! There is one representation per kind, whatever the size. What commands do with them is in `commands/`.

mod hash;
mod list;
mod set;
mod sorted;

pub use hash::Hash;
pub use list::{End, List};
pub use set::Set;
pub use sorted::Sorted;

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Bytes.
    String(Vec<u8>),
    /// Elements in order.
    List(Box<List>),
    /// Fields with a value each.
    Hash(Box<Hash>),
    /// Members.
    Set(Box<Set>),
    /// Members ordered by a score each.
    Sorted(Box<Sorted>),
}

/// A kind of value.
pub trait Kind: Default {
    /// Returns the value, if it is of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// Returns the value, if it is of this kind.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Returns it as a value.
    fn into_value(self) -> Value;
    /// Returns the bytes that it uses beside those of [`Value`].
    fn bytes(&self) -> usize;
    /// Returns whether a key that holds it goes away: an empty container, never a string.
    fn vanishes(&self) -> bool;
}

impl Value {
    /// Returns the bytes that it uses beside its own.
    pub fn bytes(&self) -> usize {
        match self {
            Value::String(text) => Kind::bytes(text),
            Value::List(list) => list.bytes(),
            Value::Hash(hash) => hash.bytes(),
            Value::Set(set) => set.bytes(),
            Value::Sorted(sorted) => sorted.bytes(),
        }
    }

    /// Returns the name of its kind, as `TYPE` tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::Sorted(_) => "zset",
        }
    }
}

impl Kind for Vec<u8> {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::String(text) = value { Some(text) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::String(text) = value { Some(text) } else { None }
    }

    fn into_value(self) -> Value {
        Value::String(self)
    }

    fn bytes(&self) -> usize {
        self.capacity()
    }

    fn vanishes(&self) -> bool {
        false
    }
}

/// What a container costs beside its fields and its elements: room for the first few.
const CONTAINER: usize = 160;

/// Lets a boxed container be a [`Kind`].
macro_rules! kind {
    ($kind:ident) => {
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(it) = value { Some(it) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(it) = value { Some(it) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$kind(Box::new(self))
            }

            fn bytes(&self) -> usize {
                CONTAINER + size_of::<Self>() + self.bytes
            }

            fn vanishes(&self) -> bool {
                self.is_empty()
            }
        }
    };
}

kind!(Hash);
kind!(List);
kind!(Set);
kind!(Sorted);
