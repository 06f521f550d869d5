//! The gradients of all ranks become one, by whatever carries them.

use super::{
    Trainer,
    ranks::{Place, Word, gather, vote},
    tree::scale,
};
use crate::{
    engine::Engine,
    error::{Error, Fallible, Stage},
    learner::Learner,
    process_group::{ProcessGroup, Reduction, Sum},
    task::Task,
};

/// What a window of all ranks has come to.
pub(super) struct Summed {
    /// The weights of all micro-batches.
    pub(super) weight: f64,
    /// Whether a loss was not finite, and the step is left out for it.
    pub(super) skips: bool,
}

impl<T: Task> Trainer<T> {
    /// Whether gradients are summed by a tree, and not in the order in which they come.
    pub(super) fn by_tree(&self) -> bool {
        self.state.progress.plan.window > 1 && self.ranks.reduction() == Reduction::Reproducible
    }

    /// Keeps the gradients of a micro-batch apart, in the tree.
    pub(super) fn put_in_tree(&mut self, micro_batch: u64) -> Result<(), Error> {
        let place = micro_batch % self.state.progress.plan.window;
        self.at(Stage::Backward, |t| {
            let mut gradients = Vec::new();
            t.learner.gradients(&mut |_, values| {
                gradients.extend_from_slice(values);
                Ok(())
            })?;
            t.learner.zero_grad();
            t.ranks.tree.add(place, gradients);
            t.ranks.tree.merge(place + 1);
            Ok(())
        })
    }

    /// Sums the gradients of a window of so many `batches` over all ranks, unless one of them has failed. This rank's have the
    /// `weight`, and were divided by the `unit`. That is the run's from here on: a window that comes to nothing sets none, for
    /// each rank has another.
    pub(super) fn sum_gradients(
        &mut self,
        weight: f64,
        bad: bool,
        batches: u64,
        unit: Option<f64>,
    ) -> Result<Summed, Error> {
        let word = Word { weight, bad: vote(bad), batches, ..Word::default() };
        let Word { weight, bad, .. } = self.agree(Place::Gradients, word)?;
        let summed = Summed { weight, skips: bad > 0.0 };
        if weight == 0.0 {
            self.ranks.tree.clear();
            if self.ranks.in_step {
                // For their layers' sake, micro-batches have gone backward all the same.
                self.together(|t| t.learner.finish_sums(u64::MAX))?;
                self.learner.zero_grad();
            }
            return Ok(summed);
        }
        // The gradients of one micro-batch alone are not divided, and nothing is added to them.
        let alone = batches == 1;
        self.site.stage = Stage::Backward;
        if self.overlaps(alone) {
            // Those that are left out are on their way too.
            self.together(|t| {
                t.learner.finish_sums(u64::MAX)?;
                t.learner.expect_gradients()
            })?;
            return Ok(summed);
        }
        if summed.skips {
            self.ranks.tree.clear();
            return Ok(summed);
        }
        let tree = self.by_tree() && !alone;
        let group = self.ranks.group().cloned();
        let mut flat = std::mem::take(&mut self.ranks.flat);
        let memory = &mut flat;
        // If this fails half way, it is dropped after all ranks were told why: they hear that, and not that a sum was left.
        let mut sum = None;
        let done = self.together(|t| {
            let factor = match &group {
                Some(group) if t.state.unit.is_none() && !alone => t.same_unit(&**group, unit)?,
                Some(_) => 1.0,
                None => {
                    t.state.unit = unit;
                    1.0
                }
            };
            if tree {
                return t.sum_by_tree(group.as_deref(), factor);
            }
            let Some(group) = &group else { return Ok(()) };
            t.learner.expect_gradients()?;
            stream(&mut t.learner, &mut **sum.insert(group.begin_sum(memory)?), factor)
        });
        drop(sum);
        self.ranks.flat = flat;
        done.map(|()| summed)
    }

    /// Sums the gradients that are kept apart.
    fn sum_by_tree(&mut self, group: Option<&dyn ProcessGroup>, factor: f64) -> Fallible {
        let tree = &mut self.ranks.tree;
        tree.merge(u64::MAX);
        if let Some(group) = group {
            tree.join(group, factor)?;
        }
        let sums = tree.take().ok_or("no rank has a gradient")?;
        let mut rest = &sums[..];
        self.learner.expect_gradients()?;
        write(&mut self.learner, sums.len(), |values| {
            let (own, later) = rest.split_at(values.len());
            values.copy_from_slice(own);
            rest = later;
            Ok(())
        })
    }

    /// The power of two by which weights are divided is that of the window's first micro-batch: ranks have taken that of their
    /// own first one. Returns what this rank's gradients are to be multiplied by, another power of two.
    fn same_unit(&mut self, group: &dyn ProcessGroup, own: Option<f64>) -> Fallible<f64> {
        self.state.unit = gather(group, &own)?.into_iter().flatten().next();
        Ok(own.zip(self.state.unit).map_or(1.0, |(own, unit)| own / unit))
    }
}

/// The gradients there are become their sums. One is on its way to the other ranks while the next is read, and is written while
/// others come back.
fn stream(engine: &mut impl Engine, sum: &mut dyn Sum, factor: f64) -> Fallible {
    let mut given = 0;
    engine.gradients(&mut |_, values| {
        given += values.len();
        scale(values, factor);
        sum.give(values)
    })?;
    write(engine, given, |values| sum.take(values))?;
    sum.end()
}

/// The gradients there are become what is taken, of which there is as much as this rank has given.
fn write(engine: &mut impl Engine, given: usize, mut take: impl FnMut(&mut [f32]) -> Fallible) -> Fallible {
    let mut left = given;
    engine.gradients(&mut |info, values| {
        left = left.checked_sub(values.len()).ok_or_else(|| {
            format!("`{}` is one gradient more than this rank has given: the ranks have different models", info.name)
        })?;
        take(values)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::{
        engine::{ParamInfo, Visit},
        testing::thread_ranks,
    };

    /// Lends these gradients, and next time one more.
    struct Grows(Vec<f32>);

    impl Engine for Grows {
        fn name(&self) -> &'static str {
            "grows"
        }
        fn gradients(&mut self, visit: Visit<'_>) -> Fallible {
            for (name, value) in ["a", "b", "c"].into_iter().zip(&mut self.0) {
                visit(&ParamInfo::new(name, &[1], true), std::slice::from_mut(value))?;
            }
            self.0.push(7.0);
            Ok(())
        }
        fn parameters(&mut self, _: Visit<'_>) -> Fallible {
            Ok(())
        }
    }

    #[test]
    fn a_gradient_that_was_not_given_is_named() {
        let (group, mut memory) = (&thread_ranks(1, Duration::from_secs(60))[0], Vec::new());
        let mut engine = Grows(vec![1.5, -0.25]);
        let error = stream(&mut engine, &mut *group.begin_sum(&mut memory).unwrap(), 0.5).unwrap_err().to_string();
        assert_eq!(error, "`c` is one gradient more than this rank has given: the ranks have different models");
        assert_eq!(engine.0, [0.75, -0.125, 7.0]);
    }
}
