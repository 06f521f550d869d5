//! Validation in a run: before its first epoch, and when it is due.

use super::Trainer;
use crate::{
    add_on::{AddOn, Moment},
    data::Loader,
    error::{Error, Stage},
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// Tries the validation on this many batches, of each set, before a run's first epoch, so that what is wrong with it is not
    /// found after hours. Its results are thrown away: add-ons see the passes, over the set `sanity`, and nothing else. A run
    /// that goes on does without. Off (0) by default.
    #[must_use]
    pub fn sanity_check(mut self, batches: u64) -> Self {
        self.settings.sanity_check = batches;
        self
    }

    /// Validates before a run's first epoch too, on everything: what the weights it starts with are worth. It is a validation
    /// like the others, after step 0: early stopping, plateaus and the choice of the best checkpoint count it.
    #[must_use]
    pub fn validate_on_start(mut self) -> Self {
        self.settings.validate_on_start = true;
        self
    }

    /// What a run does before its first epoch, if this is where it begins.
    pub(super) fn begin<V: Loader<T::Batch>>(&mut self, valid: &V) -> Result<(), Error> {
        let goes_on = self.state.progress.step > 0 || !self.state.history.evaluations.is_empty();
        if goes_on || valid.is_absent() {
            return Ok(());
        }
        self.state.due.evaluation |= self.settings.validate_on_start;
        match self.settings.sanity_check {
            0 => Ok(()),
            batches => self.measure("sanity", &valid.limit(batches)).map(|_| ()),
        }
    }

    pub(super) fn validate_now<V: Loader<T::Batch>>(&mut self, valid: &V) -> Result<(), Error> {
        self.flush()?;
        let mut evaluation = self.measure("valid", valid)?;
        self.state.due.evaluation = false;
        self.at(Stage::Update, |t| t.schedule.as_mut().map_or(Ok(()), |schedule| schedule.observe(&evaluation)))?;
        self.state.history.evaluations.push(evaluation.clone());
        self.each_of_ended("on_evaluation_end", &mut evaluation, AddOn::on_evaluation_end, |run, evaluation| {
            run.history.evaluations.last_mut().into_iter().for_each(|last| last.clone_from(evaluation));
        })?;
        self.snapshot_if_wanted(Moment::Evaluation)
    }
}
