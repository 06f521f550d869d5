//! [`Sample`]: which sample is wanted.

use crate::rng::{StepRng, Stream, generator};

/// Which sample a data set is asked for, and with which randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// Its index in the data set.
    pub index: usize,
    /// The epoch it is wanted for, from 0.
    pub epoch: u64,
    seed: u64,
    /// Its place in the order of the epoch.
    position: u64,
}

impl Sample {
    /// The sample `index` in the first epoch of a run with seed 0, for looking at a data set by hand. In a run, the
    /// loader makes the samples.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self::drawn(0, 0, index as u64, index)
    }

    pub(super) fn drawn(seed: u64, epoch: u64, position: u64, index: usize) -> Self {
        Self { index, epoch, seed, position }
    }

    /// The same draw of a data set that this one is a part of.
    pub(super) fn of_whole(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// A generator for augmentation. It depends on nothing but the run's seed, the epoch and the place in the epoch's
    /// order: whatever the number of workers, and after a resume, the same sample is augmented in the same way. Calls
    /// return the same generator each time.
    #[must_use]
    pub fn rng(&self) -> StepRng {
        generator(self.seed, Stream::Data, self.epoch, self.position)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn the_generator_belongs_to_the_place_not_to_the_index() {
        let draw = |seed, epoch, position, index| Sample::drawn(seed, epoch, position, index).rng().next_u64();
        assert_eq!(draw(1, 2, 3, 4), draw(1, 2, 3, 4));
        assert_eq!(draw(1, 2, 3, 4), Sample::drawn(1, 2, 3, 5).of_whole(9).rng().next_u64());
        assert_ne!(draw(1, 2, 3, 4), draw(0, 2, 3, 4));
        assert_ne!(draw(1, 2, 3, 4), draw(1, 3, 3, 4));
        assert_ne!(draw(1, 2, 3, 4), draw(1, 2, 4, 4));
    }
}
