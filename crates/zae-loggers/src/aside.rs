//! [`Aside`]: what a run has to tell that belongs to no step.

use std::{path::PathBuf, sync::Arc};

/// What a run has to tell beside its entries. It is not counted: a run that goes on from a checkpoint tells of it anew.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Aside {
    /// How the machine is doing.
    System {
        /// Seconds since 1970.
        time: f64,
        /// The last step that was logged.
        step: u64,
        /// By the names that W&B has for them, such as `cpu`, `proc.memory.rssMB` or `gpu.0.gpu`.
        values: Vec<(String, f64)>,
    },
    /// A line that a program shows on its console, without its end.
    Console {
        /// Seconds since 1970.
        time: f64,
        /// The text.
        line: String,
    },
    /// Something that people should be told of wherever they are.
    Alert {
        /// Seconds since 1970.
        time: f64,
        /// What is wrong, in a few words.
        title: Arc<str>,
        /// The rest of it.
        text: Arc<str>,
        /// How bad it is.
        level: Level,
    },
    /// A file to be kept with the run, as it is when it is written.
    File {
        /// Seconds since 1970.
        time: f64,
        /// Where it is.
        path: PathBuf,
    },
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// People may want to know.
    #[default]
    Info,
    /// Something may be wrong.
    Warn,
    /// Something is wrong.
    Error,
}

impl Level {
    /// The word for it.
    #[allow(dead_code, reason = "not each tracker says it in words")]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warn => "Warning",
            Self::Error => "Error",
        }
    }
}

impl Aside {
    /// When it was told, in seconds since 1970.
    #[must_use]
    pub fn time(&self) -> f64 {
        match self {
            Self::System { time, .. }
            | Self::Console { time, .. }
            | Self::Alert { time, .. }
            | Self::File { time, .. } => *time,
        }
    }

    /// The memory it takes, about, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::System { values, .. } => values.iter().map(|(name, _)| name.len() + 32).sum(),
                Self::Console { line, .. } => line.len(),
                Self::Alert { title, text, .. } => title.len() + text.len(),
                Self::File { path, .. } => path.as_os_str().len(),
            }
    }
}
