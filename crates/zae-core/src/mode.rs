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
