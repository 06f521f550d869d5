//! How long a run is going to be, before it starts.

use super::{Trainer, Until};
use crate::{
    data::Loader,
    error::{Error, Stage},
    learner::Learner,
    progress::Plan,
    schedule::Needs,
    task::Task,
};

/// A run of more epochs than this has no known length: looking at each would take too long.
const MOST_PLANNED: u64 = 1_000_000;

impl<T: Task> Trainer<T> {
    /// Works out how long the run is going to be, and what cannot be done without knowing.
    pub(super) fn plan<D: Loader<T::Batch>>(&mut self, until: &Until, train: &D) -> Result<(), Error> {
        let Until { epochs, steps, time, .. } = *until;
        if epochs.is_none() && steps.is_none() && time.is_none() {
            return Err(Error::Misuse("the run has no end: give epochs, steps or a time".to_owned()));
        }
        if let Some(misuse) = until.misuse() {
            return Err(Error::Misuse(misuse));
        }
        if !train.sets().is_empty() {
            return Err(Error::Misuse("several sets of data are for validation: train on one loader".to_owned()));
        }
        self.site.stage = Stage::Data;
        let per_epoch = |epoch| train.micro_batches(epoch).map(|n| n.div_ceil(self.window_in(epoch)));
        let mut plan = Plan { epochs, total_steps: steps, ..Plan::default() };
        // Epoch by epoch, for they may differ, until one of the limits is reached.
        let (mut epoch, mut sum) = (0, 0u64);
        let known = loop {
            if epochs.is_some_and(|epochs| epoch >= epochs) || steps.is_some_and(|steps| sum >= steps) {
                break epochs.is_some() || steps.is_some();
            }
            match per_epoch(epoch) {
                Some(0) => return Err(self.no_batch(epoch)),
                Some(n) if (epochs.is_some() || steps.is_some()) && epoch < MOST_PLANNED => sum = sum.saturating_add(n),
                _ => break false,
            }
            epoch += 1;
        };
        if known {
            plan.epochs = Some(epoch);
            plan.total_steps = Some(steps.map_or(sum, |steps| steps.min(sum)));
        }
        self.check_ready(&plan)?;
        self.check_windows(&plan, train)?;
        let complete = self.is_complete(until);
        self.check_config(&plan, train, complete, complete && !self.is_beyond(until))?;
        self.state.progress.plan = plan;
        Ok(())
    }

    /// What does not fit in a later epoch is said before the first.
    fn check_windows<D: Loader<T::Batch>>(&self, plan: &Plan, train: &D) -> Result<(), Error> {
        let from = self.state.progress.cursor.epoch;
        let end = plan.epochs.unwrap_or(from).min(from.saturating_add(MOST_PLANNED));
        (from..end)
            .try_for_each(|epoch| train.fits(epoch, self.window_in(epoch)))
            .map_err(|error| Error::Misuse(error.to_string()))
    }

    pub(super) fn no_batch(&mut self, epoch: u64) -> Error {
        self.site.stage = Stage::Data;
        self.fail(format!("the training data has no batch in epoch {epoch}: give a loader that has some"))
    }

    pub(super) fn plan_without_end(&mut self) -> Result<(), Error> {
        self.check_ready(&Plan::default())?;
        self.state.progress.plan = Plan::default();
        Ok(())
    }

    fn check_ready(&self, plan: &Plan) -> Result<(), Error> {
        if self.restored && self.settings.fast_dev_run.is_some() {
            return Err(Error::Misuse(
                "`.fast_dev_run(..)` starts over, and `restore` has brought a run to go on with: leave one of them out"
                    .to_owned(),
            ));
        }
        if !self.learner.has_optimizer() {
            return Err(Error::Misuse(
                "the learner has no optimizer, so it can only evaluate and predict: build it with one".to_owned(),
            ));
        }
        let Some(schedule) = &self.schedule else {
            return Err(Error::Misuse("no learning rate was given: add `.scheduler(1e-3)` or a schedule".to_owned()));
        };
        schedule.check().map_err(|error| Error::Misuse(error.to_string()))?;
        let missing = match schedule.needs() {
            Needs::Steps if plan.total_steps.is_none() => "steps",
            Needs::Epochs if plan.epochs.is_none() => "epochs",
            _ => return Ok(()),
        };
        Err(Error::Misuse(format!(
            "the schedule needs to know how many {missing} the run has, which is unknown here: run until a number of \
             {missing}, give the schedule a length of its own (`.over(n)`), or choose one that needs none"
        )))
    }
}
