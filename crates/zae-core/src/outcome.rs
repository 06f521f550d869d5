//! How a run ended.

use crate::metrics::History;

/// How a run ended. An error is not an outcome: `run` returns it as one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// All epochs or steps were done.
    Complete,
    /// It was complete already when it started: nothing was trained. `.fresh()` starts over.
    AlreadyComplete,
    /// An add-on had ended it before, for this reason: nothing was trained. `.fresh()` starts over,
    /// `.continue_stopped()` goes on.
    AlreadyStopped(String),
    /// The wall-clock budget was used up.
    OutOfTime,
    /// An add-on ended it, for this reason.
    Stopped(String),
    /// A signal ended it. Started again, it goes on from its last snapshot.
    Interrupted {
        /// The name of the signal, for example `SIGTERM`.
        signal: &'static str,
    },
}

/// What [`Trainer::run`](crate::trainer::Trainer::run) returns.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// Its epochs and evaluations.
    pub history: History,
}
