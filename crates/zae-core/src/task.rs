//! What the user writes: [`Task`], and [`Predict`] for inference.

pub use crate::mode::Mode;

use crate::{
    error::Fallible,
    learner::Learner,
    metrics::EpochMetrics,
    place::Place,
    progress::Cursor,
    rng::{StepRng, Stream, generator, stream_seed},
    state::State,
    step::Step,
};

/// The model type of a task.
pub type Model<T> = <<T as Task>::Learner as Learner>::Model;
/// The lazy scalar type of a task.
pub type Scalar<T> = <<T as Task>::Learner as Learner>::Scalar;
/// The device type of a task.
pub type Device<T> = <<T as Task>::Learner as Learner>::Device;
/// What `train_step` and `test_step` return.
pub type StepResult<T> = Fallible<Step<Scalar<T>>>;

/// What a step may know about where it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct At {
    /// What the step is run for.
    pub mode: Mode,
    /// Epoch and micro-batch. In evaluation and inference the micro-batch counts that loader's batches.
    pub cursor: Cursor,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps the run goes to, if that is known.
    pub total_steps: Option<u64>,
    /// The run's seed.
    pub seed: u64,
}

impl At {
    /// A generator keyed by seed, mode, epoch and micro-batch: the same batch draws the same numbers in every run of
    /// this seed, also after a resume.
    #[must_use]
    pub fn rng(&self) -> StepRng {
        let seed = stream_seed(self.seed, Stream::from(self.mode), 0, 0);
        generator(seed, Stream::Step, self.cursor.epoch, self.cursor.micro_batch)
    }

    pub(crate) fn engine_seed(&self) -> u64 {
        stream_seed(self.seed, Stream::from(self.mode), self.cursor.epoch, self.cursor.micro_batch)
    }
}

/// What is learned, and how: the part of a training program that only its user can write.
pub trait Task {
    /// The tensor engine and the model, for example `BurnLearner<Cnn>`.
    type Learner: Learner;
    /// One batch as the loader yields it; the trainer moves it to the device.
    type Batch: Place<Self::Learner> + 'static;

    /// Computes the loss of one training batch, and any metrics.
    ///
    /// # Errors
    /// Whatever goes wrong; the trainer adds where it was.
    fn train_step(&self, model: &Model<Self>, batch: Self::Batch, at: &At) -> StepResult<Self>;

    /// Computes loss and metrics of one validation or test batch.
    ///
    /// # Errors
    /// Whatever goes wrong; the trainer adds where it was.
    fn test_step(&self, model: &Model<Self>, batch: Self::Batch, at: &At) -> StepResult<Self>;

    /// Metrics over an epoch or an evaluation that no mean of its batches is: what becomes of the counts that the steps give
    /// ([`Step::count`]), by their names. Asked for once, before the first weights are made; none by default.
    ///
    /// ```
    /// # use zae_core::{metrics::{Classification, EpochMetrics, Perplexity, class_counts}, step::Step};
    /// # use zae_core::{task::{At, StepResult, Task}, testing::null::Null};
    /// # struct Digits;
    /// # impl Task for Digits {
    /// #     type Learner = Null;
    /// #     type Batch = (Vec<usize>, Vec<usize>);
    /// fn train_step(&self, _: &(), (guesses, labels): Self::Batch, _: &At) -> StepResult<Self> {
    ///     // Engines have the same counts for tensors.
    ///     Ok(Step::new(0.5, labels.len()).host_count("classes", class_counts(&guesses, &labels, 10)?))
    /// }
    ///
    /// fn metrics(&self) -> EpochMetrics {
    ///     EpochMetrics::new().add("classes", Classification::new(10)).add("loss", Perplexity)
    /// }
    /// #     fn test_step(&self, model: &(), batch: Self::Batch, at: &At) -> StepResult<Self> { self.train_step(model, batch, at) }
    /// # }
    /// ```
    ///
    /// Epochs then have `train/f1` and `train/perplexity` beside the others, evaluations `valid/f1`, rows of single steps
    /// what these are for the step alone.
    fn metrics(&self) -> EpochMetrics {
        EpochMetrics::new()
    }

    /// What of the task itself has to be saved. Most tasks have nothing.
    ///
    /// # Errors
    /// When it cannot be encoded.
    fn state(&self) -> Fallible<Option<State>> {
        Ok(None)
    }

    /// Takes back what [`Task::state`] gave.
    ///
    /// # Errors
    /// When it does not fit.
    fn restore(&mut self, state: &State) -> Fallible {
        let _ = state;
        Ok(())
    }
}

/// A task that can also predict. Its input is a type of its own: unlabelled data is not a training batch.
pub trait Predict: Task {
    /// One batch of unlabelled data.
    type Input: Place<Self::Learner> + 'static;
    /// What comes out for it.
    type Output;

    /// Predicts for one batch, in evaluation mode.
    ///
    /// # Errors
    /// Whatever goes wrong; the trainer adds where it was.
    fn predict(&self, model: &Model<Self>, input: Self::Input, at: &At) -> Fallible<Self::Output>;
}
