//! How many micro-batches an optimizer step takes, epoch by epoch.

use super::Trainer;
use crate::{
    error::{Error, Fallible},
    process_group::Reduction,
    task::Task,
};

/// How many micro-batches (batches of the loader) an optimizer step takes: a number, or several, each from an epoch on.
///
/// ```
/// use zae_core::trainer::Accumulation;
/// let always_four: Accumulation = 4.into();
/// // 1, from epoch 5 on 4, and from epoch 10 on 8. Epochs are counted from 0.
/// let rising: Accumulation = [(0, 1), (5, 4), (10, 8)].into();
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accumulation(Vec<(u64, u64)>);

impl From<u64> for Accumulation {
    fn from(micro_batches: u64) -> Self {
        Self(vec![(0, micro_batches)])
    }
}

impl<const N: usize> From<[(u64, u64); N]> for Accumulation {
    fn from(by_epoch: [(u64, u64); N]) -> Self {
        Self(by_epoch.into())
    }
}

impl From<Vec<(u64, u64)>> for Accumulation {
    fn from(by_epoch: Vec<(u64, u64)>) -> Self {
        Self(by_epoch)
    }
}

impl Accumulation {
    /// In this epoch. What is set up wrongly was refused before.
    pub(crate) fn at(&self, epoch: u64) -> u64 {
        self.0.iter().rev().find(|(from, _)| *from <= epoch).map_or(1, |(_, micro_batches)| *micro_batches)
    }

    pub(crate) fn takes_none(&self) -> bool {
        self.0.iter().any(|(_, micro_batches)| *micro_batches == 0)
    }

    /// Whether each epoch has its number, and only one.
    pub(super) fn is_ordered(&self) -> bool {
        self.0.first().is_some_and(|(epoch, _)| *epoch == 0) && self.0.is_sorted_by(|(a, _), (b, _)| a < b)
    }
}

impl<T: Task> Trainer<T> {
    /// Accumulates the gradients of this many micro-batches (batches of the loader) per optimizer step and process: the
    /// gradient is that of the weighted mean over all of them. 1 by default. `[(0, 1), (5, 4)]` takes 1, and 4 from epoch 5 on.
    #[must_use]
    pub fn accumulate(mut self, micro_batches: impl Into<Accumulation>) -> Self {
        self.settings.accumulate = Some(micro_batches.into());
        self
    }

    /// How many micro-batches an optimizer step takes over all processes together, in place of [`Trainer::accumulate`]: a run
    /// that is to be the same on any number of processes says this.
    #[must_use]
    pub fn micro_batches(mut self, per_step: impl Into<Accumulation>) -> Self {
        self.settings.micro_batches = Some(per_step.into());
        self
    }

    /// What this program asks for in an epoch, over all ranks.
    fn asked(&self, epoch: u64) -> Option<u64> {
        let per_rank = |own: &Accumulation| own.at(epoch).saturating_mul(self.state.world_size);
        let all = self.settings.micro_batches.as_ref().map(|all| all.at(epoch));
        all.or(self.settings.accumulate.as_ref().map(per_rank))
    }

    /// How many micro-batches an optimizer step of this epoch takes, over all ranks.
    pub(super) fn window_in(&self, epoch: u64) -> u64 {
        self.asked(epoch).unwrap_or(self.state.window)
    }

    /// The epochs from which on a step takes another number than in the first one, and that number.
    fn later_windows(&self) -> impl Iterator<Item = (u64, u64)> {
        let own = self.settings.micro_batches.as_ref().or(self.settings.accumulate.as_ref());
        own.into_iter().flat_map(|own| own.0.iter().skip(1)).map(|(epoch, _)| (*epoch, self.window_in(*epoch)))
    }

    /// The same in words, for a run that is gone on with.
    pub(super) fn later_windows_in_words(&self) -> Option<String> {
        let words: Vec<_> =
            self.later_windows().map(|(epoch, window)| format!("{window} from epoch {epoch}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// How many micro-batches an optimizer step takes in the first epoch, over all ranks: fixed once a step was made.
    pub(super) fn window_size(&mut self) -> Result<u64, Error> {
        let world_size = self.ranks.world_size() as u64;
        let has_begun = self.state.world_size > 0;
        if !has_begun {
            self.state.world_size = world_size;
        }
        let window = self.asked(0).unwrap_or(if has_begun { self.state.window } else { world_size });
        if window != self.state.window && self.state.progress.step > 0 {
            let setting = match (&self.settings.micro_batches, &self.settings.accumulate) {
                (None, Some(own)) => format!("`.accumulate({})`", own.at(0)),
                _ => format!("`.micro_batches({window})`"),
            };
            return Err(Error::Misuse(format!(
                "{setting} came after steps of {} micro-batches: call it when the trainer is built",
                self.state.window
            )));
        }
        let all = std::iter::once(window).chain(self.later_windows().map(|(_, window)| window));
        for window in all {
            self.check_window(window).map_err(|e| Error::Misuse(e.to_string()))?;
        }
        Ok(window)
    }

    /// Whether the ranks can share windows of so many micro-batches.
    pub(super) fn check_window(&self, window: u64) -> Fallible {
        let world_size = self.ranks.world_size() as u64;
        if window < world_size {
            return Err(format!(
                "{world_size} processes are to share {window} micro-batches per step, and some would have none: start {window} \
                 at most, or take more `.micro_batches(..)` of fewer samples"
            )
            .into());
        }
        let is_tree = window.is_power_of_two() && world_size.is_power_of_two();
        if self.ranks.reduction() == Reduction::Reproducible && !is_tree {
            return Err(format!(
                "`Reduction::Reproducible` takes powers of two, not {window} micro-batches per step on {world_size} processes: \
                 change `.micro_batches(..)` or the number of processes, or use `Reduction::Fast`"
            )
            .into());
        }
        Ok(())
    }
}
