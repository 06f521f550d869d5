//! [`Error`]: why there is no report.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a report could not be made.
///
/// `Debug` writes the message too, for that is what a program whose `main` returns the error shows its user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No run was given.
    #[error("a report is about one run at least: give the folder that the trainer was told with `.run_dir(..)`")]
    NoRun,
    /// Nothing has this name.
    #[error("there is no `{}`: give the folder that the trainer was told with `.run_dir(..)`", .0.display())]
    NoFolder(PathBuf),
    /// A folder without a log.
    #[error(
        "`{}` has no `metrics.csv` and no `metrics.jsonl`: `CsvLogger`, which is part of `zae_engine::trainer(..)`, and \
         `JsonlLogger` leave one there{}", folder.display(), hint(inside)
    )]
    NoMetrics {
        /// The folder.
        folder: PathBuf,
        /// Folders in it that have one.
        inside: Vec<PathBuf>,
    },
    /// A file that no logger of ours has written.
    #[error(
        "`{}` does not begin as a log of `CsvLogger` or `JsonlLogger` does: give a run folder, or a file that one of them has \
         written", .0.display()
    )]
    NotALog(PathBuf),
    /// The operating system has failed.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// For `map_err`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

fn hint(inside: &[PathBuf]) -> String {
    let names: Vec<_> = inside.iter().map(|folder| format!("`{}`", folder.display())).collect();
    if names.is_empty() { String::new() } else { format!("; there is one in {}", names.join(", ")) }
}
