//! A hash: fields with a value each.

use indexmap::IndexMap;

/// What a field costs beside its bytes and its value's.
const FIELD: usize = 100;

/// Fields with a value each. Each also has a place, which changes only when another field is removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hash {
    fields: IndexMap<Box<[u8]>, Vec<u8>>,
    pub(super) bytes: usize,
}

impl Hash {
    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the value of a field.
    pub fn value(&self, field: &[u8]) -> Option<&[u8]> {
        self.fields.get(field).map(|value| &**value)
    }

    /// Returns the field at a place, and its value.
    pub fn at(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.fields.get_index(index).map(|(field, value)| (&**field, &**value))
    }

    /// Returns all fields and their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(field, value)| (&**field, &**value))
    }

    /// Sets a field, and returns whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        if let Some(old) = self.fields.get_mut(field) {
            self.bytes = self.bytes + value.len() - old.len();
            *old = value.to_vec();
            return false;
        }
        self.bytes += FIELD + field.len() + value.len();
        self.fields.insert(field.into(), value.to_vec());
        true
    }

    /// Removes a field, and returns whether there was one.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some(value) = self.fields.swap_remove(field) else { return false };
        self.bytes -= FIELD + field.len() + value.len();
        true
    }
}
