//! [`Collate`]: batches of a [`Dataset`]'s samples.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Dataset, Sample, Source};
use crate::error::{AtSample, Fallible, Panicked};

/// What [`Dataset::collate`] makes. When getting a sample fails or panics, the error names its index.
#[derive(Clone, Debug)]
pub struct Collate<D, F> {
    data: D,
    batch: F,
}

impl<D, F> Collate<D, F> {
    pub(super) fn new(data: D, batch: F) -> Self {
        Self { data, batch }
    }
}

impl<D: Dataset, B: Send, F: Fn(Vec<D::Item>) -> Fallible<B> + Send + Sync> Source for Collate<D, F> {
    type Batch = B;

    fn len(&self) -> usize {
        self.data.len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<B> {
        let get = |at: &Sample| {
            let item = catch_unwind(AssertUnwindSafe(|| self.data.item(at)));
            let item = item.unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()));
            item.map_err(|source| AtSample { index: at.index, source })
        };
        (self.batch)(samples.iter().map(get).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    struct Picky;

    impl Dataset for Picky {
        type Item = usize;

        fn len(&self) -> usize {
            20
        }
        fn item(&self, at: &Sample) -> Fallible<usize> {
            match at.index {
                5 => Err("unreadable".into()),
                6 => panic!("a bug at {}", at.index),
                index => Ok(index),
            }
        }
    }

    #[test]
    fn makes_one_value_of_many_samples() {
        let source = Picky.collate(|items| Ok(items.into_iter().sum::<usize>())).map(|sum| Ok(sum.to_string()));
        assert_eq!((source.len(), source.is_empty()), (20, false));
        assert_eq!(source.batch(&[10, 11, 12].map(Sample::new)).unwrap(), "33");
    }

    #[test]
    fn errors_and_panics_name_the_sample() {
        let source = Picky.collate(Ok);
        let error = |indices: &[usize]| {
            let samples: Vec<Sample> = indices.iter().copied().map(Sample::new).collect();
            source.batch(&samples).unwrap_err()
        };
        assert_eq!(error(&[1, 5, 6]).to_string(), "sample 5: unreadable");
        assert_eq!(error(&[1, 6]).to_string(), "sample 6: panicked: a bug at 6");
        assert_eq!(error(&[5]).downcast::<AtSample>().unwrap().index, 5);
    }

    #[test]
    fn what_the_closures_fail_with_is_passed_on() {
        let source = Picky.collate(|_| Err::<(), _>("uneven rows".into()));
        assert_eq!(source.batch(&[Sample::new(1)]).unwrap_err().to_string(), "uneven rows");
        let source = Picky.collate(Ok).map(|_| Err::<(), _>("too dark".into()));
        assert_eq!(source.batch(&[Sample::new(1)]).unwrap_err().to_string(), "too dark");
    }
}
