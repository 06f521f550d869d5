//! What every variant is given, and the variants.

use std::{path::PathBuf, sync::Arc};

use crate::{
    burn_train,
    models::{Batch, Net, Workload},
    raw, trainer,
};

/// A training run.
pub(crate) struct Job {
    pub(crate) model: Net,
    pub(crate) batches: Arc<[Batch]>,
    pub(crate) steps: u64,
    /// Whether accuracy is computed and logged beside the loss.
    pub(crate) accuracy: bool,
    /// A folder for log files.
    pub(crate) dir: PathBuf,
}

impl Job {
    pub(crate) fn new(workload: Workload, batches: &Arc<[Batch]>, steps: u64, dir: PathBuf) -> Self {
        let accuracy = std::env::var_os(crate::LOSS_ONLY).is_none();
        Self { model: workload.model(), batches: Arc::clone(batches), steps, accuracy, dir }
    }
}

/// The batch of a step. Cloning shares its memory.
pub(crate) fn batch(batches: &[Batch], step: u64) -> Batch {
    batches[step as usize % batches.len()].clone()
}

/// A way to train.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Trains, and returns the loss of every step as it was logged.
    pub(crate) train: fn(Job) -> Vec<f64>,
}

/// The first is what the others are compared with.
pub(crate) const VARIANTS: [Variant; 3] = [
    Variant { name: "raw", train: raw::train },
    Variant { name: "trainer", train: trainer::train },
    Variant { name: "burn_train", train: burn_train::train },
];
