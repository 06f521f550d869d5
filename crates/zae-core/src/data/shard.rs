//! [`Shard`]: which batches are this process's.

/// One process's part of the batches of an epoch: of each window of as many batches as an optimizer step takes, a run of
/// neighbours. So all processes together have each batch once, and which one has it changes nothing of what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Shard {
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// How many batches all of them take together.
    pub window: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, world_size: 1, window: 1 };

    /// The part of a process.
    #[must_use]
    pub fn new(rank: usize, world_size: usize, window: u64) -> Self {
        Self { rank, world_size, window }
    }

    /// Whether this batch of an epoch is in it.
    #[must_use]
    pub fn has(&self, micro_batch: u64) -> bool {
        if self.world_size <= 1 {
            return true;
        }
        let window = u128::from(self.window.max(1));
        let place = u128::from(micro_batch) % window;
        place * self.world_size as u128 / window == self.rank as u128
    }

    /// How many batches every process has of a window in which there are so many.
    pub(crate) fn of_each(&self, there: u64) -> u64 {
        let (world, window) = (self.world_size.max(1) as u128, u128::from(self.window.max(1)));
        // The first place of a process: the batches before are those of others.
        let first = |rank: u128| (rank * window).div_ceil(world);
        let own = |rank| u128::from(there).clamp(first(rank), first(rank + 1)) - first(rank);
        (0..world).map(own).min().unwrap_or_default() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_are_cut_into_runs_of_neighbours() {
        let of = |rank| (0..10).filter(|i| Shard::new(rank, 2, 4).has(*i)).collect::<Vec<u64>>();
        assert_eq!([of(0), of(1)], [vec![0, 1, 4, 5, 8, 9], vec![2, 3, 6, 7]]);
        let of = |rank| (0..6).filter(|i| Shard::new(rank, 3, 3).has(*i)).collect::<Vec<u64>>();
        assert_eq!([of(0), of(1), of(2)], [vec![0, 3], vec![1, 4], vec![2, 5]]);
        assert!(Shard::WHOLE.has(u64::MAX));
    }

    proptest! {
        #[test]
        fn each_batch_is_somebodys(world_size in 1usize..70, window in 1u64..200, i in any::<u64>()) {
            let owners: Vec<usize> = (0..world_size).filter(|rank| Shard::new(*rank, world_size, window).has(i)).collect();
            prop_assert_eq!(owners.len(), 1);
            // Nobody has two more than another, if there are enough for all.
            let count = |rank| (0..window).filter(|i| Shard::new(rank, world_size, window).has(*i)).count();
            let counts: Vec<usize> = (0..world_size).map(count).collect();
            let most = counts.iter().max().copied().unwrap_or_default();
            let fewest = counts.iter().min().copied().unwrap_or_default();
            prop_assert!(most - fewest <= 1);
        }

        #[test]
        fn what_each_has_is_what_the_one_with_fewest_has(world_size in 1usize..20, window in 1u64..60, there in 0u64..60) {
            let there = there.min(window);
            let of = |rank| (0..there).filter(|i| Shard::new(rank, world_size, window).has(*i)).count() as u64;
            let fewest = (0..world_size).map(of).min().unwrap_or_default();
            prop_assert_eq!(Shard::new(0, world_size, window).of_each(there), fewest);
        }
    }
}
