//! [`Swa`]: an equal average of weights along the way.

use super::{Average, Begin, Count, Each};
use crate::{
    add_on::{AddOn, Context},
    error::Fallible,
    state::State,
    trainer::{Outcome, Run},
};

/// Keeps the equal average of the weights after each epoch, from some epoch on (stochastic weight averaging: Izmailov et al. 2018),
/// which stands for the model wherever it is not trained, as that of [`Ema`](super::Ema) does.
///
/// The learning rate is the schedule's: averages of weights want one that stays high, constant or cyclical, from about three
/// quarters of the run on.
///
/// Batch norm: the running statistics are averaged too, but the average of them is not what the averaged weights would see in
/// the data. After the run, [`Trainer::update_bn`](crate::trainer::Trainer::update_bn) measures it, as `torch.optim.swa_utils.update_bn`
/// does.
///
/// ```
/// # use zae_core::{data::Loader, error::BoxError, task::Task, trainer::Trainer};
/// use zae_core::add_ons::Swa;
/// # fn train<T: Task>(trainer: Trainer<T>, train: Vec<T::Batch>, test: Vec<T::Batch>) -> Result<(), BoxError> where T::Batch: Clone {
/// let mut trainer = trainer.add_on(Swa::from_epoch(15));
/// trainer.run(20, &train, ())?;
/// trainer.update_bn(&train)?; // only for models with batch norm
/// trainer.evaluate(&test)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Swa {
    average: Average,
}

impl Swa {
    /// The first weights in the average are those after this epoch, counted from 0.
    #[must_use]
    pub fn from_epoch(epoch: u64) -> Self {
        Self { average: Average::new("swa", Begin::Epoch(epoch), Each::Epoch) }
    }

    /// The first weights in the average are those after the first epoch that ends with this many steps done, or more.
    #[must_use]
    pub fn from_step(step: u64) -> Self {
        Self { average: Average::new("swa", Begin::Step(step), Each::Epoch) }
    }

    /// Takes the weights after each n-th step, in place of those after each epoch.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.average.each = Each::Steps(steps);
        self
    }

    /// Whether the average stands for the model where it is not trained (yes by default): see [`Ema::evaluate`](super::Ema::evaluate).
    #[must_use]
    pub fn evaluate(mut self, yes: bool) -> Self {
        self.average.evaluate = yes;
        self
    }

    /// The name of the add-on and of the average in checkpoints: `swa` by default. Two of them need two names.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.average.name = name.into();
        self
    }

    /// How many weights are in the average.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.average.count.updates
    }
}

impl AddOn for Swa {
    fn name(&self) -> &str {
        &self.average.name
    }

    fn average(&self) -> Option<&str> {
        self.average.shown()
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.average.start(cx)
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.average.update(cx, |n| n as f64 / (n as f64 + 1.0))
    }

    fn on_run_end(&mut self, run: &Run, _: &mut Context<'_>) -> Fallible {
        if run.outcome == Outcome::Complete && self.average.count.updates == 0 {
            tracing::warn!(name = self.average.name, "the run ended before the average of weights began");
        }
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.average.count)?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.average.count = state.decode::<Count>()?;
        Ok(())
    }
}
