//! [`Subset`]: a part of a data set.

use std::{fmt, ops::Range, sync::Arc};

use super::{Dataset, Permutation, Sample, Share, Source, stratify};
use crate::{
    error::Fallible,
    rng::{Stream, stream_seed},
};

/// A part of a data set, made by `subset` and the splits and folds of [`Dataset`] and [`Source`], and itself one of these.
/// Parts share the data. The whole sees its own indices, and each sample keeps its randomness.
#[derive(Debug)]
pub struct Subset<D> {
    data: Arc<D>,
    order: Order,
    /// Which places of the order are in it.
    part: Part,
}

/// The samples of the whole, one after the other.
#[derive(Clone, Debug)]
enum Order {
    Given,
    Random(Permutation),
    List(Arc<[usize]>),
}

/// A range of places, or all but one.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    len: usize,
    /// How many places are left out, and before which one of the part.
    gap: (usize, usize),
}

impl Part {
    fn range(range: Range<usize>) -> Self {
        Self { start: range.start, len: range.len(), gap: (0, 0) }
    }

    fn without(range: Range<usize>, total: usize) -> Self {
        Self { start: 0, len: total - range.len(), gap: (range.len(), range.start) }
    }

    fn place(&self, i: usize) -> Option<usize> {
        let (gap, before) = self.gap;
        (i < self.len).then(|| self.start + i + if i >= before { gap } else { 0 })
    }
}

impl<D> Clone for Subset<D> {
    fn clone(&self) -> Self {
        Self { data: self.data.clone(), order: self.order.clone(), part: self.part }
    }
}

impl<D> Subset<D> {
    pub(super) fn chosen(data: D, len: usize, indices: Vec<usize>) -> Fallible<Self> {
        if let Some(index) = indices.iter().find(|&&index| index >= len) {
            let hint = "indices are below the number of samples";
            return Err(format!("a subset has index {index}, but there are {len} samples: {hint}").into());
        }
        let part = Part::range(0..indices.len());
        Ok(Self { data: Arc::new(data), order: Order::List(indices.into()), part })
    }

    /// Parts of the order that the seed gives, or of the order of the data.
    pub(super) fn parts<S: Share, const N: usize>(
        data: D,
        len: usize,
        shares: [S; N],
        seed: Option<u64>,
    ) -> Fallible<[Self; N]> {
        let ends = S::ends(shares, len)?;
        let order = seed.map_or(Order::Given, |seed| Order::Random(random(seed, len)));
        Ok(Self::between(data, &order, ends))
    }

    /// Parts that have each class as often as the whole.
    pub(super) fn stratified<S: Share, C: Ord + fmt::Debug, const N: usize>(
        data: D,
        len: usize,
        shares: [S; N],
        labels: &[C],
        seed: u64,
    ) -> Fallible<[Self; N]> {
        let ends = S::ends(shares, len)?;
        let classes = stratify::classes(labels, len, N, seed)?;
        let parts = stratify::deal(&classes, &ends, len);
        Ok(Self::between(data, &one_after_the_other(&parts, seed), ends))
    }

    /// The parts of an order that end there.
    fn between<const N: usize>(data: D, order: &Order, ends: [usize; N]) -> [Self; N] {
        let data = Arc::new(data);
        let mut start = 0;
        ends.map(|end| {
            let part = Part::range(start..end);
            start = end;
            Self { data: data.clone(), order: order.clone(), part }
        })
    }

    pub(super) fn folds(data: D, len: usize, k: usize, seed: u64) -> Fallible<Vec<(Self, Self)>> {
        check_folds(k, len)?;
        // As scikit-learn: the first folds have one more, if they cannot all have as many.
        let sizes = (0..k).map(|fold| len / k + usize::from(fold < len % k));
        Ok(Self::each_against_the_rest(data, &Order::Random(random(seed, len)), sizes, len))
    }

    pub(super) fn stratified_folds<C: Ord + fmt::Debug>(
        data: D,
        len: usize,
        k: usize,
        labels: &[C],
        seed: u64,
    ) -> Fallible<Vec<(Self, Self)>> {
        check_folds(k, len)?;
        let classes = stratify::classes(labels, len, k, seed)?;
        let mut folds = vec![Vec::new(); k];
        // As scikit-learn: by turns, going through the classes.
        (0..).zip(classes.into_iter().flatten()).for_each(|(i, index)| folds[i % k].push(index));
        let sizes: Vec<usize> = folds.iter().map(Vec::len).collect();
        Ok(Self::each_against_the_rest(data, &one_after_the_other(&folds, seed), sizes, len))
    }

    fn each_against_the_rest(
        data: D,
        order: &Order,
        sizes: impl IntoIterator<Item = usize>,
        len: usize,
    ) -> Vec<(Self, Self)> {
        let data = Arc::new(data);
        let of = |part| Self { data: data.clone(), order: order.clone(), part };
        let mut start = 0;
        let fold = |size| {
            let valid = start..start + size;
            start += size;
            (of(Part::without(valid.clone(), len)), of(Part::range(valid)))
        };
        sizes.into_iter().map(fold).collect()
    }

    /// Where each of its samples is in the whole.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.part.len).filter_map(|i| self.index(i))
    }

    fn index(&self, i: usize) -> Option<usize> {
        let place = self.part.place(i)?;
        match &self.order {
            Order::Given => Some(place),
            Order::Random(order) => Some(order.get(place as u64) as usize),
            Order::List(list) => list.get(place).copied(),
        }
    }

    /// The sample of the whole that is the sample `at` of the part.
    fn of_whole(&self, at: &Sample) -> Fallible<Sample> {
        let missing = || format!("there is no sample {} in this part, only {}", at.index, self.part.len);
        Ok(at.of_whole(self.index(at.index).ok_or_else(missing)?))
    }
}

fn random(seed: u64, len: usize) -> Permutation {
    Permutation::new(stream_seed(seed, Stream::Split, 0, 0), len as u64)
}

/// Lists, each in random order.
fn one_after_the_other(parts: &[Vec<usize>], seed: u64) -> Order {
    let shuffled = |(i, part): (u64, &Vec<usize>)| stratify::shuffle(part, stream_seed(seed, Stream::Split, 2, i));
    Order::List((0..).zip(parts).flat_map(shuffled).collect())
}

fn check_folds(k: usize, len: usize) -> Fallible {
    match k {
        0 | 1 => Err(format!("{k} folds leave no data to train on: give 2 or more").into()),
        _ if k > len => {
            Err(format!("{k} folds of {len} samples would be empty: give {len} at most, or more data").into())
        }
        _ => Ok(()),
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.part.len
    }
    fn item(&self, at: &Sample) -> Fallible<D::Item> {
        self.data.item(&self.of_whole(at)?)
    }
}

impl<S: Source> Source for Subset<S> {
    type Batch = S::Batch;

    fn len(&self) -> usize {
        self.part.len
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
        assert!(subset.indices().eq([4, 0, 4]));
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
