//! What can be wrong with a file, or with a value to be written.

use std::io;

use zae_core::error::BoxError;

/// The result of reading or writing PyTorch's format.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file of PyTorch could not be read or written.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file contradicts its format, or itself.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A file of a kind that is not read; the message says what to do.
    #[error("{0}")]
    Unsupported(String),
    /// The pickle does something that only running code could do.
    #[error("refused, and not executed: {0}")]
    Refused(String),
    /// The value has no form in the format.
    #[error("this cannot be written for PyTorch: {0}")]
    Value(String),
    /// The elements of a tensor could not be had.
    #[error("the elements of a tensor could not be read: {0}")]
    Elements(BoxError),
    /// The writer refused.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Damaged(what.into()))
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
