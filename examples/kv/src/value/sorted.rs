//! A sorted set: members ordered by a score each, and among equal scores by their bytes.
//!
//! A map finds a member's score; beside it the order is kept in sorted blocks of bounded length.
//! Finding a place is two binary searches; a rank is the sum of the lengths of the blocks before.
//! That is not the logarithm that a skip list has, and for a million members it is some thousand
//! additions of neighbours in memory.

use std::cmp::Ordering;
use std::sync::Arc;

use indexmap::IndexMap;

/// What a member costs beside its bytes, in the map and in the order.
const MEMBER: usize = 120;
/// The longest block. A longer one is halved.
const BLOCK_MAX: usize = 256;

/// Members ordered by score.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    scores: IndexMap<Arc<[u8]>, f64>,
    /// Each block is sorted and not empty, and all of it is before the next.
    blocks: Vec<Vec<Item>>,
    pub(super) bytes: usize,
}

/// A score, which is never NaN, and its member.
type Item = (f64, Arc<[u8]>);

impl Sorted {
    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Returns the score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Returns a member and its score by its place in no order, for scans and random picks.
    pub fn at(&self, index: usize) -> Option<(&[u8], f64)> {
        self.scores.get_index(index).map(|(member, score)| (&**member, *score))
    }

    /// Returns how many members are before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        Some(self.count_before(|item| compare(item, score, member) == Ordering::Less))
    }

    /// Returns how many members are before the first one that is not `before`. Those that are come first.
    pub fn count_before(&self, before: impl Fn((f64, &[u8])) -> bool) -> usize {
        let is_before = |item: &Item| before((item.0, &item.1));
        let block = self.blocks.partition_point(|block| block.last().is_some_and(is_before));
        let within = self.blocks.get(block).map_or(0, |block| block.partition_point(is_before));
        self.blocks[..block].iter().map(Vec::len).sum::<usize>() + within
    }

    /// Returns members and scores in order, from a rank on.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        let (block, within) = self.place(rank);
        let (first, rest) = match self.blocks.get(block..) {
            Some([first, rest @ ..]) => (&first[within..], rest),
            _ => (&[][..], &[][..]),
        };
        first.iter().chain(rest.iter().flatten()).map(|(score, member)| (&**member, *score))
    }

    /// Returns members and scores backwards, beginning with the one before a rank.
    pub fn iter_down_from(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        let (block, within) = self.place(rank);
        let last = self.blocks.get(block).map_or(&[][..], |block| &block[..within]);
        let rest = &self.blocks[..block.min(self.blocks.len())];
        let down = last.iter().rev().chain(rest.iter().rev().flat_map(|block| block.iter().rev()));
        down.map(|(score, member)| (&**member, *score))
    }

    /// Sets the score of a member, which is not NaN, and returns whether the member is new.
    pub fn set(&mut self, member: &[u8], score: f64) -> bool {
        // Zero has one face: -0 becomes 0.
        let score = score + 0.0;
        if let Some((index, _, old)) = self.scores.get_full(member) {
            let old = *old;
            if old != score {
                let item = self.take_item(old, member);
                self.scores[index] = score;
                self.insert_item((score, item.1));
            }
            return false;
        }
        let shared: Arc<[u8]> = member.into();
        self.scores.insert(Arc::clone(&shared), score);
        self.insert_item((score, shared));
        self.bytes += MEMBER + member.len();
        true
    }

    /// Removes a member, and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.swap_remove(member)?;
        self.take_item(score, member);
        self.bytes -= MEMBER + member.len();
        Some(score)
    }

    /// Removes the members of a range of ranks that the set has.
    pub fn remove_range(&mut self, ranks: std::ops::Range<usize>) {
        for _ in ranks.clone() {
            let (block, within) = self.place(ranks.start);
            let (_, member) = self.take_at(block, within);
            self.scores.swap_remove(&member);
            self.bytes -= MEMBER + member.len();
        }
    }

    /// Returns the block of a rank, and the place in it.
    fn place(&self, mut rank: usize) -> (usize, usize) {
        for (index, block) in self.blocks.iter().enumerate() {
            if rank < block.len() {
                return (index, rank);
            }
            rank -= block.len();
        }
        (self.blocks.len(), 0)
    }

    fn insert_item(&mut self, item: Item) {
        let is_before = |other: &Item| compare((other.0, &other.1), item.0, &item.1).is_lt();
        let index = self.blocks.partition_point(|block| block.last().is_some_and(is_before));
        // Behind all: in the last block.
        let index = index.min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(vec![item]);
            return;
        };
        let within = block.partition_point(is_before);
        block.insert(within, item);
        if block.len() > BLOCK_MAX {
            // Behind all, as ever rising scores come: a full block stays full.
            let half = if within == BLOCK_MAX { BLOCK_MAX } else { BLOCK_MAX / 2 };
            let rest = block.split_off(half);
            self.blocks.insert(index + 1, rest);
        }
    }

    fn take_item(&mut self, score: f64, member: &[u8]) -> Item {
        let is_before = |item: &Item| compare((item.0, &item.1), score, member).is_lt();
        let index = self.blocks.partition_point(|block| block.last().is_some_and(is_before));
        let within = self.blocks[index].partition_point(is_before);
        self.take_at(index, within)
    }

    fn take_at(&mut self, index: usize, within: usize) -> Item {
        let item = self.blocks[index].remove(within);
        // Two short neighbours become one, so that the number of blocks follows that of members.
        if self.blocks[index].is_empty() {
            self.blocks.remove(index);
        } else if let [block, next, ..] = &mut self.blocks[index..]
            && block.len() + next.len() <= BLOCK_MAX / 2
        {
            block.append(next);
            self.blocks.remove(index + 1);
        }
        item
    }
}

impl PartialEq for Sorted {
    fn eq(&self, other: &Self) -> bool {
        // The order follows from the scores, and where its blocks end is nobody's business.
        self.scores == other.scores
    }
}

fn compare(item: (f64, &[u8]), score: f64, member: &[u8]) -> Ordering {
    // No score is NaN, and -0 and 0 are equal.
    item.0.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| item.1.cmp(member))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_MAX, Sorted};
    use crate::random::Random;

    fn check(sorted: &Sorted, model: &[(f64, String)]) {
        let found: Vec<_> = sorted.iter_from(0).collect();
        let expected: Vec<_> = model.iter().map(|(score, it)| (it.as_bytes(), *score)).collect();
        assert_eq!(found, expected);
        assert!(sorted.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK_MAX));
        let pairs = sorted.blocks.windows(2);
        let short = pairs.filter(|pair| pair[0].len() + pair[1].len() <= BLOCK_MAX / 4).count();
        assert!(short <= 1 + sorted.blocks.len() / 2, "few blocks are nearly empty");
    }

    #[test]
    fn thousands_of_members_stay_in_order_and_know_their_ranks() {
        let mut random = Random::new();
        let mut sorted = Sorted::default();
        let mut model: Vec<(f64, String)> = Vec::new();
        for step in 0..20_000_u32 {
            // It grows to some thousands, then shrinks to nothing, and again.
            let is_growing = step / 5000 % 2 == 0;
            let member = format!("m{}", random.below(6000));
            let score = f64::from(u32::try_from(random.below(50)).unwrap());
            model.retain(|(_, other)| *other != member);
            if is_growing || random.below(4) == 0 {
                let place = model.partition_point(|it| (it.0, &it.1) < (score, &member));
                model.insert(place, (score, member.clone()));
                sorted.set(member.as_bytes(), score);
            } else {
                sorted.remove(member.as_bytes());
                let start = random.below(model.len() + 1);
                let end = (start + random.below(5)).min(model.len());
                model.drain(start..end);
                sorted.remove_range(start..end);
            }
            assert_eq!(sorted.len(), model.len());
            if !model.is_empty() {
                let rank = random.below(model.len());
                let (score, member) = &model[rank];
                assert_eq!(sorted.rank(member.as_bytes()), Some(rank));
                assert_eq!(sorted.iter_from(rank).next(), Some((member.as_bytes(), *score)));
                let down = sorted.iter_down_from(rank + 1).next();
                assert_eq!(down, Some((member.as_bytes(), *score)));
            }
            if step % 500 == 0 {
                check(&sorted, &model);
                let down: Vec<_> = sorted.iter_down_from(sorted.len()).map(|it| it.0).collect();
                assert!(
                    down.iter().rev().eq(sorted
                        .iter_from(0)
                        .map(|it| it.0)
                        .collect::<Vec<_>>()
                        .iter())
                );
            }
        }
    }

    #[test]
    fn ever_rising_scores_fill_their_blocks() {
        let mut sorted = Sorted::default();
        for number in 0..10_000_u32 {
            sorted.set(&number.to_be_bytes(), f64::from(number));
        }
        assert!(sorted.blocks.len() <= 10_000 / BLOCK_MAX + 1);
    }
}
