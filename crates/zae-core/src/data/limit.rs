//! [`Limit`]: the first batches of each epoch.

use super::{Batches, Draw, Loader, Shard};
use crate::error::Fallible;

/// What [`Loader::limit`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Limit<L> {
    loader: L,
    batches: u64,
}

impl<L> Limit<L> {
    pub(super) fn new(loader: L, batches: u64) -> Self {
        Self { loader, batches }
    }

    /// How many batches are left from there.
    fn left(&self, draw: &Draw) -> Fallible<usize> {
        if self.batches == 0 {
            return Err("a limit of 0 batches leaves no data: give 1 or more".into());
        }
        Ok(usize::try_from(self.batches.saturating_sub(draw.from.micro_batch)).unwrap_or(usize::MAX))
    }
}

impl<B: 'static, L: Loader<B>> Loader<B> for Limit<L> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        // A limit of 0 is refused where batches are asked for.
        Some(self.loader.micro_batches(epoch)?.min(self.batches.max(1)))
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        Ok(Box::new(self.loader.epoch(draw)?.take(self.left(draw)?)))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        Ok(Box::new(self.loader.shard(draw, shard)?.take(self.left(draw)?)))
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        let mut all = self.loader.describe();
        all.push(("limit", self.batches.to_string()));
        all
    }
    fn is_absent(&self) -> bool {
        self.loader.is_absent()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{data::from_fn, progress::Cursor};

    #[test]
    fn the_first_batches_come_also_after_a_resume() {
        let limited = vec![10, 11, 12, 13].limit(3);
        let from = |micro_batch| -> Vec<i32> {
            let draw = Draw::new(0, Cursor { epoch: 1, micro_batch });
            limited.epoch(&draw).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!([from(0), from(2), from(3), from(9)], [vec![10, 11, 12], vec![12], vec![], vec![]]);
        assert_eq!(limited.micro_batches(0), Some(3));
        assert_eq!(Loader::<i32>::limit(vec![10], u64::MAX).micro_batches(0), Some(1));
        assert_eq!(from_fn(|_| [Ok(1)]).limit(2).micro_batches(0), None);
        assert!(Loader::<i32>::is_absent(&Loader::<i32>::limit((), 2)));
        assert!(vec![1].limit(0).epoch(&Draw::new(0, Cursor::default())).is_err());
    }
}
