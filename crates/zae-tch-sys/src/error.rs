//! The one error of the crate.

/// The result of a call into LibTorch.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What LibTorch said when it refused: the first line, without the C++ stack below it.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// From now on no error of LibTorch has the frames of the C++ stack in its message, also not the errors and panics of `tch`,
/// in which the line above them stays. For good, and for the whole process.
pub fn short_errors() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| crate::ffi::zae_short_errors());
}
