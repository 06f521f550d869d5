//! Every error of the crate.

use std::{
    io,
    path::{Path, PathBuf},
};

use zae_core::error::BoxError;

use crate::{ckpt, torch, weights::LoadReport};

/// The result of reading or writing a checkpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint could not be written or read.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `write`, `rename`, ...
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file is not what its format or its manifest says.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file or folder that could lead out of the checkpoint: a link, or a name that is more than a name.
    #[error("`{}` is not followed: {what}", path.display())]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The checkpoint has a format that came later.
    #[error(
        "`{}` has checkpoint format {found}, and this version of zae-checkpoint reads formats up to {known}: update it",
        path.display()
    )]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest one that this version knows.
        known: u64,
    },
    /// A file of PyTorch's format.
    #[error("`{}`: {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: torch::Error,
    },
    /// A `.ckpt` file, or a run that should become one.
    #[error("`{}`: {source}", path.display())]
    Ckpt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ckpt::Error,
    },
    /// Weights do not fit the model.
    #[error(
        "`{}` does not fit the model, and nothing was loaded: {way_out}. Of the model's tensors {} fit{}",
        path.display(), report.loaded.len(), report.problems()
    )]
    Misfit {
        /// The file.
        path: PathBuf,
        /// What fits, and what does not.
        report: Box<LoadReport>,
        /// What probably helps.
        way_out: String,
    },
    /// A path that is not what it has to be.
    #[error("`{}`: {what}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What to give instead.
        what: String,
    },
    /// Another process writes checkpoints into this folder.
    #[error(
        "`{}` is in use by another run{}: wait for it to end, or give this one another `.run_dir(..)`",
        dir.display(), pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The other process, if it left its number.
        pid: Option<u32>,
    },
    /// The snapshot holds something that has no place in a checkpoint.
    #[error("this snapshot cannot be saved: {0}")]
    Unsavable(String),
    /// What the engine or an add-on had to hand over for a save did not come.
    #[error("cannot save {what}: {source}")]
    Source {
        /// The tensor, or what an add-on had to make durable.
        what: String,
        /// The engine's or add-on's error.
        source: BoxError,
    },
    /// There is no checkpoint that can be loaded.
    #[error("`{}` has no checkpoint{}", dir.display(), reasons(skipped))]
    None {
        /// Where one was looked for.
        dir: PathBuf,
        /// What was found and could not be loaded, newest first, each with the reason.
        skipped: Vec<String>,
    },
}

fn reasons(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(" that can be loaded: {}", skipped.join("; ")) }
}

impl Error {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Errors of PyTorch's format at this file.
    pub(crate) fn torch(path: &Path) -> impl FnOnce(torch::Error) -> Self {
        let path = path.to_owned();
        move |source| match source {
            torch::Error::Io(source) => Self::Io { what: "write", path, source },
            source => Self::Torch { path, source },
        }
    }

    /// Errors of a `.ckpt` at this file.
    pub(crate) fn ckpt(path: &Path) -> impl FnOnce(ckpt::Error) -> Self {
        let path = path.to_owned();
        move |source| match source {
            ckpt::Error::Newer { found, known } => Self::Newer { path, found, known },
            ckpt::Error::Torch(source) => Self::torch(&path)(source),
            source => Self::Ckpt { path, source },
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn refused(path: &Path, what: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), what: what.into() }
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
