//! [`Transform`]: samples or batches changed at random.

use super::{Dataset, Sample, Source};
use crate::{error::Fallible, rng::StepRng};

/// What [`Dataset::transform`] and [`Source::transform`] make.
#[derive(Clone, Debug)]
pub struct Transform<D, F> {
    data: D,
    change: F,
}

impl<D, F> Transform<D, F> {
    pub(super) fn new(data: D, change: F) -> Self {
        Self { data, change }
    }
}

impl<D: Dataset, T: Send, F: Fn(D::Item, &mut StepRng) -> Fallible<T> + Send + Sync> Dataset for Transform<D, F> {
    type Item = T;

    fn len(&self) -> usize {
        self.data.len()
    }
    fn item(&self, at: &Sample) -> Fallible<T> {
        (self.change)(self.data.item(&at.nested())?, &mut at.rng())
    }
}

impl<S: Source, B: Send, F: Fn(S::Batch, &mut StepRng) -> Fallible<B> + Send + Sync> Source for Transform<S, F> {
    type Batch = B;

    fn len(&self) -> usize {
        self.data.len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<B> {
        let first = samples.first().ok_or("a batch of 0 samples: ask for 1 or more")?;
        let nested: Vec<Sample> = samples.iter().map(Sample::nested).collect();
        (self.change)(self.data.batch(&nested)?, &mut first.rng())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use rand_core::Rng as _;

    use super::*;

    /// Adds a random number to what it is given.
    fn noise(mut all: Vec<u64>, rng: &mut StepRng) -> Fallible<Vec<u64>> {
        all.push(rng.next_u64());
        Ok(all)
    }

    #[test]
    fn one_upon_the_other_draw_different_numbers() {
        let data = vec![vec![]; 9].transform(noise).transform(noise).map(Ok).transform(noise);
        assert_eq!(data.len(), 9);
        let numbers = |epoch, position| data.item(&Sample::drawn(1, epoch, position, 5)).unwrap();
        assert_eq!(numbers(2, 3), numbers(2, 3));
        let all: BTreeSet<u64> = [(2, 3), (2, 4), (3, 3)].into_iter().flat_map(|(e, p)| numbers(e, p)).collect();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn batches_draw_by_their_first_sample_and_not_what_it_draws() {
        let source = vec![vec![]; 9].transform(noise).collate(|items| Ok(items.concat())).transform(noise);
        let batch = |positions: [u64; 2]| source.batch(&positions.map(|p| Sample::drawn(1, 0, p, 0))).unwrap();
        assert_eq!((source.len(), batch([4, 5])), (9, batch([4, 5])));
        let all: BTreeSet<u64> = [batch([4, 5]), batch([6, 7])].concat().into_iter().collect();
        assert_eq!(all.len(), 6);
        assert!(source.batch(&[]).is_err());
    }

    #[test]
    fn errors_are_passed_on() {
        let data = vec![1].transform(|_, _| Err::<(), _>("too dark".into()));
        assert_eq!(data.item(&Sample::new(0)).unwrap_err().to_string(), "too dark");
    }
}
