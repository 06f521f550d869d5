//! What a learner does with those of other processes while it computes: gradients that travel, and layers that exchange something.

use super::Trainer;
use crate::{error::Error, learner::Learner, process_group::Reduction, progress::Cursor, task::Task};

impl<T: Task> Trainer<T> {
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
    pub(super) fn overlaps(&self, alone: bool) -> bool {
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
}
