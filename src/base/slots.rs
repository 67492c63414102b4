//! Places that are used again, and names that are not.
//!
//! The `slab` crate gives dense places and takes them back; this adds what a reactor needs on top:
//! a generation for each place, so that a name of a former entry finds nothing, and *late
//! recycling*: a place is reused only after the turn, so that no event of one batch can meet a
//! entry that came in that batch. A place whose generations are used up retires for good.
//! [`ConnMap`] is the same idea for users: state by [`ConnId`].

use std::fmt;

use slab::Slab;

use crate::base::id::{ConnId, Token};

/// Tenants by place and generation.
pub(crate) struct Slots<T> {
    /// `None`: moved out and not reused yet, or retired.
    places: Slab<Option<T>>,
    /// By place, the generation of its present (or else its next) entry. Never shrinks.
    generations: Vec<u32>,
    /// Moved out this turn.
    vacated: Vec<u32>,
    /// Present entries.
    len: usize,
    /// The most entries at a time.
    limit: usize,
    /// The most places, vacated and retired ones included: what a token can name.
    ceiling: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new(limit: usize, ceiling: usize) -> Self {
        Slots {
            places: Slab::new(),
            generations: Vec::new(),
            vacated: Vec::new(),
            len: 0,
            limit,
            ceiling,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing can be put in now.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.limit || self.places.len() >= self.ceiling
    }

    /// Lets a place, and tells which and to which generation.
    pub(crate) fn insert(&mut self, entry: T) -> (u32, u32) {
        let slot = self.places.insert(Some(entry));
        if slot == self.generations.len() {
            self.generations.push(1);
        }
        self.len += 1;
        (u32::try_from(slot).expect("a slot fits in 24 bits"), self.generations[slot])
    }

    /// The present generation of `slot`, if it is the one that `token` was made for. `base`: where
    /// the slots of this kind begin in a token.
    #[inline]
    pub(crate) fn resolve(&self, token: Token, slot: u32, base: u32) -> Option<u32> {
        let generation = *self.generations.get(slot as usize)?;
        (Token::new(base + slot, generation) == token).then_some(generation)
    }

    /// The present generation of `slot`.
    pub(crate) fn present(&self, slot: u32) -> Option<u32> {
        self.generations.get(slot as usize).copied()
    }

    /// The entry that `token` means, if it is still there.
    #[inline]
    pub(crate) fn find_mut(&mut self, token: Token, slot: u32) -> Option<&mut T> {
        if Token::new(slot, *self.generations.get(slot as usize)?) != token {
            return None;
        }
        self.places.get_mut(slot as usize)?.as_mut()
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        if *self.generations.get(slot as usize)? != generation {
            return None;
        }
        self.places.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        if *self.generations.get(slot as usize)? != generation {
            return None;
        }
        self.places.get_mut(slot as usize)?.as_mut()
    }

    /// Moves the entry out. The name is stale from here on, the place free after [`Self::recycle`].
    pub(crate) fn remove(&mut self, slot: u32, generation: u32) -> Option<T> {
        if *self.generations.get(slot as usize)? != generation {
            return None;
        }
        let entry = self.places.get_mut(slot as usize)?.take()?;
        self.len -= 1;
        self.vacated.push(slot);
        Some(entry)
    }

    /// Makes the places vacated in this turn free for reuse, each under its next generation.
    #[inline]
    pub(crate) fn recycle(&mut self) {
        if !self.vacated.is_empty() {
            self.recycle_vacated();
        }
    }

    fn recycle_vacated(&mut self) {
        for slot in self.vacated.drain(..) {
            let generation = &mut self.generations[slot as usize];
            // At the last generation the place stays empty for good: no name is given twice.
            if let Some(next) = generation.checked_add(1) {
                *generation = next;
                self.places.remove(slot as usize);
            }
        }
    }

    /// Names of all present entries, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, entry)| entry.as_ref())
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.places.iter().filter(|(_, entry)| entry.is_some()).map(|(slot, _)| {
            (u32::try_from(slot).expect("a slot fits in 24 bits"), self.generations[slot])
        })
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("len", &self.len)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A dense map by [`ConnId`], for state that others must reach.
///
/// What only one connection needs is its [`Session`](crate::Handler::Session); this is for a chat
/// room's members, a table of names. Made for the connections of one reactor: an entry costs a
/// place in a vector as long as the highest slot in it.
///
/// # Examples
///
/// ```
/// use wouldblock::{ConnId, ConnMap};
///
/// let mut names: ConnMap<String> = ConnMap::new();
/// let id = ConnId::from_u64(1);
/// names.insert(id, "ada".to_string());
/// assert_eq!(names.get(id).map(String::as_str), Some("ada"));
/// assert_eq!(names.remove(id).as_deref(), Some("ada"));
/// ```
#[derive(Clone, Debug)]
pub struct ConnMap<T> {
    entries: Vec<Option<(ConnId, T)>>,
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ConnMap<T> {
    /// An empty map. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        ConnMap { entries: Vec::new(), len: 0 }
    }

    /// Puts a value under an id, and returns what that displaced: the value under the same id, or
    /// one that a former connection in the same slot left behind.
    ///
    /// An id older than the slot's present entry is stale: nothing is put in, and `value` itself
    /// comes back.
    pub fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        let slot = id.slot() as usize;
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || None);
        }
        let entry = &mut self.entries[slot];
        match entry {
            Some((present, _)) if *present > id => Some(value),
            Some(_) => entry.replace((id, value)).map(|(_, displaced)| displaced),
            None => {
                *entry = Some((id, value));
                self.len += 1;
                None
            }
        }
    }

    /// The value under an id.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Option<&T> {
        match self.entries.get(id.slot() as usize)? {
            Some((present, value)) if *present == id => Some(value),
            _ => None,
        }
    }

    /// The value under an id, to change.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.entries.get_mut(id.slot() as usize)? {
            Some((present, value)) if *present == id => Some(value),
            _ => None,
        }
    }

    /// Takes the value under an id out.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let entry = self.entries.get_mut(id.slot() as usize)?;
        let (_, value) = entry.take_if(|(present, _)| *present == id)?;
        self.len -= 1;
        Some(value)
    }

    /// All entries, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.entries.iter().flatten().map(|(id, value)| (*id, value))
    }

    /// All entries, by slot, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        self.entries.iter_mut().flatten().map(|(id, value)| (*id, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 15: a place is not reused within the turn.
    #[test]
    fn a_vacated_place_is_let_again_only_after_the_turn() {
        let mut slots = Slots::new(10, 10);
        let (slot, generation) = slots.insert('a');
        assert_eq!(slots.remove(slot, generation), Some('a'));
        assert_eq!(slots.get(slot, generation), None);
        let (other, _) = slots.insert('b');
        assert_ne!(other, slot);
        slots.recycle();
        let (again, next) = slots.insert('c');
        assert_eq!((again, next), (slot, generation + 1));
    }

    /// Trap 16: a former entry's name finds nothing.
    #[test]
    fn a_stale_name_finds_nobody() {
        let mut slots = Slots::new(10, 10);
        let (slot, generation) = slots.insert('a');
        slots.remove(slot, generation);
        slots.recycle();
        slots.insert('b');
        assert_eq!(slots.get(slot, generation), None);
        assert_eq!(slots.get_mut(slot, generation), None);
        assert_eq!(slots.remove(slot, generation), None);
        assert_eq!(slots.resolve(Token::new(slot, generation), slot, 0), None);
        assert!(slots.resolve(Token::new(slot, generation + 1), slot, 0).is_some());
        assert_eq!(slots.get(99, 1), None);
    }

    /// Trap 17: a worn-out place retires instead of giving a name twice.
    #[test]
    fn a_worn_out_place_retires() {
        let mut slots = Slots::new(10, 10);
        let (slot, _) = slots.insert('a');
        slots.generations[slot as usize] = u32::MAX;
        assert_eq!(slots.remove(slot, u32::MAX), Some('a'));
        slots.recycle();
        let (other, _) = slots.insert('b');
        assert_ne!(other, slot);
        assert_eq!(slots.get(slot, u32::MAX), None);
        assert_eq!(slots.ids().collect::<Vec<_>>(), [(other, 1)]);
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn a_map_keeps_former_and_present_entries_apart() {
        let old = ConnId::new(0, 3, 1);
        let new = ConnId::new(0, 3, 2);
        let mut map = ConnMap::new();
        assert_eq!(map.insert(old, 'o'), None);
        assert_eq!(map.get(new), None);
        assert_eq!(map.insert(new, 'n'), Some('o'));
        assert_eq!(map.insert(old, 'x'), Some('x'));
        assert_eq!((map.get(old), map.get(new)), (None, Some(&'n')));
        assert_eq!(map.remove(old), None);
        *map.get_mut(new).unwrap() = 'm';
        assert_eq!(map.iter().collect::<Vec<_>>(), [(new, &'m')]);
        assert_eq!((map.remove(new), map.len(), map.is_empty()), (Some('m'), 0, true));
    }
}
