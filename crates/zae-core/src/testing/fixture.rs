//! [`Fixture`]: what an engine's author fills in for the suite.

use rand_core::Rng;

use crate::{
    error::Fallible,
    learner::Learner,
    place::Place,
    rng::{Stream, generator},
    step::Step,
    task::Mode,
};

/// The networks that the suite trains. All end in mean cross-entropy over the classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Architecture {
    /// Linear, ReLU, linear.
    Plain,
    /// Dropout **directly on the input**, linear, batch norm, ReLU, linear.
    Full,
    /// As `Plain`, with one more trainable parameter that the loss does not depend on.
    Unused,
    /// As `Plain`, with the first layer frozen.
    Frozen,
    /// As `Full`, large enough for the engine's parallel kernels.
    Large,
}

/// How large a network and its batches are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct Sizes {
    /// Inputs.
    pub features: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Outputs.
    pub classes: usize,
    /// Rows of a full batch.
    pub rows: usize,
}

impl Sizes {
    /// Quick.
    #[must_use]
    pub fn small() -> Self {
        Self { features: 6, hidden: 8, classes: 3, rows: 5 }
    }
}

/// Labelled data on the host.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Samples {
    /// Numbers per row.
    pub features: usize,
    /// The rows, one after another.
    pub inputs: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<usize>,
}

impl Samples {
    /// Noise around one centre per class: something that can be learned.
    #[must_use]
    pub fn random(rows: usize, features: usize, classes: usize, seed: u64) -> Self {
        let mut rng = generator(seed, Stream::Data, 0, 0);
        let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
        let labels: Vec<usize> = (0..rows).map(|row| (row * 7 + row / 3) % classes).collect();
        let centre = |label: usize, feature: usize| if feature % classes == label { 1.0 } else { 0.0 };
        let inputs = labels
            .iter()
            .flat_map(|&label| (0..features).map(move |feature| centre(label, feature)))
            .map(|centre| (centre + 0.7 * uniform()) as f32)
            .collect();
        Self { features, inputs, labels }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Cuts the rows into batches of these sizes.
    #[must_use]
    pub fn batches(&self, sizes: &[usize]) -> Vec<Self> {
        let mut start = 0;
        let mut cut = |&rows: &usize| {
            let (from, to) = (start, start + rows);
            start = to;
            let inputs = self.inputs[from * self.features..to * self.features].to_vec();
            Self { inputs, labels: self.labels[from..to].to_vec(), ..*self }
        };
        sizes.iter().map(&mut cut).collect()
    }
}

/// What the hand-written loop has to do: for each epoch, each batch in order, one optimizer step; no clipping.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandWritten<B> {
    /// The network.
    pub architecture: Architecture,
    /// The run's seed. First weights are drawn under `rng::init_seed(seed)`, and before batch i of epoch e the engine's
    /// generator is seeded with `rng::seed_for(seed, e, i)`.
    pub seed: u64,
    /// The learning rate.
    pub lr: f64,
    /// How many epochs.
    pub epochs: u64,
    /// The batches of each epoch.
    pub batches: Vec<B>,
}

impl<B> HandWritten<B> {
    pub(super) fn new(architecture: Architecture, batches: Vec<B>) -> Self {
        Self { architecture, seed: 11, lr: 0.01, epochs: 2, batches }
    }
}

/// An engine, as the suite sees it.
pub trait Fixture: Clone + 'static {
    /// The learner under test.
    type Learner: Learner;
    /// A batch that was not placed yet.
    type Batch: Place<Self::Learner> + Clone + 'static;

    /// A new learner with a network of [`Fixture::sizes`] that has no weights yet, and an optimizer with state (AdamW).
    fn learner(&self, architecture: Architecture) -> Self::Learner;

    /// The same without an optimizer.
    fn without_optimizer(&self, architecture: Architecture) -> Self::Learner;

    /// A host batch.
    fn batch(&self, samples: &Samples) -> Self::Batch;

    /// Mean cross-entropy over the rows, `.count("hits", ..)` of rows that are right, and the same number as
    /// `.metric_over("hits_per_batch", .., 1)`. `mode` is for engines whose models do not know theirs.
    ///
    /// # Errors
    /// When the engine fails.
    fn step(
        &self,
        model: &<Self::Learner as Learner>::Model,
        batch: Self::Batch,
        mode: Mode,
    ) -> Fallible<Step<<Self::Learner as Learner>::Scalar>>;

    /// A scalar that does not depend on the model.
    fn constant(&self, model: &<Self::Learner as Learner>::Model, value: f64) -> <Self::Learner as Learner>::Scalar;

    /// Trains without the trainer and without the learner, in the words of the engine alone. Returns the loss of each
    /// step, and the model and optimizer it ended with, put into a learner.
    ///
    /// # Errors
    /// When the engine fails.
    fn hand_written(&self, order: &HandWritten<Self::Batch>) -> Fallible<(Vec<f64>, Self::Learner)>;

    /// How large a network of this architecture is.
    fn sizes(&self, architecture: Architecture) -> Sizes {
        match architecture {
            Architecture::Large => Sizes { features: 512, hidden: 1024, classes: 10, rows: 256 },
            _ => Sizes::small(),
        }
    }
}
