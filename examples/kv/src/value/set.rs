//! A set: members.

use indexmap::IndexSet;

/// What a member costs beside its bytes.
const MEMBER: usize = 56;

/// Members. Each also has a place, which changes only when another is removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    members: IndexSet<Box<[u8]>>,
    pub(super) bytes: usize,
}

impl Set {
    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns whether there is such a member.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.members.contains(member)
    }

    /// Returns the member at a place.
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        self.members.get_index(index).map(|member| &**member)
    }

    /// Returns all members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.members.iter().map(|member| &**member)
    }

    /// Adds a member, and returns whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        // Looked for first: most of all, what is there already shall cost no allocation.
        if self.members.contains(member) {
            return false;
        }
        self.bytes += MEMBER + member.len();
        self.members.insert(member.into())
    }

    /// Removes a member, and returns whether there was one.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        if !self.members.swap_remove(member) {
            return false;
        }
        self.bytes -= MEMBER + member.len();
        true
    }

    /// Takes the member at a place that the set has.
    pub fn take_at(&mut self, index: usize) -> Box<[u8]> {
        let member = self.members.swap_remove_index(index).expect("it is below the length");
        self.bytes -= MEMBER + member.len();
        member
    }
}

impl<'a> FromIterator<&'a [u8]> for Set {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(members: I) -> Self {
        let mut set = Set::default();
        for member in members {
            set.insert(member);
        }
        set
    }
}
