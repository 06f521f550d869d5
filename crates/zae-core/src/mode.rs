//! [`Mode`]: training, evaluation or inference.

/// What a step is run for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Mode {
    /// To learn: dropout on, gradients recorded.
    Train,
    /// To measure: dropout off, no gradients.
    Evaluate,
    /// To predict: as to measure.
    Predict,
}

impl Mode {
    /// Whether dropout is on, and batch norm goes by its batch: what PyTorch calls `training`.
    #[must_use]
    pub const fn is_training(self) -> bool {
        matches!(self, Self::Train)
    }
}
