//! [`Tree`]: gradients are added in an order that the number of processes does not change.

use crate::{error::Fallible, process_group::ProcessGroup};

/// Gradients on their way up a binary tree whose leaves are the micro-batches of a window. What is added to what depends on
/// their places alone; a leaf that is not there adds nothing.
#[derive(Default)]
pub(super) struct Tree {
    /// The parts there are, by the place of their first leaf.
    parts: Vec<(u64, Vec<f32>)>,
}

impl Tree {
    pub(super) fn add(&mut self, place: u64, gradients: Vec<f32>) {
        self.parts.push((place, gradients));
    }

    /// Adds up what can be, if all leaves before `done` are there that ever will be.
    pub(super) fn merge(&mut self, done: u64) {
        let mut level = 1;
        while self.parts.len() > 1 && level < u64::BITS {
            let mut i = 0;
            while i + 1 < self.parts.len() {
                let [a, b] = [self.parts[i].0, self.parts[i + 1].0].map(|place| place >> level);
                let is_whole = (a + 1).checked_shl(level).is_none_or(|end| end <= done);
                if a == b && is_whole {
                    let (_, right) = self.parts.remove(i + 1);
                    self.parts[i].1.iter_mut().zip(right).for_each(|(left, right)| *left += right);
                } else {
                    i += 1;
                }
            }
            level += 1;
        }
    }

    /// The same over all ranks, which are the leaves of what is left of the tree.
    pub(super) fn join(&mut self, group: &dyn ProcessGroup, factor: f64) -> Fallible {
        let mut own = self.take().unwrap_or_default();
        scale(&mut own, factor);
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = group.all_gather(&bytes)?;
        for (rank, bytes) in all.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            self.add(rank as u64, values);
        }
        self.merge(u64::MAX);
        Ok(())
    }

    pub(super) fn take(&mut self) -> Option<Vec<f32>> {
        self.parts.pop().map(|(_, gradients)| gradients)
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }
}

pub(super) fn scale(values: &mut [f32], factor: f64) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor as f32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sum of some leaves of a window, of which each process has a part.
    fn sum(leaves: &[Option<f32>], world_size: usize) -> Option<f32> {
        let mut ranks = Tree::default();
        for (rank, part) in leaves.chunks(leaves.len() / world_size).enumerate() {
            let mut tree = Tree::default();
            for (i, leaf) in part.iter().enumerate() {
                let place = (rank * part.len() + i) as u64;
                tree.parts.extend(leaf.map(|leaf| (place, vec![leaf])));
                tree.merge(place + 1);
                assert!(tree.parts.len() <= 6, "more sets of gradients than levels");
            }
            tree.merge(u64::MAX);
            ranks.parts.extend(tree.take().map(|sum| (rank as u64, sum)));
        }
        ranks.merge(u64::MAX);
        ranks.take().map(|sum| sum[0])
    }

    proptest! {
        #[test]
        fn how_many_processes_there_are_does_not_show(
            leaves in prop::collection::vec(prop::option::weighted(0.8, -1e3f32..1e3), 32),
            there in 1usize..=32,
        ) {
            let leaves: Vec<_> = leaves.into_iter().enumerate().map(|(i, leaf)| leaf.filter(|_| i < there)).collect();
            let one = sum(&leaves, 1);
            let exact: f64 = leaves.iter().flatten().map(|leaf| f64::from(*leaf)).sum();
            prop_assert!(one.is_none_or(|one| (f64::from(one) - exact).abs() < 0.1));
            prop_assert_eq!(one.is_some(), leaves.iter().any(Option::is_some));
            for world_size in [2, 4, 8, 16, 32] {
                prop_assert_eq!(sum(&leaves, world_size).map(f32::to_bits), one.map(f32::to_bits));
            }
        }
    }
}
