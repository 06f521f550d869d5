//! [`Subset`]: a part of a data set.

use std::sync::Arc;

use super::{Dataset, Permutation, Sample, Share, Source};
use crate::{
    error::Fallible,
    rng::{Stream, stream_seed},
};

/// A part of a data set, made by `subset`, `ordered_split` and `random_split` of [`Dataset`] and [`Source`], and itself
/// one of these. Parts share the data. The whole sees its own indices, and each sample keeps its randomness.
#[derive(Debug)]
pub struct Subset<D> {
    data: Arc<D>,
    indices: Indices,
}

/// Where the samples of a part are in the whole.
#[derive(Clone, Debug)]
enum Indices {
    List(Vec<usize>),
    Part { order: Option<Permutation>, start: usize, len: usize },
}

impl<D> Clone for Subset<D> {
    fn clone(&self) -> Self {
        Self { data: self.data.clone(), indices: self.indices.clone() }
    }
}

impl<D> Subset<D> {
    pub(super) fn chosen(data: D, len: usize, indices: Vec<usize>) -> Fallible<Self> {
        if let Some(index) = indices.iter().find(|&&index| index >= len) {
            let hint = "indices are below the number of samples";
            return Err(format!("a subset has index {index}, but there are {len} samples: {hint}").into());
        }
        Ok(Self { data: Arc::new(data), indices: Indices::List(indices) })
    }

    /// Parts of the order that the seed gives, or of the order of the data.
    pub(super) fn parts<S: Share, const N: usize>(
        data: D,
        len: usize,
        shares: [S; N],
        seed: Option<u64>,
    ) -> Fallible<[Self; N]> {
        let ends = S::ends(shares, len)?;
        let order = seed.map(|seed| Permutation::new(stream_seed(seed, Stream::Split, 0, 0), len as u64));
        let data = Arc::new(data);
        let mut start = 0;
        Ok(ends.map(|end| {
            let indices = Indices::Part { order: order.clone(), start, len: end - start };
            start = end;
            Self { data: data.clone(), indices }
        }))
    }

    fn count(&self) -> usize {
        match &self.indices {
            Indices::List(indices) => indices.len(),
            Indices::Part { len, .. } => *len,
        }
    }

    /// The sample of the whole that is the sample `at` of the part.
    fn of_whole(&self, at: &Sample) -> Fallible<Sample> {
        let index = match &self.indices {
            Indices::List(indices) => indices.get(at.index).copied(),
            Indices::Part { order, start, len } => (at.index < *len).then(|| {
                let index = start + at.index;
                order.as_ref().map_or(index, |order| order.get(index as u64) as usize)
            }),
        };
        let missing = || format!("there is no sample {} in this part, only {}", at.index, self.count());
        Ok(at.of_whole(index.ok_or_else(missing)?))
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.count()
    }
    fn item(&self, at: &Sample) -> Fallible<D::Item> {
        self.data.item(&self.of_whole(at)?)
    }
}

impl<S: Source> Source for Subset<S> {
    type Batch = S::Batch;

    fn len(&self) -> usize {
        self.count()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<S::Batch> {
        self.data.batch(&samples.iter().map(|at| self.of_whole(at)).collect::<Fallible<Vec<_>>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Gives back what it is asked for.
    #[derive(Debug)]
    struct Mirror(usize);

    impl Dataset for Mirror {
        type Item = Sample;

        fn len(&self) -> usize {
            self.0
        }
        fn item(&self, at: &Sample) -> Fallible<Sample> {
            Ok(*at)
        }
    }

    fn indices(data: &impl Dataset<Item = Sample>) -> Vec<usize> {
        (0..data.len()).map(|i| data.item(&Sample::new(i)).unwrap().index).collect()
    }

    #[test]
    fn a_subset_has_the_chosen_samples() {
        let subset = Mirror(5).subset(vec![4, 0, 4]).unwrap();
        assert_eq!(indices(&subset), [4, 0, 4]);
        assert_eq!(indices(&subset.clone().subset(vec![1]).unwrap()), [0]);
        assert!(subset.item(&Sample::new(3)).is_err());
        let error = Mirror(5).subset(vec![1, 5]).unwrap_err().to_string();
        assert_eq!(error, "a subset has index 5, but there are 5 samples: indices are below the number of samples");
        assert!(Mirror(5).subset(vec![]).unwrap().is_empty());
    }

    #[test]
    fn the_whole_sees_its_own_index_and_the_same_randomness() {
        let drawn = Sample::drawn(7, 3, 2, 1);
        let seen = Mirror(5).subset(vec![0, 4]).unwrap().item(&drawn).unwrap();
        assert_eq!(seen, Sample::drawn(7, 3, 2, 4));
        assert_eq!(seen.rng(), drawn.rng());
    }

    #[test]
    fn parts_of_a_source_are_sources() {
        let source = vec!['a', 'b', 'c', 'd'].collate(|items| Ok(String::from_iter(items)));
        let [head, tail] = source.ordered_split([1, 3]).unwrap();
        assert_eq!(head.batch(&[Sample::new(0)]).unwrap(), "a");
        assert_eq!(tail.batch(&[2, 0].map(Sample::new)).unwrap(), "db");
        assert!(tail.batch(&[Sample::new(3)]).is_err());
        assert_eq!(tail.subset(vec![1]).unwrap().batch(&[Sample::new(0)]).unwrap(), "c");
    }

    #[test]
    fn parts_share_the_data() {
        let [a, b] = Mirror(10).random_split([0.5, 0.5], 1).unwrap();
        assert!(Arc::ptr_eq(&a.data, &b.data));
    }

    proptest! {
        #[test]
        fn parts_that_follow_each_other(len in 10usize..500) {
            let [a, b] = Mirror(len).ordered_split([0.8, 0.2]).unwrap();
            prop_assert!(indices(&a).into_iter().chain(indices(&b)).eq(0..len));
        }

        #[test]
        fn random_parts_cover_everything_once(len in 10usize..500, seed: u64) {
            let parts = Mirror(len).random_split([0.5, 0.3, 0.2], seed).unwrap();
            let again = Mirror(len).random_split([0.5, 0.3, 0.2], seed).unwrap();
            prop_assert_eq!(parts.each_ref().map(indices), again.each_ref().map(indices));
            let mut all = parts.each_ref().map(indices).concat();
            if len > 50 {
                prop_assert!(!all.is_sorted());
            }
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..len));
        }
    }
}
