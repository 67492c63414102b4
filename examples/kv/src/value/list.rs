//! A list: elements in order, cheap at both ends.

use std::collections::VecDeque;
use std::ops::Range;

/// What an element costs beside its bytes: its place, and the allocator's share.
const ELEMENT: usize = 32;

/// Elements in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List {
    elements: VecDeque<Box<[u8]>>,
    pub(super) bytes: usize,
}

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

impl List {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Returns the element at a place.
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        self.elements.get(index).map(|element| &**element)
    }

    /// Returns the elements from the head on.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.elements.iter().map(|element| &**element)
    }

    /// Returns the elements of a range that the list has.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
        self.elements.range(range).map(|element| &**element)
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, element: &[u8]) {
        self.bytes += ELEMENT + element.len();
        match end {
            End::Left => self.elements.push_front(element.into()),
            End::Right => self.elements.push_back(element.into()),
        }
    }

    /// Takes the element at one end.
    pub fn pop(&mut self, end: End) -> Option<Box<[u8]>> {
        let element = match end {
            End::Left => self.elements.pop_front(),
            End::Right => self.elements.pop_back(),
        }?;
        self.bytes -= ELEMENT + element.len();
        Some(element)
    }

    /// Takes up to `max` elements from one end.
    pub fn pop_some(&mut self, end: End, max: usize) -> Vec<Box<[u8]>> {
        (0..max.min(self.len())).filter_map(|_| self.pop(end)).collect()
    }

    /// Replaces the element at a place that the list has.
    pub fn set(&mut self, index: usize, element: &[u8]) {
        let place = &mut self.elements[index];
        self.bytes = self.bytes + element.len() - place.len();
        *place = element.into();
    }

    /// Inserts an element before the one at a place, or behind all.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.bytes += ELEMENT + element.len();
        self.elements.insert(index, element.into());
    }

    /// Removes up to `max` of the elements that equal `element`, seen from one end, and returns
    /// their number.
    pub fn remove(&mut self, end: End, max: usize, element: &[u8]) -> usize {
        let mut removed = 0;
        let mut is_kept = |other: &[u8]| {
            let is_removed = removed < max && other == element;
            removed += usize::from(is_removed);
            !is_removed
        };
        match end {
            End::Left => self.elements.retain(|other| is_kept(other)),
            End::Right => {
                // From the tail: what is kept goes round once.
                for _ in 0..self.elements.len() {
                    let last = self.elements.pop_back().expect("as many as counted");
                    if is_kept(&last) {
                        self.elements.push_front(last);
                    }
                }
            }
        }
        self.bytes -= removed * (ELEMENT + element.len());
        removed
    }

    /// Keeps only the elements of a range that the list has.
    pub fn trim(&mut self, range: Range<usize>) {
        let gone = |gone: std::collections::vec_deque::Drain<'_, Box<[u8]>>| {
            gone.map(|element| ELEMENT + element.len()).sum::<usize>()
        };
        self.bytes -= gone(self.elements.drain(range.end..));
        self.bytes -= gone(self.elements.drain(..range.start));
    }
}
