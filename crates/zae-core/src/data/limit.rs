//! [`Limit`]: the first batches of each epoch. [`Overfit`]: the same batches in each.

use super::{Batches, Draw, Loader, Portion, Sets, Shard};
use crate::{error::Fallible, progress::Cursor};

/// What [`Loader::limit`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Limit<L> {
    loader: L,
    portion: Portion,
}

impl<L> Limit<L> {
    pub(crate) fn new(loader: L, portion: Portion) -> Self {
        Self { loader, portion }
    }

    /// How many batches are left from there, if it ends before the loader does.
    fn left<B: 'static>(&self, draw: &Draw) -> Fallible<Option<usize>>
    where
        L: Loader<B>,
    {
        let end = self.portion.end(self.loader.micro_batches(draw.from.epoch))?;
        Ok(end.map(|end| usize::try_from(end.saturating_sub(draw.from.micro_batch)).unwrap_or(usize::MAX)))
    }
}

impl<B: 'static, L: Loader<B>> Loader<B> for Limit<L> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        self.portion.of(self.loader.micro_batches(epoch))
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        let left = self.left(draw)?;
        let batches = self.loader.epoch(draw)?;
        Ok(match left {
            Some(left) => Box::new(batches.take(left)),
            None => batches,
        })
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        let left = self.left(draw)?;
        let batches = self.loader.shard(draw, shard)?;
        Ok(match left {
            Some(left) => Box::new(batches.take(left)),
            None => batches,
        })
    }
    fn fits(&self, epoch: u64, window: u64) -> Fallible {
        self.loader.fits(epoch, window)
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        let mut all = self.loader.describe();
        if self.portion != Portion::All {
            all.push(("limit", self.portion.to_string()));
        }
        all
    }
    fn sets(&self) -> Sets<'_, B> {
        let limit = |(name, loader)| (name, Box::new(Limit::new(loader, self.portion)) as _);
        self.loader.sets().into_iter().map(limit).collect()
    }
    fn is_absent(&self) -> bool {
        self.loader.is_absent()
    }
}

/// What [`Loader::overfit`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Overfit<L>(Limit<L>);

impl<L> Overfit<L> {
    pub(super) fn new(loader: L, portion: Portion) -> Self {
        Self(Limit::new(loader, portion))
    }
}

/// Whatever the epoch, the first one is meant.
fn of_first(draw: &Draw) -> Draw {
    Draw { from: Cursor { epoch: 0, ..draw.from }, ..*draw }
}

impl<B: 'static, L: Loader<B>> Loader<B> for Overfit<L> {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        self.0.micro_batches(0)
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        self.0.epoch(&of_first(draw))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<B>>> {
        self.0.shard(&of_first(draw), shard)
    }
    fn fits(&self, _: u64, window: u64) -> Fallible {
        self.0.fits(0, window)
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        let mut all = self.0.loader.describe();
        all.push(("overfit", self.0.portion.to_string()));
        all
    }
    fn sets(&self) -> Sets<'_, B> {
        let same = |(name, loader)| (name, Box::new(Overfit::new(loader, self.0.portion)) as _);
        self.0.loader.sets().into_iter().map(same).collect()
    }
    fn is_absent(&self) -> bool {
        self.0.is_absent()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::data::{DataLoader, Dataset, from_fn};

    fn drawn<L: Loader<B>, B: 'static>(loader: &L, epoch: u64, micro_batch: u64) -> Vec<B> {
        let draw = Draw::new(0, Cursor { epoch, micro_batch });
        loader.epoch(&draw).unwrap().map(Result::unwrap).collect()
    }

    fn refusal<L: Loader<i32>>(loader: L) -> String {
        loader.epoch(&Draw::new(0, Cursor::default())).err().unwrap().to_string()
    }

    #[test]
    fn the_first_batches_come_also_after_a_resume() {
        let limited = vec![10, 11, 12, 13].limit(3);
        let from = |micro_batch| drawn(&limited, 1, micro_batch);
        assert_eq!([from(0), from(2), from(3), from(9)], [vec![10, 11, 12], vec![12], vec![], vec![]]);
        assert_eq!(limited.micro_batches(0), Some(3));
        assert_eq!(Loader::<i32>::limit(vec![10], u64::MAX).micro_batches(0), Some(1));
        assert_eq!(from_fn(|_| [Ok(1)]).limit(2).micro_batches(0), None);
        assert!(Loader::<i32>::is_absent(&Loader::<i32>::limit((), 2)));
        assert!(refusal(vec![1].limit(0)).contains("give 1 or more"));
    }

    #[test]
    fn a_fraction_is_of_the_batches_and_rounded_down() {
        let four = || vec![10, 11, 12, 13];
        for (fraction, expected) in [(0.25, 1), (0.49, 1), (0.5, 2), (0.99, 3), (1.0, 4)] {
            let limited = four().limit(fraction);
            assert_eq!(Loader::<i32>::micro_batches(&limited, 0), Some(expected), "{fraction}");
            assert_eq!(drawn::<_, i32>(&limited, 2, 0), four()[..expected as usize], "{fraction}");
        }
        assert_eq!(four().limit(0.5).describe().last().unwrap(), &("limit", "0.5".to_owned()));
        assert_eq!(four().limit(2).describe().last().unwrap(), &("limit", "2".to_owned()));
        assert!(refusal(four().limit(0.2)).contains("0.2 of 4 batches is less than one: give a larger fraction"));
        for fraction in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(refusal(four().limit(fraction)).contains("give one above 0 and at most 1"), "{fraction}");
        }
        assert!(refusal(from_fn(|_| [Ok(1)]).limit(0.5)).contains("does not say how many batches"));
    }

    #[test]
    fn all_is_the_loader_itself() {
        let all = Limit::new(from_fn(|_| [Ok(1), Ok(2)]), Portion::All);
        assert_eq!((drawn::<_, i32>(&all, 0, 1), Loader::<i32>::describe(&all)), (vec![2], vec![]));
    }

    #[test]
    fn the_same_batches_come_in_every_epoch_though_they_are_shuffled() {
        let loader = DataLoader::new((0..40u32).collect::<Vec<_>>().collate(Ok), 4).shuffle(true);
        let few = (&loader).overfit(3);
        let first = drawn(&loader, 0, 0)[..3].to_vec();
        assert_eq!((drawn(&few, 0, 0), drawn(&few, 7, 0)), (first.clone(), first.clone()));
        assert_eq!(drawn(&few, 7, 1), first[1..], "also after a resume");
        assert_eq!((few.micro_batches(9), (&loader).overfit(0.5).micro_batches(9)), (Some(3), Some(5)));
        assert_ne!(drawn(&(&loader).limit(3), 7, 0), first);
        assert!(few.describe().contains(&("overfit", "3".to_owned())));
        let shards = [0, 1].map(|rank| {
            let draw = Draw::new(0, Cursor { epoch: 5, micro_batch: 0 });
            let batches = few.shard(&draw, Shard::new(rank, 2, 2)).unwrap();
            batches.collect::<Fallible<Vec<_>>>().unwrap()
        });
        let both = shards[0].iter().zip(&shards[1]).map(|(a, b)| a.clone().or(b.clone()).unwrap());
        assert_eq!(both.collect::<Vec<_>>(), first);
    }
}
