//! [`Passes`]: each batch several times in a row.

use std::marker::PhantomData;

use super::{Batches, Draw, Loader, Shard};
use crate::{error::Fallible, progress::Cursor, trainer::Accumulation};

/// What [`Loader::passes`] makes.
pub struct Passes<L, B> {
    loader: L,
    passes: u64,
    windows: Accumulation,
    batch: PhantomData<fn() -> B>,
}

impl<L: Loader<B>, B: 'static> Passes<L, B> {
    pub(super) fn new(loader: L, passes: u64) -> Self {
        Self { loader, passes, windows: 1.into(), batch: PhantomData }
    }

    /// For steps of so many micro-batches (over all processes, if there are several): as many batches come in pass 0, then the
    /// same in pass 1, and so on, so that a step is all of one pass. Batches at the end of an epoch that are too few for a step
    /// are left out. Where steps take more from some epoch on, say the same here: `.over([(0, 1), (5, 4)])`; a run that would
    /// mix passes in any of its epochs does not begin.
    #[must_use]
    pub fn over(mut self, micro_batches: impl Into<Accumulation>) -> Self {
        self.windows = micro_batches.into();
        self
    }

    fn check(&self, epoch: u64, window: u64) -> Fallible {
        let own = self.windows.at(epoch);
        if self.passes == 0 || self.windows.takes_none() {
            return Err("`.passes(0)` and `.over(0)` leave no data: give 1 or more".into());
        }
        // One pass is mixed with nothing.
        if self.passes > 1 && window != own {
            let passes = self.passes;
            let mend = match epoch {
                0 => format!("`.passes({passes}).over({window})`"),
                _ => format!("`.passes({passes}).over([.., ({epoch}, {window})])`, with the number of every epoch"),
            };
            return Err(format!(
                "a step takes {window} micro-batches, and passes over {own} would be mixed in it: write {mend}"
            )
            .into());
        }
        Ok(())
    }

    /// The pass of a micro-batch, and which batch of the data it is.
    fn at(&self, micro_batch: u64, window: u64) -> (usize, u64) {
        let (step, place) = (micro_batch / window, micro_batch % window);
        ((step % self.passes) as usize, step / self.passes * window + place)
    }
}

impl<B: Clone + 'static, L: Loader<B>> Passes<L, B> {
    /// The batches from there on; those that are not in the shard are not made.
    fn draw<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<(usize, B)>>> {
        let (start, window) = (draw.from.micro_batch, self.windows.at(draw.from.epoch));
        // From the step's first batch in pass 0: what this pass needs again.
        let first = start / (window * self.passes) * window;
        let inner = Draw { from: Cursor { micro_batch: first, ..draw.from }, ..*draw };
        let mut batches = self.loader.shard(&inner, shard)?;
        let (mut held, mut held_from) = (Vec::new(), first);
        let mut next = start;
        Ok(Box::new(std::iter::from_fn(move || {
            let (pass, batch) = self.at(next, window);
            if held.is_empty() || batch >= held_from + window {
                held_from = batch / window * window;
                held.clear();
                for _ in 0..window {
                    match batches.next()? {
                        Ok(batch) => held.push(batch),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
            next += 1;
            let own = &mut held[(batch - held_from) as usize];
            let own = if pass as u64 + 1 == self.passes { own.take() } else { own.clone() };
            Some(Ok(own.map(|batch| (pass, batch))))
        })))
    }
}

impl<B: Clone + 'static, L: Loader<B>> Loader<(usize, B)> for Passes<L, B> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        // What cannot be is said where batches are asked for.
        let window = self.windows.at(epoch).max(1);
        Some((self.loader.micro_batches(epoch)? / window * window).saturating_mul(self.passes.max(1)))
    }
    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, (usize, B)>> {
        let epoch = draw.from.epoch;
        self.check(epoch, self.windows.at(epoch))?;
        Ok(Box::new(self.draw(draw, Shard::WHOLE)?.filter_map(Result::transpose)))
    }
    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<(usize, B)>>> {
        self.check(draw.from.epoch, shard.window)?;
        self.draw(draw, shard)
    }
    fn fits(&self, epoch: u64, window: u64) -> Fallible {
        self.check(epoch, window)?;
        self.loader.fits(epoch, window)
    }
    fn describe(&self) -> Vec<(&'static str, String)> {
        let mut all = self.loader.describe();
        all.push(("passes", self.passes.to_string()));
        all
    }
    fn is_absent(&self) -> bool {
        self.loader.is_absent()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::data::from_fn;

    type Drawn = Vec<Option<(usize, u64)>>;

    fn drawn(loader: &impl Loader<(usize, u64)>, from: u64, shard: Shard) -> Drawn {
        let draw = Draw::new(0, Cursor { epoch: 0, micro_batch: from });
        loader.shard(&draw, shard).unwrap().collect::<Fallible<_>>().unwrap()
    }

    #[test]
    fn a_step_is_all_of_one_pass() {
        let loader = (0..5).collect::<Vec<u64>>().passes(2).over(2);
        let all = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)];
        assert_eq!(drawn(&loader, 0, Shard::new(0, 1, 2)), all.map(Some));
        assert_eq!(loader.micro_batches(0), Some(8));
        let second = all.map(|(pass, batch)| (batch % 2 == 1).then_some((pass, batch)));
        assert_eq!(drawn(&loader, 0, Shard::new(1, 2, 2)), second);
        assert_eq!(Loader::<(usize, u64)>::micro_batches(&from_fn(|_| [Ok(1)]).passes(2), 0), None);
    }

    #[test]
    fn what_would_be_mixed_is_refused() {
        let error = |loader: Passes<Vec<u64>, u64>, window| {
            loader.shard(&Draw::new(0, Cursor::default()), Shard::new(0, 1, window)).err().map(|e| e.to_string())
        };
        let batches = || vec![1, 2];
        assert_eq!(
            error(batches().passes(2), 4).unwrap(),
            "a step takes 4 micro-batches, and passes over 1 would be mixed in it: write `.passes(2).over(4)`"
        );
        assert_eq!(error(batches().passes(1), 4), None);
        for nothing in [batches().passes(0), batches().passes(2).over(0)] {
            assert!(nothing.micro_batches(0).is_some());
            assert!(error(nothing, 1).unwrap().contains("give 1 or more"));
        }
    }

    proptest! {
        #[test]
        fn they_start_anywhere(batches in 0u64..12, passes in 1u64..4, window in 1u64..4, from in 0u64..40, ranks in 1usize..4) {
            let loader = (0..batches).collect::<Vec<u64>>().passes(passes).over(window);
            let whole = drawn(&loader, 0, Shard::new(0, 1, window));
            prop_assert_eq!(whole.len() as u64, loader.micro_batches(0).unwrap());
            let rest: Vec<_> = whole.iter().skip(from as usize).copied().collect();
            prop_assert_eq!(&drawn(&loader, from, Shard::new(0, 1, window)), &rest);
            let of_ranks: Vec<Drawn> = (0..ranks).map(|rank| drawn(&loader, from, Shard::new(rank, ranks, window))).collect();
            for (i, batch) in rest.iter().enumerate() {
                let found: Vec<_> = of_ranks.iter().filter_map(|own| own[i]).collect();
                prop_assert_eq!(found, vec![batch.unwrap()]);
            }
        }
    }
}
