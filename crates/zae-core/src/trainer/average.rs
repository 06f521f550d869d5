//! Which weights others see: an average that an add-on keeps stands for the model wherever it is not trained.
//!
//! The average is in the model's place only within a pass, or while a program looks at [`Trainer::model`]. Whatever trains,
//! saves or loads has the weights themselves first (`ready`).

use super::Trainer;
use crate::{
    engine::{Engine, Shadow},
    error::{Error, Fallible, Stage},
    learner::StateDict,
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// Whether an average of weights that an add-on keeps ([`Ema`](crate::add_ons::Ema), [`Swa`](crate::add_ons::Swa)) stands for
    /// the model wherever it is not trained: in validation, [`Trainer::evaluate`] and [`Trainer::inference`], and in what
    /// [`Trainer::model`], [`Trainer::weights`] and [`Trainer::into_model`] hand out. On by default; training and snapshots are the
    /// same either way.
    ///
    /// ```
    /// # use zae_core::{data::Loader, error::Error, metrics::Evaluation, task::Task, trainer::Trainer};
    /// # fn both<T: Task>(trainer: &mut Trainer<T>, test: Vec<T::Batch>) -> Result<[Evaluation; 2], Error> where T::Batch: Clone {
    /// let averaged = trainer.evaluate(&test)?;
    /// trainer.use_average(false);
    /// let raw = trainer.evaluate_as("raw", &test)?;
    /// trainer.use_average(true);
    /// # Ok([averaged, raw])
    /// # }
    /// ```
    pub fn use_average(&mut self, yes: bool) {
        self.settings.average = yes;
    }

    /// The weights that the model is evaluated with, by name, without optimizer and the rest: what a program publishes.
    /// [`Trainer::use_average`] says which they are.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn weights(&mut self) -> Result<StateDict, Error> {
        let state = self.state_dict()?;
        self.at(Stage::Average, |t| state.weights(t.average()?.as_deref()))
    }

    /// The second set of weights that stands for the model where it is not trained, if there is one by now.
    pub(super) fn average(&self) -> Fallible<Option<String>> {
        let Some(slot) = self.add_ons.average().filter(|_| self.settings.average) else { return Ok(None) };
        Ok(self.learner.has_shadow(slot)?.then(|| slot.to_owned()))
    }

    /// Puts the average in the model's place, or the weights themselves.
    pub(super) fn show_average(&mut self, yes: bool) -> Result<(), Error> {
        let before = self.site.stage;
        self.at(Stage::Average, |t| {
            let wanted = if yes { t.average()? } else { None };
            if t.shown != wanted {
                if let Some(slot) = &t.shown {
                    t.learner.shadow(slot, Shadow::Swap)?;
                    t.shown = None;
                }
                if let Some(slot) = &wanted {
                    t.learner.shadow(slot, Shadow::Swap)?;
                }
                t.shown = wanted;
            }
            Ok(())
        })?;
        self.site.stage = before;
        Ok(())
    }

    /// Does `work` on the average, if one stands for the model. However that ends, also by a panic, the weights themselves are
    /// back in their place.
    pub(super) fn on_average<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        let result = self.guard(|t| t.show_average(true).and_then(|()| work(t)));
        let back = self.guard(|t| t.show_average(false));
        result.and_then(|done| back.map(|()| done))
    }
}
