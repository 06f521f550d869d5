//! The gradients of all ranks become one, by whatever carries them.

use super::{
    Trainer,
    ranks::{Place, Word, gather, vote},
};
use crate::{
    engine::Engine,
    error::{Error, Fallible, Stage},
    learner::Learner,
    process_group::{ProcessGroup, Reduction, Sum},
    progress::Cursor,
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

    /// Has the learner sum gradients while it computes others, if it can, and their order is not fixed; and exchange what its layers
    /// exchange. All ranks come here from what they have done together.
    pub(super) fn connect_learner(&mut self) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        let is_fast = self.ranks.reduction() == Reduction::Fast;
        if is_fast {
            self.ranks.overlaps = self.together(|t| t.learner.overlap(&group))?;
        }
        self.ranks.in_step = self.together(|t| t.learner.connect_layers(&group))?;
        if self.ranks.in_step {
            if !is_fast {
                return Err(Error::Misuse(
                    "a layer that exchanges statistics gives other bits on another number of ranks, so `Reduction::Reproducible` \
                     cannot hold: take `Reduction::Fast`, or a batch norm that does not exchange them"
                        .to_owned(),
                ));
            }
            // Gradients within the layers are of all ranks' losses, so each divides its weights by the same from the start.
            self.state.unit.get_or_insert(1.0);
        }
        Ok(())
    }

    /// How many micro-batches of the window that begins here every rank has, for layers that exchange something.
    pub(super) fn in_step(&self, first: Cursor) -> u64 {
        if !self.ranks.in_step {
            return 0;
        }
        let plan = &self.state.progress.plan;
        let left = plan.epoch_micro_batches.map_or(u64::MAX, |all| all.saturating_sub(first.micro_batch));
        self.ranks.shard(plan.window).of_each(left.min(plan.window))
    }

    /// Whether it does so in this window, of one micro-batch `alone` or of several: before all ranks know the unit, gradients
    /// have to be multiplied first.
    fn overlaps(&self, alone: bool) -> bool {
        self.ranks.overlaps && (alone || self.state.unit.is_some())
    }

    /// Whether the gradients of this micro-batch make those of the window complete on this rank, so that they may go: it is the
    /// `last` one of the window, or the next ones are another rank's.
    pub(super) fn completes(&self, micro_batch: u64, last: bool, alone: bool) -> bool {
        if self.ranks.is_one() {
            return last;
        }
        let shard = self.ranks.shard(self.state.progress.plan.window);
        self.overlaps(alone) && (last || !shard.has(micro_batch + 1))
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

fn scale(values: &mut [f32], factor: f64) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor as f32);
    }
}

/// Gradients on their way up a binary tree whose leaves are the micro-batches of a window. What is added to what depends on
/// their places alone; a leaf that is not there adds nothing.
#[derive(Default)]
pub(super) struct Tree {
    /// The parts there are, by the place of their first leaf.
    parts: Vec<(u64, Vec<f32>)>,
}

impl Tree {
    fn add(&mut self, place: u64, gradients: Vec<f32>) {
        self.parts.push((place, gradients));
    }

    /// Adds up what can be, if all leaves before `done` are there that ever will be.
    fn merge(&mut self, done: u64) {
        let mut level = 1;
        while self.parts.len() > 1 && level < u64::BITS {
            let mut i = 0;
            while i + 1 < self.parts.len() {
                let [a, b] = [self.parts[i].0, self.parts[i + 1].0].map(|place| place >> level);
                let is_whole = (a + 1).checked_shl(level).is_none_or(|end| end <= done);
                if a == b && is_whole {
                    let (_, right) = self.parts.remove(i + 1);
                    self.parts[i].1.iter_mut().zip(right).for_each(|(left, right)| *left += right);
                } else {
                    i += 1;
                }
            }
            level += 1;
        }
    }

    /// The same over all ranks, which are the leaves of what is left of the tree.
    fn join(&mut self, group: &dyn ProcessGroup, factor: f64) -> Fallible {
        let mut own = self.take().unwrap_or_default();
        scale(&mut own, factor);
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = group.all_gather(&bytes)?;
        for (rank, bytes) in all.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            self.add(rank as u64, values);
        }
        self.merge(u64::MAX);
        Ok(())
    }

    fn take(&mut self) -> Option<Vec<f32>> {
        self.parts.pop().map(|(_, gradients)| gradients)
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use proptest::prelude::*;

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

    /// The sum of some leaves of a window, of which each process has a part.
    fn sum(leaves: &[Option<f32>], world_size: usize) -> Option<f32> {
        let mut ranks = Tree::default();
        for (rank, part) in leaves.chunks(leaves.len() / world_size).enumerate() {
            let mut tree = Tree::default();
            for (i, leaf) in part.iter().enumerate() {
                let place = (rank * part.len() + i) as u64;
                tree.parts.extend(leaf.map(|leaf| (place, vec![leaf])));
                tree.merge(place + 1);
                assert!(tree.parts.len() <= 6, "more sets of gradients than levels");
            }
            tree.merge(u64::MAX);
            ranks.parts.extend(tree.take().map(|sum| (rank as u64, sum)));
        }
        ranks.merge(u64::MAX);
        ranks.take().map(|sum| sum[0])
    }

    proptest! {
        #[test]
        fn how_many_processes_there_are_does_not_show(
            leaves in prop::collection::vec(prop::option::weighted(0.8, -1e3f32..1e3), 32),
            there in 1usize..=32,
        ) {
            let leaves: Vec<_> = leaves.into_iter().enumerate().map(|(i, leaf)| leaf.filter(|_| i < there)).collect();
            let one = sum(&leaves, 1);
            let exact: f64 = leaves.iter().flatten().map(|leaf| f64::from(*leaf)).sum();
            prop_assert!(one.is_none_or(|one| (f64::from(one) - exact).abs() < 0.1));
            prop_assert_eq!(one.is_some(), leaves.iter().any(Option::is_some));
            for world_size in [2, 4, 8, 16, 32] {
                prop_assert_eq!(sum(&leaves, world_size).map(f32::to_bits), one.map(f32::to_bits));
            }
        }
    }
}
