//! [`Map`]: samples or batches turned into others.

use super::{Dataset, Sample, Source};
use crate::error::Fallible;

/// What [`Dataset::map`] and [`Source::map`] make.
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    data: D,
    change: F,
}

impl<D, F> Map<D, F> {
    pub(super) fn new(data: D, change: F) -> Self {
        Self { data, change }
    }
}

impl<D: Dataset, T: Send, F: Fn(D::Item) -> Fallible<T> + Send + Sync> Dataset for Map<D, F> {
    type Item = T;

    fn len(&self) -> usize {
        self.data.len()
    }
    fn item(&self, at: &Sample) -> Fallible<T> {
        (self.change)(self.data.item(at)?)
    }
}

impl<S: Source, B: Send, F: Fn(S::Batch) -> Fallible<B> + Send + Sync> Source for Map<S, F> {
    type Batch = B;

    fn len(&self) -> usize {
        self.data.len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<B> {
        (self.change)(self.data.batch(samples)?)
    }
}
