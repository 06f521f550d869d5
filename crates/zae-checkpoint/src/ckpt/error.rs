//! What can be wrong with a `.ckpt`.

use crate::torch;

/// The result of making or reading a `.ckpt`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not be made a `.ckpt`, or come back from one.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of PyTorch or Lightning.
    #[error("it has weights only, and no run of zae-engine to resume: use `load_weights`")]
    WeightsOnly,
    /// Written by a later version of this crate.
    #[error("it has format {found}, and this version of zae-checkpoint knows formats up to {known}: update it")]
    Newer {
        /// The file's.
        found: u64,
        /// The newest that is known.
        known: u64,
    },
    /// It is not what a run makes.
    #[error("damaged: {0}")]
    Damaged(String),
    /// No weights were found in it.
    #[error("no weights: {0}")]
    NoWeights(String),
    /// The engine describes its state in PyTorch's words, but not this state.
    #[error("the engine's layout does not fit its state: {0}")]
    Layout(String),
    /// The file itself.
    #[error(transparent)]
    Torch(#[from] torch::Error),
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
