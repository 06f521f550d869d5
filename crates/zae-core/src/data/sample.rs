//! [`Sample`]: which sample is wanted.

use crate::rng::{StepRng, Stream, generator, stream_seed};

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
    /// How many data sets that draw are around the one that is asked.
    depth: u64,
}

impl Sample {
    /// The sample `index` in the first epoch of a run with seed 0, for looking at a data set by hand. In a run, the
    /// loader makes the samples.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self::drawn(0, 0, index as u64, index)
    }

    pub(super) fn drawn(seed: u64, epoch: u64, position: u64, index: usize) -> Self {
        Self { index, epoch, seed, position, depth: 0 }
    }

    /// The same draw of a data set that this one is a part of.
    pub(super) fn of_whole(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// The same draw, with randomness of its own. A data set that draws, and gets its samples from another one that may
    /// draw too, asks that one for this: with the same randomness, what both do to a sample would be tied to each other.
    /// [`Dataset::transform`](super::Dataset::transform) does so.
    #[must_use]
    pub fn nested(&self) -> Self {
        Self { depth: self.depth + 1, ..*self }
    }

    /// A generator for augmentation. It depends on nothing but the run's seed, the epoch and the place in the epoch's
    /// order: whatever the number of workers, and after a resume, the same sample is augmented in the same way. Calls
    /// return the same generator each time.
    #[must_use]
    pub fn rng(&self) -> StepRng {
        let seed = match self.depth {
            0 => self.seed,
            depth => stream_seed(self.seed, Stream::Nested, 0, depth),
        };
        generator(seed, Stream::Data, self.epoch, self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn each_depth_has_randomness_of_its_own() {
        let outer = Sample::drawn(1, 2, 3, 4);
        let all = [outer, outer.nested(), outer.nested().nested(), Sample::drawn(2, 2, 3, 4).nested()];
        let numbers: BTreeSet<u64> = all.iter().map(|sample| sample.rng().next_u64()).collect();
        assert_eq!(numbers.len(), 4);
        assert_eq!(outer.nested().of_whole(9).rng(), outer.nested().rng());
    }
}
